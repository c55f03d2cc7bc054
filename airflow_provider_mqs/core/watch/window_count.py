"""
Count the messages of a window, with one request where that is enough. Flows; what follows from it is decided elsewhere.

Whether the service counts the end of a range in is not known. The rows of a page that shows everything are counted one
by one. Beyond a page the service's ``total`` counts, which is too large by at most the messages of exactly the end
moment; they are asked for only where they decide.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.query.query import Query, find_topic, query_offsets, why_expired
from airflow_provider_mqs.core.query.slices import CAP, Slice, query_page
from airflow_provider_mqs.core.watch.condition import WindowCount
from airflow_provider_mqs.exceptions import (
    ConfigurationError,
    IncompleteWindowError,
    ServerError,
    WindowTooLargeError,
)

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.query.filters import Filters
    from airflow_provider_mqs.core.query.query import QueryResult
    from airflow_provider_mqs.core.values.message import Page, Rows, Topic
    from airflow_provider_mqs.core.values.time_window import TimeWindow
    from airflow_provider_mqs.core.watch.condition import Condition

_log = logging.getLogger(__name__)


class WindowCounter:
    """
    Counts the messages of one window, again and again; looks the topic up the first time.

    :param condition: what is waited for
    :param filters: which messages count
    :param topics: topics that were looked up, ``None`` for those that may not be listed; added to
    """

    def __init__(self, condition: Condition, filters: Filters, topics: dict[str, Topic | None] | None = None) -> None:
        self.query = Query(condition.topic, condition.window, filters, keys=frozenset(condition.expected_keys))
        self.condition = condition
        self.wanted = condition.min_messages
        self._topics = {} if topics is None else topics

    @property
    def is_quick(self) -> bool:
        """Whether one request is usually enough: nothing to filter, and fewer wanted than the service's cap."""
        return self._is_simple and self.wanted < CAP

    def count(self, api: MqsApi, now_ms: int) -> Flow[WindowCount]:
        """
        Count, as far as it takes to compare with what is wanted.

        :param api: the calls
        :param now_ms: the time of asking, epoch ms
        :return: how many there are
        :raises ConfigurationError: the topic does not exist, the window begins before what is kept, or a filter can
            match nothing
        :raises IncompleteWindowError: the service did not show the window whole, where every row had to be read
        :raises ApiError: the service refused
        """
        yield from self._check_topic(api, now_ms)
        if self._is_simple:
            counted = yield from self._count_quickly(api)
            if counted is not None:
                return counted
        return (yield from self._read_all(api, now_ms))

    @property
    def _is_simple(self) -> bool:
        return self.query.filters.unset and self.condition.is_simple

    @property
    def _topic(self) -> Topic | None:
        return self._topics.get(self.query.topic)

    def _check_topic(self, api: MqsApi, now_ms: int) -> Flow[None]:
        if self.query.topic not in self._topics:
            self._topics[self.query.topic], notes = yield from find_topic(api, self.query.topic)
            for note in notes:
                _log.warning("%s", note)
        doubts = why_expired(self._topic, self.query.window, now_ms)
        if doubts:
            raise ConfigurationError(f"{doubts[0]} The window {self.query.window} begins before that.")

    def _count_quickly(self, api: MqsApi) -> Flow[WindowCount | None]:
        """Count from the first page; ``None`` where only reading every row tells."""
        window = self.query.window
        try:
            first = yield from _page(api, self.query.topic, window.start_ms, window.end_ms)
        except (ServerError, WindowTooLargeError):
            return None  # some windows are too much for the service; the reader cuts them
        rows = _rows(first, window)
        if _is_whole(first):
            times = [row.timestamp for row in rows]
            return WindowCount(
                len(rows), first_timestamp=min(times, default=None), last_timestamp=max(times, default=None)
            )
        capped = first.total >= CAP
        if capped and self.wanted >= CAP:
            return None
        if len(rows) >= self.wanted or first.total < self.wanted:
            return WindowCount(first.total, exact=False, at_least=capped)
        edge = yield from _page(api, self.query.topic, window.end_ms - 1, window.end_ms)
        if not _is_whole(edge):
            return None
        behind = sum(row.timestamp >= window.end_ms for row in _unique(edge))
        return WindowCount(first.total - behind, exact=not capped, at_least=capped)

    def _read_all(self, api: MqsApi, now_ms: int) -> Flow[WindowCount]:
        found = yield from query_offsets(api, self.query, now_ms=now_ms)
        for note in found.notes:
            _log.warning("%s", note)
        if found.why_incomplete:
            raise IncompleteWindowError(" ".join(found.why_incomplete))
        parts = found.offsets.partitions.values()
        return WindowCount(
            found.offsets.count,
            first_timestamp=min((part.first_timestamp for part in parts), default=None),
            last_timestamp=max((part.last_timestamp for part in parts), default=None),
            partitions=self._by_partition(found) if self.condition.min_per_partition is not None else None,
            missing_keys=sorted(self.query.keys - found.keys),
        )

    def _by_partition(self, found: QueryResult) -> dict[str, int]:
        """Count by partition, those without a message included; filters choose which partitions matter."""
        if self._topic is None or self._topic.partitions is None:
            raise ConfigurationError(
                "min_per_partition needs to know which partitions the topic has, and these credentials may not list it."
            )
        numbers = self.query.filters.partitions or range(self._topic.partitions)
        held = found.offsets.partitions
        return {str(number): held[number].count if number in held else 0 for number in sorted(numbers)}


def _page(api: MqsApi, topic: str, start_ms: int, end_ms: int) -> Flow[Page]:
    page, _ = yield from query_page(api, topic, Slice(start_ms, end_ms), limit=api.settings.page_size)
    return page


def _unique(page: Page) -> Rows:
    return list({(row.partition, row.message_offset): row for row in page.rows}.values())


def _is_whole(page: Page) -> bool:
    return len(_unique(page)) >= page.total


def _rows(page: Page, window: TimeWindow) -> Rows:
    return [row for row in _unique(page) if row.timestamp in window]
