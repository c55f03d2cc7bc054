"""
Count the messages of a window, with one request if that is enough. What follows from the count is ``condition``'s.

A ``total`` decides nothing: it may be behind the rows, or before them. One page is enough if it shows everything, or as
many messages as are required. If it shows neither, the page that holds the last of those that are required is asked
for: if that message is not there, a wait goes on (``on_closed_empty="wait"``). In all other cases every row is read.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.query.query import Query, find_topic, query_offsets, why_expired
from airflow_provider_mqs.core.query.slices import CAP, Slice, query_page, shows_end
from airflow_provider_mqs.core.watch.condition import Condition, WindowCount
from airflow_provider_mqs.exceptions import ConfigurationError, IncompleteWindowError, ServerError, WindowTooLargeError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.values.message import Topic

_log = logging.getLogger(__name__)
_SMALL_PAGE = 50
"""Rows of a page, unless the connection or the service wants fewer."""


class WindowCounter:
    """
    Counts the messages of one window, again and again.

    ``topics`` are those that were found before, ``None`` for one that may not be listed; the counter adds its own.
    """

    def __init__(self, condition: Condition, topics: dict[str, Topic | None] | None = None) -> None:
        self._condition = condition
        self._topics = {} if topics is None else topics

    @property
    def is_quick(self) -> bool:
        """Whether one request is usually enough: nothing to filter, and no more required than a page shows."""
        return self._condition.is_simple and self._condition.min_messages <= _SMALL_PAGE

    def count(self, api: MqsApi, now_ms: int) -> Flow[WindowCount]:
        """Count, as far as it takes to compare with what is required; a window that begins too early is an error."""
        name, window = self._condition.topic, self._condition.window
        if name not in self._topics:
            self._topics[name], notes = yield from find_topic(api, name)
            for note in notes:
                _log.warning("%s", note)
        topic = self._topics[name]
        for reason in why_expired(topic, window, now_ms):
            raise ConfigurationError(f"{reason} The window {window} begins before that.")
        if self._condition.is_simple:
            counted = yield from self._look(api)
            if counted is not None:
                return counted
        return (yield from self._count_rows(api, topic, now_ms))

    def _look(self, api: MqsApi) -> Flow[WindowCount | None]:
        """Count from a page or two; ``None`` if every row must be read."""
        name, required = self._condition.topic, self._condition.min_messages
        window = Slice(self._condition.window.start_ms, self._condition.window.end_ms)
        try:
            first, limit = yield from query_page(api, name, window, limit=api.settings.page_size)
            rows = window.inside(first.rows)
            if shows_end(first, limit):
                times = [row.timestamp for row in rows]
                return WindowCount(
                    len(rows), first_timestamp=min(times, default=None), last_timestamp=max(times, default=None)
                )
            said = first.total or 0
            if len(rows) >= required:
                return WindowCount(max(len(rows), said), exact=False, at_least=said <= len(rows) or said >= CAP)
            number = (required - 1) // limit
            if self._condition.on_closed_empty != "wait" or len(first.rows) < limit or not number:
                return None
            # whatever ``offset`` counts, a page that lies so far does not reach the required number either
            last, _ = yield from query_page(api, name, window, limit=limit, offset=number)
        except (ServerError, WindowTooLargeError):
            return None  # some windows are too much for the service; the reader splits them
        if number * limit + len(last.rows) >= required:
            return None
        return WindowCount(min(max(len(rows), said), required - 1), exact=False)

    def _count_rows(self, api: MqsApi, topic: Topic | None, now_ms: int) -> Flow[WindowCount]:
        condition = self._condition
        keys = frozenset(condition.expected_keys)
        query = Query(condition.topic, condition.window, condition.filters, keys=keys)
        found = yield from query_offsets(api, query, now_ms=now_ms)
        for note in found.notes:
            _log.warning("%s", note)
        if found.why_incomplete:
            raise IncompleteWindowError(" ".join(found.why_incomplete))
        held = found.offsets.partitions
        partitions = None
        if condition.min_per_partition is not None:
            if topic is None or topic.partitions is None:
                raise ConfigurationError(
                    "min_per_partition needs the topic's number of partitions, and these credentials may not list it."
                )
            # a partition without a message counts, too, unless the filters leave it out
            numbers = sorted(condition.filters.partitions or range(topic.partitions))
            partitions = {str(number): held[number].count if number in held else 0 for number in numbers}
        return WindowCount(
            found.offsets.count,
            first_timestamp=min((part.first_timestamp for part in held.values()), default=None),
            last_timestamp=max((part.last_timestamp for part in held.values()), default=None),
            partitions=partitions,
            missing_keys=sorted(keys - found.keys),
        )
