"""Look what is new in a topic since a cursor. A flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.models.cursor import SOURCE
from airflow_provider_mqs.models.offsets import Offsets
from airflow_provider_mqs.models.window import TimeWindow
from airflow_provider_mqs.replay.bag import OffsetBag
from airflow_provider_mqs.replay.query import find_topic, retention_doubts
from airflow_provider_mqs.replay.reader import WindowReader
from airflow_provider_mqs.replay.record import Copies
from airflow_provider_mqs.replay.slices import Slice

if TYPE_CHECKING:
    from airflow_provider_mqs.client.api import MqsApi
    from airflow_provider_mqs.client.flow import Flow
    from airflow_provider_mqs.models.cursor import Cursor, News
    from airflow_provider_mqs.models.message import Message, Row, Rows
    from airflow_provider_mqs.models.places import Place

_READ_AHEAD = 4
"""So many times the batch is read before a shorter time is looked at instead."""


@dataclass(frozen=True, slots=True)
class Watch:
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
    copies: Copies = field(default_factory=Copies)


@dataclass(frozen=True, slots=True)
class Look:
    """
    What a look found.

    :param offsets: the new messages; the window begins where the last look ended, or with the first late message
    :param news: them by place, and the next cursor
    :param doubts: a sentence for each reason why messages may be missing, or may be copies
    :param notes: sentences for the log
    :param unsettled: whether a later look may know better: some of them may be copies, or some were not shown
    """

    offsets: Offsets
    news: News
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unsettled: bool = False


class _TooManyError(MqsError):
    """More new messages than are worth keeping in memory."""


class _Found:
    """The rows of a look: originals by place, and how many of them are new."""

    def __init__(self, watch: Watch, cursor: Cursor, limit: int | None) -> None:
        self.rows: dict[Place, Row | Message] = {}
        self.copies: dict[Place, int] = {}
        self._watch, self._cursor, self._limit = watch, cursor, limit
        self._new = 0

    def take(self, rows: Rows) -> None:
        copies, others = self._watch.copies.split(rows)
        self.copies.update({(row.partition, row.message_offset): row.timestamp for row in copies})
        for row in others:
            place = (row.partition, row.message_offset)
            if place not in self.rows:
                self._new += not self._cursor.has(place)
                self.rows[place] = row
        if self._limit is not None and self._new > self._limit:
            raise _TooManyError("There is more than is looked at in one go.")


def find_news(api: MqsApi, watch: Watch, cursor: Cursor, window: TimeWindow, *, now_ms: int) -> Flow[Look]:
    """
    Look what a window of the cursor holds that was not told yet.

    Where it holds very much, as after a long pause, a shorter one is looked at: the rest comes with the next looks.

    :param api: the calls
    :param watch: what is looked for
    :param cursor: how far the topic was watched
    :param window: what to read, from ``cursor.window``
    :param now_ms: the time of asking, epoch ms
    :return: what is new; an empty window has no partitions
    :raises ConfigurationError: the topic does not exist
    :raises ApiError: the service refused
    """
    topic, notes = yield from find_topic(api, watch.topic)
    partitions = range(topic.partitions) if topic and topic.partitions else None
    doubts = retention_doubts(topic, window, now_ms)
    end_ms = window.end_ms
    while True:
        shortest = end_ms - cursor.next_ms <= 1
        found = _Found(watch, cursor, None if shortest else watch.most * _READ_AHEAD)
        reader = WindowReader(api, watch.topic, found.take, partitions)
        try:
            yield from reader.read(Slice(window.start_ms, end_ms))
        except _TooManyError:
            end_ms = cursor.next_ms + (end_ms - cursor.next_ms) // 2
        else:
            break
    doubts = doubts + reader.doubts
    times = {place: row.timestamp for place, row in found.rows.items()}
    news = cursor.advance(times, end_ms, overlap_ms=watch.overlap_ms, most=watch.most, whole=not reader.doubts)
    offsets = _offsets(api, watch, cursor, news, found, complete=not doubts and not watch.copies.doubts)
    unsettled = bool(reader.doubts or (news.told and watch.copies.doubts))
    return Look(offsets, news, (*doubts, *watch.copies.doubts), tuple(notes), unsettled)


def _offsets(api: MqsApi, watch: Watch, cursor: Cursor, news: News, found: _Found, *, complete: bool) -> Offsets:
    bag = OffsetBag()
    bag.update([found.rows[place] for place in news.told])
    start_ms = min([cursor.next_ms, *news.told.values()])
    end_ms = max([news.cursor.next_ms, start_ms + 1, *(timestamp + 1 for timestamp in news.told.values())])
    window = TimeWindow(start_ms, end_ms, SOURCE)
    return Offsets(
        endpoint=api.settings.host,
        instance_id=api.instance_id,
        topic=watch.topic,
        window=window,
        partitions=bag.partitions(),
        complete=complete,
        excluded_copies=sum(timestamp in window for timestamp in found.copies.values()),
    )
