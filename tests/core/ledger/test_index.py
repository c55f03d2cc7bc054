"""The index of executions loses no entry, in whatever order several of them read and write."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Call, drive
from airflow_provider_mqs.core.ledger.index import IndexEntry, ReplayIndex, read_indexes
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.exceptions import StoreError
from tests.core.ledger.stepping import Process, World, let_sleepers_wake
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Flow

DAY_MS = 24 * 3_600_000
NOW_MS = 1_700_000_000_000
REF = TopicRef("host", "instance", "orders")


def index(store: MemoryStore, jitter: Any = lambda: 0.5) -> ReplayIndex:
    return ReplayIndex(store, REF, jitter=jitter)


def entry(number: int, **changes: Any) -> IndexEntry:
    fields = {"token": f"t{number}", "consumer_key": None, "since_ms": NOW_MS, "spans": {0: (number, number + 9)}}
    return IndexEntry(**{**fields, **changes})


def run(flow: Flow[Any]) -> Any:
    return World().run(flow)


def tokens(store: MemoryStore) -> set[str]:
    return {one.token for one in run(index(store).read())}


def owners(store: MemoryStore) -> list[str]:
    """Return the tokens of all entries, by slot."""
    return [store.get(key)[0] for key in sorted(store.values) if key.endswith("-e")]


def test_entries_come_back() -> None:
    """Those of another topic do not."""
    store = MemoryStore()
    for number in range(20):
        run(index(store).announce(entry(number, span_ms=(5, 9), until_ms=None)))

    assert run(index(store).read()) == [entry(number, span_ms=(5, 9)) for number in range(20)]
    assert run(ReplayIndex(store, REF._replace(topic="other")).read()) == []


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 4), st.randoms(use_true_random=False), st.floats(0, 1), st.integers(0, 2))
def test_whatever_the_order_of_reads_and_writes_no_entry_is_lost(
    number: int, rng: random.Random, stays: float, doomed: int
) -> None:
    """One goes on for long stretches, or all change at each step; some are killed in the midst."""
    world, store = World(), MemoryStore()
    processes = [Process(world, index(store, rng.random).announce(entry(one))) for one in range(number)]
    chosen = processes[0]
    while any(not process.over for process in processes):
        let_sleepers_wake(world, processes)
        if not chosen.ready or rng.random() > stays:
            chosen = rng.choice([process for process in processes if process.ready])
        if chosen in processes[:doomed] and rng.random() < 0.1:
            chosen.kill()
        else:
            chosen.step()

    announced = {f"t{one}" for one, process in enumerate(processes) if not process.killed}
    assert announced <= tokens(store)
    assert len(owners(store)) == len(set(owners(store)))


def test_whoever_begins_to_read_after_an_entry_was_written_finds_it() -> None:
    """Also one that shares the way with others, and one that starts from a summary."""
    rng = random.Random(3)  # noqa: S311 - repeatable
    world, store = World(), MemoryStore()
    processes = [Process(world, index(store, rng.random).announce(entry(one))) for one in range(12)]
    announced: set[str] = set()
    while any(not process.over for process in processes):
        let_sleepers_wake(world, processes)
        chosen = rng.choice([process for process in processes if process.ready])
        chosen.step()
        if chosen.over:
            announced.add(f"t{processes.index(chosen)}")
            assert announced <= tokens(store)
            reader = index(store)
            run(reader.read())
            run(reader.note_ends({}, NOW_MS))
    assert len(announced) == 12


class Timed:
    """Lets 192 announcements happen, 32 at once, on a store whose calls take so many seconds each."""

    def __init__(self, latency_s: float) -> None:
        self.world, self.store, self.rng = World(), MemoryStore(), random.Random(7)  # noqa: S311 - repeatable
        self.latency_s, self.steps = latency_s, 0

    def run(self) -> None:
        waiting, running = list(range(192)), list[Process[Any]]()
        while waiting or running:
            while waiting and len(running) < 32:
                process = Process(self.world, index(self.store, self.rng.random).announce(entry(waiting.pop())))
                process.wakes_s = self.world.now_s + self.latency_s * self.rng.random()
                running.append(process)
            process = min(running, key=lambda one: one.wakes_s)
            self.world.now_s = max(self.world.now_s, process.wakes_s)
            process.step()
            self.steps += 1
            process.wakes_s = max(process.wakes_s, self.world.now_s + self.latency_s * (0.5 + self.rng.random()))
            if process.over:
                assert process.error is None
                running.remove(process)


@pytest.mark.parametrize("latency_s", [0.0, 0.05, 0.15, 2.0])
def test_192_announcements_32_at_once_lose_nothing(latency_s: float) -> None:
    """At any latency; and few slots stay empty."""
    timed = Timed(latency_s)

    timed.run()

    assert tokens(timed.store) == {f"t{number}" for number in range(192)}
    slots = sum(key.endswith("-x") for key in timed.store.values)
    assert slots <= 2.5 * 192
    assert timed.steps <= 200 * 192


def test_threads_that_announce_at_once_lose_nothing() -> None:
    """With a store that takes a random time before and after it has done its work."""
    store, rng = MemoryStore(), random.Random(5)  # noqa: S311 - repeatable
    gates = [rng.random() / 2_000 for _ in range(997)]

    def announce(number: int) -> None:
        def perform(step: Any) -> Any:
            time.sleep(gates[id(step) % 997])
            return step.call() if isinstance(step, Call) else None

        drive(index(store, random.random).announce(entry(number)), perform)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(announce, range(64), timeout=60))

    assert tokens(store) == {f"t{number}" for number in range(64)}


def test_a_summary_shortens_the_way() -> None:
    """It says as much as the slots, and which executions have ended."""
    store = MemoryStore()
    for number in range(20):
        run(index(store).announce(entry(number)))
    closing = index(store)
    run(closing.read())
    run(closing.note_ends({"t3": (NOW_MS, NOW_MS + 5)}, NOW_MS))
    reads: list[str] = []
    get = store.get
    store.get = lambda key: (reads.append(key), get(key))[1]  # type: ignore[method-assign]

    found = {one.token: one for one in run(index(store).read())}

    assert len(reads) == 3
    assert found == {f"t{number}": entry(number) for number in range(20)} | {"t3": entry(3, until_ms=NOW_MS + 5)}
    assert closing.without_end() == [f"t{number}" for number in range(20) if number != 3]


def test_an_older_summary_costs_reads_and_nothing_else() -> None:
    """Two that end at once overwrite each other's."""
    store, late = MemoryStore(), index(MemoryStore())
    late._slots.store = late.store = store
    run(index(store).announce(entry(0)))
    run(late.read())
    run(index(store).announce(entry(1)))
    newer = index(store)
    run(newer.read())
    run(newer.note_ends({"t1": (NOW_MS, NOW_MS)}, NOW_MS))

    run(late.note_ends({"t0": (NOW_MS, NOW_MS)}, NOW_MS))

    assert tokens(store) == {"t0", "t1"}


