"""
How far a topic was watched: where the next look begins, and which messages behind that were told already.

Messages do not come in the order of their times: a producer's clock may be late, and one millisecond holds many. So
each look reads an overlap once more, and the cursor remembers which places in it are known. Pure.
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
    """
    How far a topic was watched.

    :param from_ms: first millisecond that the next look reads; nothing before it is told any more
    :param next_ms: the millisecond behind the last that was looked at whole
    :param seen: places from ``from_ms`` on that were told
    """

    from_ms: int
    next_ms: int
    seen: OffsetsByPartition = field(default_factory=dict)

    @classmethod
    def at(cls, start_ms: int) -> Cursor:
        """
        Begin.

        :param start_ms: first millisecond whose messages are told
        :return: a cursor that has seen nothing
        """
        return cls(start_ms, start_ms)

    def window(self, until_ms: int) -> TimeWindow | None:
        """
        Say what the next look reads.

        :param until_ms: the millisecond behind the last that it may read
        :return: the window, ``None`` where there is nothing to read yet
        """
        end_ms = max(until_ms, self.next_ms)
        return TimeWindow(self.from_ms, end_ms, SOURCE_EVENT) if self.from_ms < end_ms else None

    def has(self, place: MessageRef) -> bool:
        """
        Tell whether a message was told.

        :param place: its place
        :return: whether it was
        """
        return offset_ranges.contains(self.seen.get(place[0], ()), place[1])

    def advance(
        self, rows: Mapping[MessageRef, int], until_ms: int, *, overlap_ms: int, most: int, whole: bool = True
    ) -> NewMessages:
        """
        Learn from a look what is new, and where the next one begins.

        :param rows: what it found, by place with the timestamp, epoch ms
        :param until_ms: end of its window
        :param overlap_ms: how late a message may come
        :param most: most messages that are told at once; the earliest come first, the others with the next look
        :param whole: whether it surely found everything; else what was told before is not forgotten
        :return: the news
        """
        fresh = sorted((timestamp, *place) for place, timestamp in rows.items() if not self.has(place))
        told = {(partition, offset): timestamp for timestamp, partition, offset in fresh[:most]}
        more = len(fresh) > most
        # with more to come: not before the last that is told, whose millisecond may hold others
        next_ms = max(self.next_ms, fresh[most - 1][0] if more else until_ms)
        from_ms = max(self.from_ms, next_ms - overlap_ms)
        known = partition_offsets.from_refs(
            place for place, timestamp in rows.items() if timestamp >= from_ms and (place in told or self.has(place))
        )
        return NewMessages(
            told, Cursor(from_ms, next_ms, known if whole else partition_offsets.union(known, self.seen)), more
        )

    def to_json(self) -> dict[str, Any]:
        """
        Write it as JSON.

        :return: ``mqs.cursor/1``
        """
        return {
            "schema": SCHEMA,
            "from_ms": self.from_ms,
            "next_ms": self.next_ms,
            "seen": offset_ranges.to_json(self.seen),
        }

    @classmethod
    def from_json(cls, value: Any) -> Cursor:
        """
        Read what ``to_json`` wrote.

        :param value: perhaps written by another version
        :return: the cursor
        :raises ConfigurationError: another schema, or broken
        """
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != SCHEMA:
            raise ConfigurationError(
                f"The stored cursor has schema {schema!r:.60}; this version reads {SCHEMA!r}. Remove it to begin anew."
            )
        from_ms, next_ms = value.get("from_ms"), value.get("next_ms")
        if not (offset_ranges.is_offset(from_ms) and offset_ranges.is_offset(next_ms) and from_ms <= next_ms):
            raise ConfigurationError(
                "The stored cursor is broken: from_ms and next_ms must be epoch ms, in order. Remove it to begin anew."
            )
        return cls(from_ms, next_ms, partition_offsets.from_json(value.get("seen"), "seen"))


@dataclass(frozen=True, slots=True)
class NewMessages:
    """
    What a look brought.

    :param told: the new messages, by place with the timestamp, epoch ms
    :param cursor: where the next look begins, once these were handed over
    :param more: whether there are more than were to be told at once
    """

    told: Mapping[MessageRef, int]
    cursor: Cursor
    more: bool


@dataclass(frozen=True, slots=True)
class EventBatch:
    """
    What is handed over at once.

    :param document: the new messages as ``mqs.offsets/1``, ``None`` where there are none
    :param cursor: where the next look begins, once it was handed over
    :param more: whether there is more to look at right away
    """

    document: dict[str, Any] | None
    cursor: Cursor
    more: bool = False

    def to_json(self) -> dict[str, Any]:
        """
        Write it as JSON, to be kept beside the cursor from before, while it is handed over.

        :return: document and cursor
        """
        return {"document": self.document, "cursor": self.cursor.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> EventBatch:
        """
        Read what ``to_json`` wrote.

        :param value: perhaps written by another version
        :return: the batch
        :raises ConfigurationError: it is broken
        """
        if not isinstance(value, dict) or not isinstance(value.get("document"), dict):
            raise ConfigurationError("The stored batch of the cursor is broken. Remove the cursor to begin anew.")
        return cls(value["document"], Cursor.from_json(value.get("cursor")), more=True)
