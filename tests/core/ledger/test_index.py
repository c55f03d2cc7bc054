"""The index of replays loses no entry, although no store has compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.index import IndexEntry, ReplayIndex
from airflow_provider_mqs.exceptions import StoreError
from tests.support import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_MS = 24 * 3_600_000
NOW_MS = 1_700_000_000_000


class Interrupted(MemoryStore):
    """Lets somebody else work before the n-th call."""

    def __init__(self, at: int, other: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.at, self.other, self.calls = at, other, 0

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.other()

    def get(self, key: str) -> Any | None:
        self._count()
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self._count()
        super().set(key, value)


def index(store: MemoryStore) -> ReplayIndex:
    return ReplayIndex(
        store, "host", "instance", "orders", sleep=lambda _: None, jitter=lambda: 0.5, now_ms=lambda: NOW_MS
    )


def entry(number: int, **changes: Any) -> IndexEntry:
    fields = {"replay_id": f"r{number}", "consumer_key": None, "since_ms": NOW_MS, "until_ms": None}
    return IndexEntry(**{**fields, "spans": {0: (number, number + 9)}, **changes})


def test_entries_come_back_whatever_their_shard() -> None:
    """A later entry replaces the older one of the same replay."""
    store = MemoryStore()
    for number in range(20):
        index(store).put(entry(number))
    index(store).put(entry(3, until_ms=NOW_MS + 1))

    found = {one.replay_id: one for one in index(store).entries()}

    assert len(found) == 20
    assert found["r3"] == entry(3, until_ms=NOW_MS + 1)
    assert ReplayIndex(store, "host", "instance", "other").entries() == []


# at 2 one stalls between reading and writing for as long as the other needs for everything, waits included: no store
# can tell; the other's entry is back when its replay ends
@pytest.mark.parametrize("at", [1, 3, 4, 5, 6])
def test_two_writers_at_once_lose_nothing(at: int) -> None:
    """Whenever the other one writes, both entries are there in the end."""
    store = Interrupted(at)
    # of one shard, so that they write the same value
    store.other = lambda: index(store).put(entry(0))
    rival = next(n for n in range(1, 200) if _shard(n) == _shard(0))

    index(store).put(entry(rival))
    if store.calls < at:
        store.other()

    assert {one.replay_id for one in index(store).entries()} >= {f"r{rival}"}
    assert "r0" in {one.replay_id for one in index(store).entries()}


def _shard(number: int) -> str:
    written = MemoryStore()
    index(written).put(entry(number))
    return next(iter(written.values))


def test_old_replays_are_dropped() -> None:
    """After 60 days neither their sources nor their copies exist."""
    store = MemoryStore()
    rival = next(n for n in range(1, 200) if _shard(n) == _shard(0))
    index(store).put(entry(0, since_ms=NOW_MS - 90 * DAY_MS, until_ms=NOW_MS - 61 * DAY_MS))

    index(store).put(entry(rival))

    assert [one.replay_id for one in index(store).entries()] == [f"r{rival}"]


def test_a_broken_index_is_an_error() -> None:
    """Nothing may be sent if earlier replays are not known."""
    store = MemoryStore()
    index(store).put(entry(1))
    store.set(next(iter(store.values)), [{"replay_id": "r1"}])

    with pytest.raises(StoreError, match="index of earlier replays is broken"):
        index(store).entries()


def test_a_store_that_keeps_nothing_is_an_error() -> None:
    """``put`` gives up after fifty rounds."""

    class Forgetful(MemoryStore):
        def set(self, key: str, value: Any) -> None: ...

    with pytest.raises(StoreError, match="keep overwriting the index"):
        index(Forgetful()).put(entry(1))
