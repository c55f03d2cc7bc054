"""
What a topic is watched for, how far that has come, and which of its messages are new.

Which messages count as new
---------------------------

The service can be asked for a time, not for "everything since offset 17". So a poll reads a window, and a message is
new if its ref (partition and offset) has not been published yet. Messages do not arrive in the order of their
timestamps: a producer's clock is late, a retry carries the time of the first try, one millisecond holds many. So each
poll reads an *overlap* before the end of the last one again, and the cursor remembers the refs in it that were
published. A message that arrives later than the overlap is never seen; a longer overlap costs rows read, not events.

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
3. Once the event is surely stored, the cursor *behind* them is saved, without a batch.

A process that is killed before 1 has published nothing: the next one finds the same messages, and perhaps more. Killed
between 1 and 3, the next one publishes the saved batch: the very same document with the same digest, so that whoever
receives it twice can tell. Messages are published at least once; nothing is lost whenever the kill comes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.values.arguments import flag, topic_name, whole_number
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow, duration_s, instant_ms
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

SCHEMA: Final = "mqs.cursor/1"
NOW: Final = "now"
_MIN_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a topic is watched for."""

    topic: str
    poll_interval_s: float
    settle_s: float
    """How far behind the present to read."""
    overlap_s: float
    """How late a message may arrive."""
    max_messages: int
    """Of one event."""
    start: int | str
    """Where a watcher without a cursor begins: epoch ms, or ``now``."""
    exclude_copies: bool

    @classmethod
    def read(
        cls,
        *,
        topic: Any,
        poll_interval_s: Any,
        settle_s: Any,
        overlap_s: Any,
        max_messages: Any,
        start: Any,
        exclude_copies: Any,
    ) -> WatchOptions:
        """Check the arguments of the trigger."""
        start_ms = NOW if start == NOW else instant_ms(start, "start")
        if start_ms is None:
            raise ConfigurationError("start must be 'now' or a time.")
        return cls(
            topic=topic_name(topic),
            poll_interval_s=max(_MIN_INTERVAL_S, _seconds(poll_interval_s, "poll_interval_s")),
            settle_s=_seconds(settle_s, "settle_s"),
            overlap_s=_seconds(overlap_s, "overlap_s"),
            max_messages=whole_number(max_messages, "max_messages", minimum=1),
            start=start_ms,
            exclude_copies=flag(exclude_copies, "exclude_copies"),
        )

    @property
    def overlap_ms(self) -> int:
        """How late a message may arrive."""
        return int(self.overlap_s * 1000)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; ``WatchOptions.read(**value)`` reads it."""
        return asdict(self)

    def cursor_key(self, endpoint: str, instance_id: str) -> str:
        """Name the cursor in a store. What is not part of the name may change, and nothing is published twice."""
        identity = {
            "endpoint": endpoint,
            "instance_id": instance_id,
            "topic": self.topic,
            "start": self.start,
            "exclude_copies": self.exclude_copies,
        }
        return f"cursor-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]}"


def _seconds(value: Any, name: str) -> float:
    seconds = duration_s(value, name)
    if seconds is None:
        raise ConfigurationError(f"{name} is missing.")
    return seconds


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a topic was watched; times are epoch ms."""

    from_ms: int
    """First millisecond that the next poll reads; nothing before it is published any more."""
    next_ms: int
    """End (exclusive) of the time that was read whole."""
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
        Find what is new among the messages of a window that ends at ``until_ms``, and where the next poll begins.

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
                f"The stored cursor has schema {schema!r:.60}; this version reads {SCHEMA!r}. Remove it to start anew."
            )
        from_ms, next_ms = value.get("from_ms"), value.get("next_ms")
        if not (offset_ranges.is_offset(from_ms) and offset_ranges.is_offset(next_ms) and from_ms <= next_ms):
            raise ConfigurationError(
                "The stored cursor is broken: from_ms and next_ms must be epoch ms, in order. Remove it to start anew."
            )
        return cls(from_ms, next_ms, partition_offsets.from_json(value.get("seen"), "seen"))


@dataclass(frozen=True, slots=True)
class NewMessages:
    """The messages that a poll publishes."""

    timestamps: Mapping[MessageRef, int]
    cursor: Cursor
    """Where the next poll begins, once they are published."""
    more: bool
    """Whether the window holds more new messages than may be published at once."""


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What one event publishes, and the cursor behind it."""

    document: dict[str, Any] | None
    """The new messages as ``mqs.offsets/1``; ``None`` if there are none, which needs no event."""
    cursor: Cursor
    more: bool = False
    """Whether the next poll is worth making at once."""

    def to_json(self) -> dict[str, Any]:
        """Return what is kept beside the cursor from before, until the batch is surely published."""
        return {"document": self.document, "cursor": self.cursor.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> EventBatch:
        """Read what ``to_json`` of this or another version wrote."""
        if not isinstance(value, dict) or not isinstance(value.get("document"), dict):
            raise ConfigurationError("The stored batch of the cursor is broken. Remove the cursor to start anew.")
        return cls(value["document"], Cursor.from_json(value.get("cursor")), more=True)
