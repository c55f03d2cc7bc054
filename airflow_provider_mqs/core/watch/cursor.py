"""
How far a topic was watched, and which of its messages are new.

Which messages count as new
---------------------------

The service can be asked for a time, not for "everything since offset 17". So a poll reads a window, and a message is
new if its ref (partition and offset) has not been published yet. Messages do not arrive in the order of their
timestamps: a producer's clock is late, a retry carries the time of the first try, one millisecond holds many. So each
poll reads an *overlap* before the end of the last one again, and the cursor remembers the refs in it that were
published. A message that arrives later than the overlap is never published; a longer one costs rows read, not events.

::

            from_ms                      next_ms             until_ms
    ───────────┼────────────────────────────┼───────────────────┼──────▶ time of the messages
               │ overlap: late messages are │ not read before   │ not settled: not read yet
               │ new, refs in ``seen`` are  │                   │
               │ not                        │                   │

What a kill repeats
-------------------

1. A poll finds new messages. They are saved beside the cursor *from before* them, as a batch.
2. The batch is published: the trigger hands its event to Airflow.
3. Once the event has had time to be stored, the cursor *after* them is saved, without a batch.

A process that is killed before 1 has published nothing: the next one finds the same messages, and perhaps more. Killed
between 1 and 3, the next one publishes the saved batch: the very same document, whose digest lets a receiver recognise
it. Messages are published at least once; nothing is lost whenever the kill comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

SCHEMA: Final = "mqs.cursor/1"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a topic was watched; times are epoch ms."""

    from_ms: int
    """First millisecond that the next poll reads; nothing before it is published any more."""
    next_ms: int
    """End (exclusive) of the time that was read completely."""
    seen: OffsetsByPartition = field(default_factory=dict)
    """Messages from ``from_ms`` on that were published."""

    @classmethod
    def at(cls, start_ms: int) -> Cursor:
        """Start with the messages of this millisecond."""
        return cls(start_ms, start_ms)

    def window(self, until_ms: int) -> TimeWindow | None:
        """Return what the next poll reads, up to ``until_ms`` (exclusive); ``None`` if there is nothing to read yet."""
        end_ms = max(until_ms, self.next_ms)
        return TimeWindow(self.from_ms, end_ms, SOURCE_EVENT) if self.from_ms < end_ms else None

    def has_seen(self, ref: MessageRef) -> bool:
        """Return whether a message was published."""
        return offset_ranges.contains(self.seen.get(ref[0], ()), ref[1])

    def advance(
        self, timestamps: Mapping[MessageRef, int], until_ms: int, *, overlap_ms: int, limit: int, complete: bool = True
    ) -> NewMessages:
        """
        Find what is new among the messages of a window that ends at ``until_ms``, and from when the next poll reads.

        At most ``limit`` messages are new at once: the earliest first, the others with the next poll. If the reading is
        not complete, nothing is forgotten: a message that it missed may have been published before.
        """
        unseen = sorted((timestamp, *ref) for ref, timestamp in timestamps.items() if not self.has_seen(ref))
        new = {(partition, offset): timestamp for timestamp, partition, offset in unseen[:limit]}
        more = len(unseen) > limit
        # with more to come: not beyond the last one that is new, since its millisecond may hold others
        next_ms = max(self.next_ms, unseen[limit - 1][0] if more else until_ms)
        from_ms = max(self.from_ms, next_ms - overlap_ms)
        seen = partition_offsets.from_refs(
            ref for ref, timestamp in timestamps.items() if timestamp >= from_ms and (ref in new or self.has_seen(ref))
        )
        return NewMessages(
            new, Cursor(from_ms, next_ms, seen if complete else partition_offsets.union(seen, self.seen)), more
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as ``mqs.cursor/1``."""
        return {
            "schema": SCHEMA,
            "from_ms": self.from_ms,
            "next_ms": self.next_ms,
            "seen": offset_ranges.to_json(self.seen),
        }

    @classmethod
    def from_json(cls, value: Any) -> Cursor:
        """Read what ``to_json`` of this or another version wrote; a wrong cursor would lose or repeat messages."""
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != SCHEMA:
            raise ConfigurationError(
                f"The stored cursor has schema {schema!r:.60}; this version reads {SCHEMA!r}. Remove it to start again."
            )
        from_ms, next_ms = value.get("from_ms"), value.get("next_ms")
        if not (offset_ranges.is_offset(from_ms) and offset_ranges.is_offset(next_ms) and from_ms <= next_ms):
            raise ConfigurationError(
                "The stored cursor is broken: from_ms and next_ms must be epoch ms, in order. Remove it to start again."
            )
        return cls(from_ms, next_ms, partition_offsets.from_json(value.get("seen"), "seen"))


@dataclass(frozen=True, slots=True)
class NewMessages:
    """The messages that a poll publishes."""

    timestamps: Mapping[MessageRef, int]
    cursor: Cursor
    """The next poll continues here once they are published."""
    more: bool
    """Whether the window holds more new messages than may be published at once."""


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What one event publishes, and the cursor after it."""

    document: dict[str, Any] | None
    """The new messages as ``mqs.offsets/1``; ``None`` if there are none, which needs no event."""
    cursor: Cursor
    more: bool = False
    """Whether the next poll is worth making at once."""

    def to_json(self) -> dict[str, Any]:
        """Return what is kept beside the cursor from before, until the batch has been published."""
        return {"document": self.document, "cursor": self.cursor.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> EventBatch:
        """Read what ``to_json`` of this or another version wrote."""
        if not isinstance(value, dict) or not isinstance(value.get("document"), dict):
            raise ConfigurationError("The stored batch of the cursor is broken. Remove the cursor to start again.")
        return cls(value["document"], Cursor.from_json(value.get("cursor")), more=True)
