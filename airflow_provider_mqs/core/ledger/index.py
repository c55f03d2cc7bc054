"""
Which replays a topic had, so that a later query or resend finds their ledgers.

No store can compare and set, so an entry is merged in until it was seen twice; and the entries of a topic are spread
over a few keys, so that many tasks that begin at once get into each other's way less.
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
_KEPT_MS = 60 * 24 * 3_600_000
"""The service keeps messages 30 days at most; then neither sources nor copies of a replay are there."""
_SEEN = 2
_ROUNDS = 50
_PAUSE_S = 0.03


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """
    A replay.

    :param replay_id: key of its ledger
    :param consumer_key: to whom, ``None`` for all
    :param since_ms: before its first copy, epoch ms
    :param until_ms: after its last copy, epoch ms; ``None`` while it may still send
    :param spans: by partition, the smallest and greatest offset that it sends
    """

    replay_id: str
    consumer_key: str | None
    since_ms: int
    until_ms: int | None
    spans: Mapping[int, tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """
        Write it as JSON.

        :return: its fields
        """
        return {
            "replay_id": self.replay_id,
            "consumer_key": self.consumer_key,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "spans": {str(partition): list(span) for partition, span in self.spans.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> IndexEntry:
        """
        Read what ``to_json`` wrote.

        :param value: its fields, and perhaps others
        :return: the entry
        :raises StoreError: it is broken
        """
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ReplayIndex:
    """
    The replays of one topic.

    :param store: where they are recorded
    :param endpoint: host
    :param instance_id: instance
    :param topic: topic name
    :param sleep: waits for a number of seconds
    :param jitter: a number in [0, 1)
    :param now_ms: epoch ms
    """

    def __init__(
        self,
        store: Store,
        endpoint: str,
        instance_id: str,
        topic: str,
        *,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self.store = store
        self._prefix = "i-" + hashlib.sha256(f"{endpoint}|{instance_id}|{topic}".encode()).hexdigest()[:24]
        self._sleep = sleep
        self._jitter = jitter
        self._now_ms = now_ms

    def entries(self) -> list[IndexEntry]:
        """
        List the replays.

        :return: each one's entry, in no order
        :raises StoreError: the index cannot be read
        """
        return [entry for shard in range(_SHARDS) for entry in self._read(f"{self._prefix}-{shard}").values()]

    def put(self, entry: IndexEntry) -> None:
        """
        Write an entry, in the place of an older one of the same replay.

        :param entry: the replay
        :raises StoreError: the index cannot be written, or others write it without end
        """
        shard = int(hashlib.sha256(entry.replay_id.encode()).hexdigest(), 16) % _SHARDS
        key, seen = f"{self._prefix}-{shard}", 0
        for _ in range(_ROUNDS):
            entries = self._read(key)
            if entries.get(entry.replay_id) == entry:
                seen += 1
                if seen == _SEEN:
                    return
            else:
                seen = 0
                kept = [one for one in entries.values() if self._is_kept(one) and one.replay_id != entry.replay_id]
                self.store.set(key, [one.to_json() for one in (*kept, entry)])
            self._sleep(_PAUSE_S * (0.2 + self._jitter()))
        raise StoreError(f"The index of replays in {self.store.name} is being overwritten all the time.")

    def _read(self, key: str) -> dict[str, IndexEntry]:
        entries = map(IndexEntry.from_json, self.store.get(key) or [])
        return {entry.replay_id: entry for entry in entries}

    def _is_kept(self, entry: IndexEntry) -> bool:
        last_ms = entry.since_ms if entry.until_ms is None else entry.until_ms
        return self._now_ms() - last_ms < _KEPT_MS


def load(stores: Iterable[Store], replay_id: str) -> Ledger | None:
    """
    Read a ledger from every store that may hold it.

    :param stores: where to look
    :param replay_id: which
    :return: what they know together; ``None`` where none holds it
    :raises StoreError: a store cannot be read, or the ledger in it
    """
    found: Ledger | None = None
    for store in stores:
        value = store.get(replay_id)
        found = merged(found, None if value is None else Ledger.from_json(value, store.name))
    return found


def ledgers_of(indexes: Sequence[ReplayIndex], chosen: Callable[[IndexEntry], bool]) -> list[Ledger]:
    """
    Read the ledgers of replays that any index lists.

    :param indexes: of one topic, each of another store
    :param chosen: which entries matter
    :return: one ledger a replay
    :raises StoreError: an index or a ledger cannot be read
    """
    ids = {entry.replay_id for index in indexes for entry in index.entries() if chosen(entry)}
    found = (load([index.store for index in indexes], replay_id) for replay_id in sorted(ids))
    return [ledger for ledger in found if ledger]
