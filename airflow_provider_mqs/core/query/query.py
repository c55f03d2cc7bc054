"""Query a window: check the topic, read every row, filter, and say what is not known. A flow."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.query.filters import FieldTally, Filters
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.exceptions import (
    ConfigurationError,
    IncompleteWindowError,
    NotFoundError,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.values.message import Message, Rows, Topic
    from airflow_provider_mqs.core.values.time_window import TimeWindow

_log = logging.getLogger(__name__)
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Query:
    """
    What to look for.

    :param topic: topic name
    :param window: the time window
    :param filters: which rows count
    :param on_incomplete: what the caller does when rows may be missing; written down for the resend
    :param copies: what earlier replays have put into the window; left out
    :param keys: keys that are looked for
    """

    topic: str
    window: TimeWindow
    filters: Filters = field(default_factory=Filters)
    on_incomplete: str = "fail"
    copies: KnownCopies = field(default_factory=KnownCopies)
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class QueryResult:
    """
    What a query found.

    :param offsets: the offsets of the window
    :param doubts: a sentence for each reason why messages may be missing; none where the window is complete
    :param notes: sentences for the log
    :param keys: those of the query that a message has
    """

    offsets: Offsets
    doubts: tuple[str, ...]
    notes: tuple[str, ...]
    keys: frozenset[str] = frozenset()


def query_offsets(api: MqsApi, query: Query, *, now_ms: int) -> Flow[QueryResult]:
    """
    Find the offsets of a window.

    :param api: the calls
    :param query: what to look for
    :param now_ms: the time of asking, epoch ms
    :return: what was found; an empty window has no partitions
    :raises ConfigurationError: the topic does not exist, or a filter can match nothing
    :raises ApiError: the service refused
    """
    bag, excluded, tally = OffsetAccumulator(), OffsetAccumulator(), FieldTally(query.filters)
    keys: set[str | None] = set()

    def sink(rows: Rows) -> None:
        copies, others = query.copies.split(rows)
        excluded.update(copies)
        matching = tally.matching(others)
        bag.update(matching)
        if query.keys:
            keys.update(row.message.key for row in matching)

    doubts, notes = yield from _read(api, query.topic, query.window, sink, now_ms)
    doubts += query.copies.doubts
    notes += tally.notes()
    if query.filters.message_filter and query.filters.fetch_values:
        bag = yield from _with_values(api, query, bag)
    offsets = Offsets(
        endpoint=api.settings.host,
        instance_id=api.instance_id,
        topic=query.topic,
        window=query.window,
        partitions=bag.partitions(),
        filters=query.filters.to_xcom(),
        complete=not doubts,
        on_incomplete=query.on_incomplete,
        excluded_copies=excluded.unique(),
    )
    return QueryResult(offsets, tuple(doubts), tuple(notes), frozenset(query.keys & keys))


def check_found(found: QueryResult, query: Query, max_messages: int | None) -> None:
    """
    Log what was found, and refuse what is not to be used.

    :param found: what the query found
    :param query: what was looked for
    :param max_messages: most messages that it may hold, ``None`` for no limit
    :raises IncompleteWindowError: messages may be missing, and ``on_incomplete`` is ``fail``
    :raises ConfigurationError: there are more than ``max_messages``
    """
    offsets, doubts = found.offsets, " ".join(found.doubts)
    for note in found.notes:
        _log.warning("%s", note)
    for number, partition in offsets.partitions.items():
        _log.info("Partition %d: %d messages in %d runs.", number, partition.count, len(partition.ranges))
    _log.info("Found %d messages in %d partitions.", offsets.count, len(offsets.partitions))
    if offsets.excluded_copies:
        _log.info("%d copies of earlier replays were left out.", offsets.excluded_copies)
    if doubts and query.on_incomplete == "fail":
        raise IncompleteWindowError(f"{doubts} To take what was found all the same, set on_incomplete='warn'.")
    if doubts:
        _log.warning("The window is not complete. %s", doubts)
    if max_messages is not None and offsets.count > max_messages:
        raise ConfigurationError(
            f"The window holds {offsets.count} messages, more than max_messages={max_messages}: "
            "shorten the window or raise the limit."
        )


def find_messages(api: MqsApi, topic: str, window: TimeWindow, *, now_ms: int) -> Flow[tuple[list[Message], list[str]]]:
    """
    Find the messages of a window, without their contents.

    :param api: the calls
    :param topic: topic name
    :param window: the time window
    :param now_ms: the time of asking, epoch ms
    :return: the messages by time, partition and offset, and a sentence for each reason why some may be missing
    :raises ApiError: the service refused
    """
    rows: dict[tuple[int, int], Message] = {}

    def sink(found: Rows) -> None:
        rows.update({(row.partition, row.message_offset): row.message for row in found})

    doubts, _ = yield from _read(api, topic, window, sink, now_ms)
    return sorted(rows.values(), key=lambda row: (row.timestamp, row.partition, row.message_offset)), doubts


def _read(
    api: MqsApi, topic: str, window: TimeWindow, sink: Callable[[Rows], None], now_ms: int
) -> Flow[tuple[list[str], list[str]]]:
    known, notes = yield from find_topic(api, topic)
    reader = WindowReader(api, topic, sink, range(known.partitions) if known and known.partitions else None)
    yield from reader.read(Slice(window.start_ms, window.end_ms))
    return retention_doubts(known, window, now_ms) + reader.doubts, notes


def find_topic(api: MqsApi, name: str) -> Flow[tuple[Topic | None, list[str]]]:
    """
    Look a topic up in the topic list.

    :param api: the calls
    :param name: topic name
    :return: the topic; or ``None`` and a sentence, where these credentials may not list topics
    :raises ConfigurationError: the list does not have it
    """
    try:
        topics = yield from api.list_topics()
    except (PermissionDeniedError, NotFoundError) as error:
        reason = f"The topic list cannot be read ({error}); neither is it known whether {name!r} exists"
        return None, [f"{reason} nor how long it keeps messages."]
    found = next((topic for topic in topics if topic.name == name), None)
    if found is None:
        raise ConfigurationError(
            f"topic {name!r} is not in the instance, or these credentials may not see it; names are case-sensitive."
        )
    return found, []


def retention_doubts(topic: Topic | None, window: TimeWindow, now_ms: int) -> list[str]:
    """
    Tell whether the service may already have deleted messages of a window.

    :param topic: the topic, ``None`` where it is not known
    :param window: the time window
    :param now_ms: the time of asking, epoch ms
    :return: a sentence, where the window begins before what is kept
    """
    if topic is None or topic.retention_h is None:
        return []
    kept_from_ms = now_ms - int(topic.retention_h * _HOUR_MS)
    if window.start_ms >= kept_from_ms:
        return []
    kept = f"The service keeps {topic.retention_h:g} hours of topic {topic.name!r}"
    return [f"{kept}; everything before {iso(kept_from_ms)} may be gone."]


def _with_values(api: MqsApi, query: Query, rows: OffsetAccumulator) -> Flow[OffsetAccumulator]:
    """Ask for the content of each row that may count, and let ``message_filter`` see it."""
    matched = OffsetAccumulator()

    def check(partition: int, message_offset: int) -> Flow[None]:
        message = yield from api.get_message(query.topic, partition, message_offset, download=True)
        if message is None:
            raise ConfigurationError(
                f"message {message_offset} of partition {partition} is gone; fetch_values cannot see its content."
            )
        if query.filters.match_value(message):
            matched.update([message])

    yield Parallel(
        check(partition, message_offset)
        for partition, found in rows.partitions().items()
        for message_offset in offset_ranges.expand(found.ranges)
    )
    return matched