def test_an_entry_that_is_written_late_is_found_in_its_empty_slot() -> None:
    """Its slot is looked at for two days, then it is forgotten."""
    world, store = World(), MemoryStore()
    slow = Process(world, index(store).announce(entry(0)))
    while not any(key.endswith("-y") for key in store.values):
        slow.step()
    run(index(store).announce(entry(1)))
    for days, kept in ((0, True), (1, True), (2, False)):
        closing = index(store)
        run(closing.read())
        run(closing.note_ends({}, NOW_MS + days * DAY_MS))
        assert bool(store.get(closing._prefix)["empty"]) is kept
        if days == 1:
            assert tokens(store) == {"t1"}
            before = dict(store.values)
            while not slow.over:
                slow.step()
            assert tokens(store) == {"t0", "t1"}
            store.values = before


def test_old_executions_are_dropped() -> None:
    """After 60 days neither their sources nor their copies exist."""
    store = MemoryStore()
    for number, since_ms in enumerate((NOW_MS - 90 * DAY_MS, NOW_MS - 61 * DAY_MS, NOW_MS)):
        run(index(store).announce(entry(number, since_ms=since_ms)))
    closing = index(store)
    run(closing.read())

    run(closing.note_ends({"t0": (NOW_MS, NOW_MS - DAY_MS)}, NOW_MS))

    assert tokens(store) == {"t0", "t2"}


def test_a_machine_that_does_not_know_the_time_forgets_nothing() -> None:
    """Neither old executions nor empty slots."""
    world, store = World(), MemoryStore()
    slow = Process(world, index(store).announce(entry(0)))
    while not any(key.endswith("-y") for key in store.values):
        slow.step()
    run(index(store).announce(entry(1, since_ms=NOW_MS - 90 * DAY_MS)))
    for _ in range(2):
        closing = index(store)
        run(closing.read())
        run(closing.note_ends({}, None))
    while not slow.over:
        slow.step()

    assert tokens(store) == {"t0", "t1"}


def test_several_stores_are_joined() -> None:
    """Each execution once, with its end if one of them knows it."""
    left, right = MemoryStore(), MemoryStore()
    for store, number in ((left, 0), (left, 1), (right, 1), (right, 2)):
        run(index(store).announce(entry(number)))
    closing = index(right)
    run(closing.read())
    run(closing.note_ends({"t1": (NOW_MS, NOW_MS)}, NOW_MS))

    found = run(read_indexes([index(left), index(right)]))

    assert sorted(found, key=lambda one: one.token) == [entry(0), entry(1, until_ms=NOW_MS), entry(2)]


@pytest.mark.parametrize("name", ["", "-0-e"])
@pytest.mark.parametrize("value", [[], {"schema": "mqs.index/3"}, 3, [1, 2], {"schema": "mqs.index/2", "through": "x"}])
def test_a_broken_index_is_an_error(name: str, value: Any) -> None:
    """Nothing may be sent if earlier replays are not known."""
    store = MemoryStore()
    store.set(index(store)._prefix + name, value)

    with pytest.raises(StoreError, match="index of earlier replays in memory is broken"):
        run(index(store).read())
