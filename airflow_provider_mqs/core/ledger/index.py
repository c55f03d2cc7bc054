"""
The index of a topic's executions: which ledgers a later query or resend has to read.

Stores cannot list their keys, so each execution adds an entry here before it sends its first message. No store has
compare-and-set either, so no value that several executions write may hold what must not be lost. So each entry has a
*slot* of its own, which nobody else ever writes. Slots are numbered; a slot is taken with the *splitter* of Moir and
Anderson, which needs only reads and writes that are atomic, however long they take::

    x := my token
    is y set?  then somebody came before: try the next slot
    y := set
    is x still my token?  then the slot is mine: write the entry.  Otherwise try the next slot

At most one execution stops at a slot. For if one did, then nobody wrote x after its token and before it read x again,
and y was set by then: whoever writes x later finds y set, and whoever wrote x before finds another token. So no entry
is ever overwritten, and none is lost. Of several that come at once, perhaps none stops at a slot; they go on after a
random pause. Who finds x written passes the slot without trying, since its token in x would spoil that of another.

Readers go from slot to slot until they find one whose x was never written. All slots before an entry have been passed,
so their x is written: whoever begins to read after an entry was written finds it. A slot with x and no entry was
passed by all, or its owner is about to write, or died in between; readers go on, and look there again the next time.

The *summary* shortens the way: it holds the entries of all slots before a certain one, and which of these slots were
still empty. Everybody may write it, since it only repeats what is in the slots; a summary that is overwritten by an
older one, or lost, costs reads and nothing else. It also says when an execution ended, so that its ledger need not be
read for a window that came later. An empty slot is forgotten after two days.

===============  =======================================  ==============================================================
key              written by                               what a crash before or after it leaves
===============  =======================================  ==============================================================
``i-{h}-{n}-x``  whoever tries to take slot n             an empty slot
``i-{h}-{n}-y``  whoever found no y                       an empty slot
``i-{h}-{n}-e``  the one that stopped at slot n, once     the entry of an execution that may never have sent anything
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

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.ledger.ledger_reader import get, put
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.topic_ref import TopicRef

SCHEMA: Final = "mqs.index/2"
_LONG_WAY: Final = 8
"""Who passed more slots than this writes a summary for those who come later."""
_MOST_SLOTS: Final = 200
# each pause is random, and twice as long as the one before, up to this
_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
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
        return self.since_ms < end_ms and (self.until_ms is None or self.until_ms >= start_ms)

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
        self._jitter = jitter
        self._through = 0  # all slots before this one were passed
        self._entries: dict[str, IndexEntry] = {}
        self._empty: dict[int, int | None] = {}  # passed slots without an entry, and when the summary first had them

    def read(self) -> Flow[list[IndexEntry]]:
        """Return every entry that was written before this began."""
        yield from self._read_summary()
        for slot in list(self._empty):
            yield from self._read_slot(slot)
        yield from self._read_on()
        return list(self._entries.values())

    def announce(self, entry: IndexEntry) -> Flow[None]:
        """Add an entry. Whoever begins to read after this finds it."""
        yield from self._read_summary()
        begin = self._through
        yield from self._read_on()
        for number in range(_MOST_SLOTS):
            slot = self._through
            mine = yield from self._take(slot, entry.token)
            self._through += 1
            if mine:
                yield from put(self.store, self._key(slot, "e"), entry.to_json())
                self._entries[entry.token] = entry
                if slot - begin > _LONG_WAY:
                    yield from self.note_ends({}, None)
                return
            self._empty[slot] = None
            pause_s = min(_PAUSE_S * 2**number, _LONGEST_PAUSE_S) * self._jitter()
            yield Sleep(pause_s, "other runs are being announced at this moment")
            yield from self._read_on()
        raise StoreError(f"Too many runs are being announced in {self.store.name} at this moment: try again later.")

    def without_end(self) -> list[str]:
        """Return the executions of which the index does not say when they ended, as it was last read; oldest first."""
        return [entry.token for entry in self._entries.values() if entry.until_ms is None]

    def note_ends(self, until_ms: Mapping[str, int], now_ms: int | None) -> Flow[None]:
        """
        Write a summary: everything that was read, and when some of the executions ended.

        What is old is left out, if the service's time is known: a machine with a wrong clock must forget nothing.
        """
        for token in self._entries.keys() & until_ms.keys():
            self._entries[token] = replace(self._entries[token], until_ms=until_ms[token])
        entries, empty = list(self._entries.values()), dict(self._empty)
        if now_ms is not None:
            entries = [one for one in entries if now_ms - (one.until_ms or one.since_ms) < _RETENTION_MS]
            empty = {slot: now_ms if seen_ms is None else seen_ms for slot, seen_ms in empty.items()}
            empty = {slot: seen_ms for slot, seen_ms in empty.items() if now_ms - (seen_ms or 0) < _KEPT_EMPTY_MS}
        summary = {
            "schema": SCHEMA,
            "through": self._through,
            "entries": [entry.to_json() for entry in entries],
            "empty": {str(slot): seen_ms for slot, seen_ms in empty.items()},
        }
        yield from put(self.store, self._prefix, summary)

    def _take(self, slot: int, token: str) -> Flow[bool]:
        """Try to take a slot: the splitter."""
        yield from put(self.store, self._key(slot, "x"), token)
        if (yield from get(self.store, self._key(slot, "y"))) is not None:
            return False
        yield from put(self.store, self._key(slot, "y"), 1)
        seen = yield from get(self.store, self._key(slot, "x"))
        if seen is None:
            raise StoreError(f"{self.store.name} does not keep what is written into it, so nothing may be sent.")
        return bool(seen == token)

    def _read_on(self) -> Flow[None]:
        """Read all slots up to the first that nobody has tried to take."""
        while (yield from self._read_slot(self._through)):
            self._through += 1

    def _read_slot(self, slot: int) -> Flow[bool]:
        """Read the entry of a slot, if it has one; return whether the slot was passed."""
        value = yield from get(self.store, self._key(slot, "e"))
        if value is not None:
            entry = _read_entry(value, self.store)
            self._entries.setdefault(entry.token, entry)
            self._empty.pop(slot, None)
            return True
        if slot >= self._through:
            if (yield from get(self.store, self._key(slot, "x"))) is None:
                return False
            self._empty[slot] = None
        return True

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
        self._through = max(self._through, through)
        self._empty |= empty
        for entry in entries:
            if entry.until_ms is not None or entry.token not in self._entries:
                self._entries[entry.token] = entry

    def _key(self, slot: int, name: str) -> str:
        return f"{self._prefix}-{slot}-{name}"


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
