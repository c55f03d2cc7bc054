"""
Read what a topic holds from a cursor on, and find what of it is new.

The two steps are apart because watchers of one topic share the first: a ``Reading`` is the same for all of them, copies
of replays included. What is new in it depends on each watcher's cursor, and needs no request.

Not everything new is published at once. Rows that a recorded replay is known to have copied into the topic are left
out. While a replay's copies are not known yet, or the service has not shown everything, the poll is *provisional*: a
later one may know better, and the caller may hold it back for a while. If it is published anyway, its document says
``complete: false``, which the resend refuses. ``cursor`` says which messages are not new any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.query.query import find_topic, why_expired
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.values.message import Message, Row, Rows, Topic
    from airflow_provider_mqs.core.watch.cursor import Cursor, NewMessages
    from airflow_provider_mqs.core.watch.watch_options import WatchOptions

_READ_AHEAD = 4
"""A reading holds this many times the messages of one event at most; if there are more, a shorter time is read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a window of a topic holds, copies included; the same for all who watch it."""

    window: TimeWindow
    """What was read; ends before the window that was asked for if that holds very much."""
    rows: Mapping[MessageRef, Row | Message]
    topic: Topic | None = None
    """``None`` if these credentials may not list topics."""
    copies: KnownCopies = field(default_factory=KnownCopies)
    """Which of them are copies that earlier replays made."""
    truncated: bool = False
    """Whether it ends before the window that was asked for."""
    why_incomplete: tuple[str, ...] = ()
    """A sentence for each reason why rows may be missing."""
    notes: tuple[str, ...] = ()
    """Sentences for the log."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """What is new in a reading, as one poll publishes it."""

    offsets: Offsets
    """The new messages; the window begins where the last poll ended, or with the first late message."""
    new: NewMessages
    why_incomplete: tuple[str, ...] = ()
    """A sentence for each reason why messages may be missing, or may be copies."""
    notes: tuple[str, ...] = ()
    """Sentences for the log."""
    provisional: bool = False
    """Whether a later poll may know better: some of them may be copies, or some were not shown."""


class _TooManyError(MqsError):
    """More new messages than are worth keeping in memory."""


def read_topic(
    api: MqsApi, options: WatchOptions, cursor: Cursor, window: TimeWindow, copies: KnownCopies
) -> Flow[Reading]:
    """
    Read what a window holds that begins at the cursor or before.

    If it holds far more than one event may publish, as after a long pause, a shorter one is read: the rest comes with
    the next polls, and a million messages need not fit into memory for the sake of a batch of a few.
    """
    topic, notes = yield from find_topic(api, options.topic)
    partitions = range(topic.partitions) if topic and topic.partitions else None
    end_ms = window.end_ms
    while True:
        rows: dict[MessageRef, Row | Message] = {}
        # a single millisecond cannot be shortened
        limit = options.max_messages * _READ_AHEAD if end_ms - cursor.next_ms > 1 else None
        reader = WindowReader(api, options.topic, _collector(rows, cursor, limit), partitions)
        try:
            yield from reader.read(Slice(window.start_ms, end_ms))
        except _TooManyError:
            end_ms = cursor.next_ms + (end_ms - cursor.next_ms) // 2
        else:
            return Reading(
                window=replace(window, end_ms=end_ms),
                rows=rows,
                topic=topic,
                copies=copies,
                truncated=end_ms < window.end_ms,
                why_incomplete=tuple(reader.why_incomplete),
                notes=tuple(notes),
            )


def _collector(rows: dict[MessageRef, Row | Message], cursor: Cursor, limit: int | None) -> Callable[[Rows], None]:
    """Return a sink that adds rows, until more than ``limit`` of them are new."""
    new = 0

    def add(page: Rows) -> None:
        nonlocal new
        for row in page:
            ref = (row.partition, row.message_offset)
            if ref not in rows:
                new += row.timestamp >= cursor.from_ms and not cursor.has_seen(ref)
                rows[ref] = row
        if limit is not None and new > limit:
            raise _TooManyError("The window holds more messages than are read at once.")

    return add


def find_new_messages(
    api: MqsApi, options: WatchOptions, cursor: Cursor, reading: Reading, *, until_ms: int | None = None, now_ms: int
) -> PollResult:
    """
    Find in a reading what is new; no request is made, the client only says which endpoint and instance were read.

    The reading covers the cursor's window and may be longer; what is not before ``until_ms`` is not published yet.
    """
    end_ms = reading.window.end_ms if until_ms is None else max(cursor.next_ms, min(reading.window.end_ms, until_ms))
    window = TimeWindow(cursor.from_ms, end_ms, SOURCE_EVENT)
    copies, originals = reading.copies.split([row for row in reading.rows.values() if row.timestamp in window])
    rows = {(row.partition, row.message_offset): row for row in originals}
    new = cursor.advance(
        {ref: row.timestamp for ref, row in rows.items()},
        end_ms,
        overlap_ms=options.overlap_ms,
        limit=options.max_messages,
        complete=not reading.why_incomplete,
    )
    if reading.truncated:
        new = replace(new, more=True)
    expired = why_expired(reading.topic, window, now_ms)
    unknown_copies = (*reading.copies.why_incomplete, *sorted(reading.copies.unknown_among(originals)))
    why_incomplete = (*expired, *reading.why_incomplete, *unknown_copies)
    found = OffsetAccumulator()
    found.update([rows[ref] for ref in new.timestamps])
    start_ms = min([cursor.next_ms, *new.timestamps.values()])
    # a window is never empty, and holds the messages that are published though more of their millisecond come later
    end_ms = max([new.cursor.next_ms, start_ms + 1, *(timestamp + 1 for timestamp in new.timestamps.values())])
    published = TimeWindow(start_ms, end_ms, SOURCE_EVENT)
    offsets = Offsets(
        endpoint=api.settings.host,
        instance_id=api.instance_id,
        topic=options.topic,
        window=published,
        partitions=found.partitions(),
        complete=not why_incomplete,
        excluded_copies=sum(row.timestamp in published for row in copies),
    )
    provisional = bool(reading.why_incomplete or (new.timestamps and unknown_copies))
    return PollResult(offsets, new, why_incomplete, reading.notes, provisional)
