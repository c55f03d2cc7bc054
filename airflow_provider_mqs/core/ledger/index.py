"""
The index of a topic's executions: which ledgers a later query or resend has to read.

Stores cannot list their keys, so each execution adds an entry here before it sends its first message. Each entry has a
slot of its own, so that none is lost, however many come at once and whatever the latency of the store; see ``slots``.

The *summary* shortens the way: it holds the entries of all slots before a certain one, and which of these slots were
still empty. Everybody may write it, since it only repeats what is in the slots; a summary that is overwritten by an
older one, or lost, costs reads and nothing else. It also says when an execution ended, so that its ledger need not be
read for a window that came later. An empty slot is forgotten after two days.

===============  =======================================  ==============================================================
key              written by                               what a crash before or after it leaves
===============  =======================================  ==============================================================
``i-{h}-{n}-…``  whoever tries to take slot n             the entry of an execution that may never have sent anything
``i-{h}``        anybody, often when an execution ends    nothing
===============  =======================================  ==============================================================
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.ledger.slots import Slots
from airflow_provider_mqs.core.ledger.store_steps import get, put
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.topic_ref import TopicRef

SCHEMA: Final = "mqs.index/2"
_LONG_WAY: Final = 8
"""Who passed more slots than this writes a summary for those who come later."""
_KEPT_EMPTY_MS: Final = 2 * 24 * 3_600_000
_RETENTION_MS: Final = 60 * 24 * 3_600_000
"""The service keeps messages for 30 days at most: by then neither the sources nor the copies of a replay exist."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One execution; times are epoch ms of the service's clock."""

    token: str
    consumer_key: str | None
    since_ms: int
    """Before its first POST."""
    spans: Mapping[int, tuple[int, int]]
    """By partition: smallest and greatest offset of the plan."""
    span_ms: tuple[int, int] | None = None
    """Within which time the planned messages lie."""
    until_ms: int | None = None
    """After its last copy; ``None`` as long as only its ledger knows."""

    def may_overlap(self, planned: OffsetsByPartition) -> bool:
        """Return whether its plan may have messages in common with this one."""
        return bool(partition_offsets.intersection({number: (span,) for number, span in self.spans.items()}, planned))

    def may_have_sent_within(self, start_ms: int, end_ms: int) -> bool:
        """Return whether it may have been sending in an interval, as far as the index knows."""
        # the service's clock may be set back: only when it has ended, it is known from when on it was sending
        return self.until_ms is None or (self.since_ms < end_ms and self.until_ms >= start_ms)

    def to_json(self) -> list[Any]:
        """Return the entry as plain JSON, short since a summary holds many."""
        spans = {str(partition): list(span) for partition, span in self.spans.items()}
        span_ms = self.span_ms and list(self.span_ms)
        return [self.token, self.consumer_key, self.since_ms, self.until_ms, spans, span_ms]

    @classmethod
    def from_json(cls, value: Any) -> IndexEntry:
        """Read what ``to_json`` wrote."""
        token, consumer_key, since_ms, until_ms, spans, span_ms = value
        return cls(
            str(token),
            consumer_key,
            int(since_ms),
            {int(partition): (int(first), int(last)) for partition, (first, last) in spans.items()},
            None if span_ms is None else (int(span_ms[0]), int(span_ms[1])),
            None if until_ms is None else int(until_ms),
        )


class ReplayIndex:
    """The executions of one topic, as one store records them. ``jitter`` returns a number from 0 to 1."""

    def __init__(
        self,
        store: Store,
        topic: TopicRef,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self._prefix = f"i-{hashlib.sha256(json.dumps(topic).encode()).hexdigest()[:32]}"
        self._slots = Slots(store, self._prefix, self._note, jitter=jitter)
        self._entries: dict[str, IndexEntry] = {}
        self._empty_since_ms: dict[int, int | None] = {}  # when a summary first had a slot as empty

    def read(self) -> Flow[list[IndexEntry]]:
        """Return every entry that was written before this began."""
        yield from self._read_summary()
        yield from self._slots.read()
        return list(self._entries.values())

    def announce(self, entry: IndexEntry) -> Flow[None]:
        """Add an entry. Whoever begins to read after this finds it."""
        yield from self._read_summary()
        begin = self._slots.through
        yield from self._slots.add(entry.token, entry.to_json())
        if self._slots.through - begin > _LONG_WAY:
            yield from self.note_ends({}, None)

    def without_end(self) -> list[str]:
        """Return the executions of which the index does not say when they ended, as it was last read; oldest first."""
        return [entry.token for entry in self._entries.values() if entry.until_ms is None]

    def note_ends(self, sent_ms: Mapping[str, tuple[int, int]], now_ms: int | None) -> Flow[None]:
        """
        Write a summary: everything that was read, and from when until when some of the executions were sending.

        What is old is left out, if the service's time is known: a machine with a wrong clock must forget nothing.
        """
        for token in self._entries.keys() & sent_ms.keys():
            since_ms, until_ms = sent_ms[token]
            since_ms = min(since_ms, self._entries[token].since_ms)
            self._entries[token] = replace(self._entries[token], since_ms=since_ms, until_ms=until_ms)
        entries = list(self._entries.values())
        empty = {slot: self._empty_since_ms.get(slot) for slot in sorted(self._slots.empty)}
        if now_ms is not None:
            entries = [one for one in entries if now_ms - (one.until_ms or one.since_ms) < _RETENTION_MS]
            empty = {slot: now_ms if since_ms is None else since_ms for slot, since_ms in empty.items()}
            empty = {slot: since_ms for slot, since_ms in empty.items() if now_ms - (since_ms or 0) < _KEPT_EMPTY_MS}
        summary = {
            "schema": SCHEMA,
            "through": self._slots.through,
            "entries": [entry.to_json() for entry in entries],
            "empty": {str(slot): since_ms for slot, since_ms in empty.items()},
        }
        yield from put(self.store, self._prefix, summary)

    def _read_summary(self) -> Flow[None]:
        summary = yield from get(self.store, self._prefix)
        if summary is None:
            return
        if not isinstance(summary, Mapping) or summary.get("schema") != SCHEMA:
            raise _broken(self.store, ValueError("another schema"))
        try:
            through = int(summary["through"])
            empty = {int(slot): None if ms is None else int(ms) for slot, ms in summary["empty"].items()}
            entries = [_read_entry(value, self.store) for value in summary["entries"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _broken(self.store, error) from error
        self._slots.through = max(self._slots.through, through)
        self._slots.empty |= empty.keys()
        self._empty_since_ms |= empty
        for entry in entries:
            if entry.until_ms is not None or entry.token not in self._entries:
                self._entries[entry.token] = entry

    def _note(self, value: Any) -> None:
        entry = _read_entry(value, self.store)
        self._entries.setdefault(entry.token, entry)


def read_indexes(indexes: Iterable[ReplayIndex]) -> Flow[list[IndexEntry]]:
    """Return each execution that one of several stores has, once."""
    found: dict[str, IndexEntry] = {}
    for index in indexes:
        for entry in (yield from index.read()):
            if entry.until_ms is not None or entry.token not in found:
                found[entry.token] = entry
    return list(found.values())


def _read_entry(value: Any, store: Store) -> IndexEntry:
    try:
        return IndexEntry.from_json(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise _broken(store, error) from error


def _broken(store: Store, error: Exception) -> StoreError:
    return StoreError(
        f"The index of earlier replays in {store.name} is broken ({error}); restore it, or remove it if you know what "
        "was sent."
    )
