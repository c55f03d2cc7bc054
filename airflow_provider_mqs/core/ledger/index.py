"""
The index of a topic's replays: which ledgers a later query or resend has to read.

Stores cannot list their keys, so every replay adds an entry here before it sends its first message and updates it when
it ends. The entries of a topic are spread over a few keys, so that tasks that start together collide less.

No store has compare-and-set. ``put`` merges its entry into what it reads and repeats that until it has read the entry
back twice. What a crash leaves: a ledger without an entry has sent nothing; of an entry without an end, the ledger's
last write shows how long it was alive. One loss is possible: a writer that stalls between reading and writing, for
longer than another's whole ``put`` takes, drops the other's entry until that replay ends and puts it again.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.ledger import Ledger, merged
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider_mqs.core.ledger.stores import Store

_SHARDS = 8
_CONFIRMATIONS = 2
_MAX_ROUNDS = 50
_PAUSE_S = 0.03
_RETENTION_MS = 60 * 24 * 3_600_000
"""The service keeps messages for 30 days at most: by then neither the sources nor the copies of a replay exist."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One replay; times are epoch ms of the service's clock."""

    replay_id: str
    consumer_key: str | None
    since_ms: int  # before its first copy
    until_ms: int | None  # after its last copy; None while it may still send
    spans: Mapping[int, tuple[int, int]]  # by partition: smallest and greatest offset of the plan

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain JSON."""
        return {
            "replay_id": self.replay_id,
            "consumer_key": self.consumer_key,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "spans": {str(partition): list(span) for partition, span in self.spans.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> IndexEntry:
        """Read what ``to_json`` wrote; unknown fields are ignored."""
        try:
            spans = {int(partition): (int(first), int(last)) for partition, (first, last) in value["spans"].items()}
            until = value["until_ms"]
            return cls(
                str(value["replay_id"]),
                value["consumer_key"],
                int(value["since_ms"]),
                None if until is None else int(until),
                spans,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError("The index of earlier replays is broken; restore it, or remove it.") from error


def wall_clock_ms() -> int:
    """Return this machine's time, epoch ms."""
    return time.time_ns() // 1_000_000


class ReplayIndex:
    """The replays of one topic, as one store records them."""

    def __init__(
        self,
        store: Store,
        endpoint: str,
        instance_id: str,
        topic: str,
        *,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.store = store
        self._prefix = "i-" + hashlib.sha256(f"{endpoint}|{instance_id}|{topic}".encode()).hexdigest()[:24]
        self._sleep = sleep
        self._jitter = jitter
        self._now_ms = now_ms

    def entries(self) -> list[IndexEntry]:
        """Return all entries, in no order."""
        return [entry for shard in range(_SHARDS) for entry in self._read(f"{self._prefix}-{shard}").values()]

    def put(self, entry: IndexEntry) -> None:
        """Add an entry, or replace the older one of the same replay."""
        shard = int(hashlib.sha256(entry.replay_id.encode()).hexdigest(), 16) % _SHARDS
        key, confirmed = f"{self._prefix}-{shard}", 0
        for _ in range(_MAX_ROUNDS):
            entries = self._read(key)
            if entries.get(entry.replay_id) == entry:
                confirmed += 1
                if confirmed == _CONFIRMATIONS:
                    return
            else:
                confirmed = 0
                oldest_ms = self._now_ms() - _RETENTION_MS
                kept = [
                    one
                    for one in entries.values()
                    if one.replay_id != entry.replay_id
                    and (one.since_ms if one.until_ms is None else one.until_ms) > oldest_ms
                ]
                self.store.set(key, [one.to_json() for one in (*kept, entry)])
            # jitter, so that two writers fall out of step
            self._sleep(_PAUSE_S * (0.2 + self._jitter()))
        raise StoreError(f"Other runs keep overwriting the index of replays in {self.store.name}: try again later.")

    def _read(self, key: str) -> dict[str, IndexEntry]:
        entries = map(IndexEntry.from_json, self.store.get(key) or [])
        return {entry.replay_id: entry for entry in entries}


def load_ledger(stores: Iterable[Store], replay_id: str) -> Ledger | None:
    """Return what all stores together know of one replay; ``None`` if none of them has its ledger."""
    ledger: Ledger | None = None
    for store in stores:
        value = store.get(replay_id)
        ledger = merged(ledger, None if value is None else Ledger.from_json(value, store.name))
    return ledger


def load_ledgers(indexes: Sequence[ReplayIndex], matches: Callable[[IndexEntry], bool]) -> list[Ledger]:
    """Return the ledgers of all matching replays that any index of a topic lists, one for each replay."""
    replay_ids = {entry.replay_id for index in indexes for entry in index.entries() if matches(entry)}
    ledgers = (load_ledger([index.store for index in indexes], replay_id) for replay_id in sorted(replay_ids))
    return [ledger for ledger in ledgers if ledger]
