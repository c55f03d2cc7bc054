"""Look what is new in a topic since a cursor: a flow that reads it, and what follows from that."""

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
    from collections.abc import Mapping

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.values.message import Message, Row, Rows, Topic
    from airflow_provider_mqs.core.watch.cursor import Cursor, NewMessages

_READ_AHEAD = 4
"""So many times the batch is read before a shorter time is looked at instead."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """
    What is looked for.

    :param topic: topic name
    :param overlap_ms: how late a message may come
    :param most: most messages that are told at once
    :param copies: what earlier replays have put into the topic; left out
    """

    topic: str
    overlap_ms: int
    most: int
    copies: KnownCopies = field(default_factory=KnownCopies)


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What a window of a topic holds, copies included; the same for all who watch it.

    :param window: what was read; ends before the one that was asked for where that holds very much
    :param rows: the messages, by place
    :param topic: the topic, ``None`` where these credentials may not list it
    :param cut: whether it ends before the one that was asked for
    :param hidden: a sentence for each reason why the service may not have shown all
    :param notes: sentences for the log
    """

    window: TimeWindow
    rows: Mapping[MessageRef, Row | Message]
    topic: Topic | None = None
    cut: bool = False
    hidden: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PollResult:
    """
    What a look found.

    :param offsets: the new messages; the window begins where the last look ended, or with the first late message
    :param news: them by place, and the next cursor
    :param doubts: a sentence for each reason why messages may be missing, or may be copies
    :param notes: sentences for the log
    :param unsettled: whether a later look may know better: some of them may be copies, or some were not shown
    """

    offsets: Offsets
    news: NewMessages
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unsettled: bool = False


class _TooManyError(MqsError):
    """More new messages than are worth keeping in memory."""


class _Rows:
    """The rows of a window by place, until too many of them are new."""

    def __init__(self, cursor: Cursor, limit: int | None) -> None:
        self.found: dict[MessageRef, Row | Message] = {}
        self._cursor, self._limit = cursor, limit
        self._new = 0

    def take(self, rows: Rows) -> None:
        for row in rows:
            place = (row.partition, row.message_offset)
            if place not in self.found:
                self._new += row.timestamp >= self._cursor.from_ms and not self._cursor.has(place)
                self.found[place] = row
        if self._limit is not None and self._new > self._limit:
            raise _TooManyError("There is more than is looked at in one go.")


def read_topic(api: MqsApi, name: str, cursor: Cursor, window: TimeWindow, *, most: int) -> Flow[Reading]:
    """
    Read what a window holds.

    Where it holds very much, as after a long pause, a shorter one is read: the rest comes with the next looks.

    :param api: the calls
    :param name: topic name
    :param cursor: how far the topic was watched
    :param window: what to read, from ``cursor.window``; it may begin earlier
    :param most: messages that are told at once; a few times as many new ones are read
    :return: the reading
    :raises ConfigurationError: the topic does not exist
    :raises ApiError: the service refused
    """
    topic, notes = yield from find_topic(api, name)
    partitions = range(topic.partitions) if topic and topic.partitions else None
    end_ms = window.end_ms
    while True:
        shortest = end_ms - cursor.next_ms <= 1
        rows = _Rows(cursor, None if shortest else most * _READ_AHEAD)
        reader = WindowReader(api, name, rows.take, partitions)
        try:
            yield from reader.read(Slice(window.start_ms, end_ms))
        except _TooManyError:
            end_ms = cursor.next_ms + (end_ms - cursor.next_ms) // 2
        else:
            break
    read = replace(window, end_ms=end_ms)
    return Reading(read, rows.found, topic, end_ms < window.end_ms, tuple(reader.why_incomplete), tuple(notes))


def find_news(
    api: MqsApi, watch: WatchOptions, cursor: Cursor, reading: Reading, *, until_ms: int | None = None, now_ms: int
) -> PollResult:
    """
    Find in a reading what was not told yet. Pure.

    :param api: whose endpoint and instance were read
    :param watch: what is looked for
    :param cursor: how far the topic was watched; the reading covers its window
    :param reading: what the topic holds, perhaps of a longer time
    :param until_ms: the millisecond behind the last that may be told, default all of the reading
    :param now_ms: the time of reading, epoch ms
    :return: what is new; an empty window has no partitions
    """
    end_ms = reading.window.end_ms if until_ms is None else max(cursor.next_ms, min(reading.window.end_ms, until_ms))
    window = TimeWindow(cursor.from_ms, end_ms, SOURCE_EVENT)
    copies, others = watch.copies.split([row for row in reading.rows.values() if row.timestamp in window])
    rows = {(row.partition, row.message_offset): row for row in others}
    times = {place: row.timestamp for place, row in rows.items()}
    news = cursor.advance(times, end_ms, overlap_ms=watch.overlap_ms, most=watch.most, whole=not reading.hidden)
    if reading.cut:
        news = replace(news, more=True)
    gone = tuple(why_expired(reading.topic, window, now_ms))
    doubts = (*gone, *reading.hidden, *watch.copies.why_incomplete)
    told = [rows[place] for place in news.told]
    offsets = _offsets(api, watch.topic, cursor, news, told, copies, complete=not doubts)
    unsettled = bool(reading.hidden or (news.told and watch.copies.why_incomplete))
    return PollResult(offsets, news, doubts, reading.notes, unsettled)


def _offsets(
    api: MqsApi, topic: str, cursor: Cursor, news: NewMessages, told: Rows, copies: Rows, *, complete: bool
) -> Offsets:
    bag = OffsetAccumulator()
    bag.update(told)
    start_ms = min([cursor.next_ms, *news.told.values()])
    end_ms = max([news.cursor.next_ms, start_ms + 1, *(timestamp + 1 for timestamp in news.told.values())])
    window = TimeWindow(start_ms, end_ms, SOURCE_EVENT)
    return Offsets(
        endpoint=api.settings.host,
        instance_id=api.instance_id,
        topic=topic,
        window=window,
        partitions=bag.partitions(),
        complete=complete,
        excluded_copies=sum(row.timestamp in window for row in copies),
    )
