"""
Count the messages of a window, with one request if that is enough. What follows from the count is ``condition``'s.

Whether the service includes the end of a time range is not known. If one page shows everything, its rows are counted.
Beyond a page the service's ``total`` counts, which is too large by at most the messages of exactly the end moment; they
are asked for only if they decide. Every row is read if that is not enough: with filters, ``min_per_partition`` or
``expected_keys``, and if as many messages are required as the service's cap.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.query.query import Query, find_topic, query_offsets, why_expired
from airflow_provider_mqs.core.query.slices import CAP, Slice, query_page
from airflow_provider_mqs.core.watch.condition import Condition, WindowCount
from airflow_provider_mqs.exceptions import ConfigurationError, IncompleteWindowError, ServerError, WindowTooLargeError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.values.message import Page, Rows, Topic

_log = logging.getLogger(__name__)


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
        """Whether one request is usually enough: nothing to filter, and fewer required than the service's cap."""
        return self._condition.is_simple and self._condition.min_messages < CAP

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
            counted = yield from self._count_by_total(api)
            if counted is not None:
                return counted
        return (yield from self._count_rows(api, topic, now_ms))

    def _count_by_total(self, api: MqsApi) -> Flow[WindowCount | None]:
        """Count from the first page; ``None`` if every row must be read."""
        name, window, required = self._condition.topic, self._condition.window, self._condition.min_messages
        try:
            first, limit = yield from query_page(
                api, name, Slice(window.start_ms, window.end_ms), limit=api.settings.page_size
            )
        except (ServerError, WindowTooLargeError):
            return None  # some windows are too much for the service; the reader splits them
        rows = [row for row in _unique(first) if row.timestamp in window]
        if _is_whole(first):
            times = [row.timestamp for row in rows]
            return WindowCount(
                len(rows), first_timestamp=min(times, default=None), last_timestamp=max(times, default=None)
            )
        capped = first.total >= CAP
        if capped and required >= CAP:
            return None
        if len(rows) >= required or first.total < required:
            return WindowCount(first.total, exact=False, at_least=capped)
        # the messages of the end moment decide: two milliseconds show them, whether the service includes the end or not
        edge, _ = yield from query_page(api, name, Slice(window.end_ms - 1, window.end_ms), limit=limit)
        if not _is_whole(edge):
            return None
        beyond = sum(row.timestamp >= window.end_ms for row in _unique(edge))
        return WindowCount(first.total - beyond, exact=not capped, at_least=capped)

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


def _unique(page: Page) -> Rows:
    return list({(row.partition, row.message_offset): row for row in page.rows}.values())


def _is_whole(page: Page) -> bool:
    return len(_unique(page)) >= page.total
