"""A slot is taken by one execution at most, in whatever order several of them read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.slots import Slots
from airflow_provider_mqs.exceptions import StoreError
from tests.core.ledger.stepping import Process, World
from tests.support import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable


def slots(store: MemoryStore, found: Callable[[Any], object] = lambda _: None) -> Slots:
    return Slots(store, "s", found, jitter=lambda: 0.5)


def values(store: MemoryStore) -> list[Any]:
    """Return what somebody finds who reads now, by slot."""
    found: list[Any] = []
    World().run(slots(store, found.append).read())
    return found


def every_order(counts: list[int]) -> Any:
    """Yield the orders in which processes may take so many steps each."""
    if not any(counts):
        yield ()
    for number, left in enumerate(counts):
        if left:
            for rest in every_order([*counts[:number], left - 1, *counts[number + 1 :]]):
                yield (number, *rest)


def test_two_that_come_at_once_never_share_a_slot_in_any_order() -> None:
    """All orders of their first eight steps each, in which both try to take the same slot."""
    steps = 0
    for order in every_order([8, 8]):
        world, store = World(), MemoryStore()
        processes = [Process(world, slots(store).add(f"t{one}", one)) for one in range(2)]
        for number in order:
            if processes[number].ready:
                processes[number].step()
                steps += 1
        for process in processes:
            while not process.over:
                world.now_s = max(world.now_s, process.wakes_s)
                process.step()
        assert sorted(values(store)) == [0, 1]
    assert steps > 100_000


def test_an_error_passes_no_value_by() -> None:
    """What was found before counts, and so does what is found afterwards; a slot that was not written stays empty."""
    store, found = MemoryStore(), []
    World().run(slots(store).add("a", "first"))
    mine, put = slots(store, found.append), store.set

    def failing_set(key: str, value: Any) -> None:
        if key.endswith("-e"):
            raise StoreError("The store fails.")
        put(key, value)

    store.set = failing_set  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="fails"):
        World().run(mine.add("b", "lost"))
    store.set = put  # type: ignore[method-assign]
    World().run(slots(store).add("c", "second"))
    World().run(mine.read())

    assert (found, mine.through, mine.empty) == (["first", "second"], 3, {1})


def test_a_store_that_keeps_nothing_is_an_error() -> None:
    """Nobody would find the value."""

    class Forgetful(MemoryStore):
        def set(self, key: str, value: Any) -> None: ...

    with pytest.raises(StoreError, match="does not keep what is written"):
        World().run(slots(Forgetful()).add("a", 1))


def test_who_never_gets_a_slot_gives_up() -> None:
    """With an error that says what to do."""
    store = MemoryStore()
    store.get = lambda key: "another" if key.endswith("-y") else None  # type: ignore[method-assign]

    with pytest.raises(StoreError, match="try again later"):
        World().run(slots(store).add("a", 1))
