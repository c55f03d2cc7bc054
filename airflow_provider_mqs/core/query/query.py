"""Query a window: check the topic, read every row, filter, and say why messages may be missing. These are flows."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.query.filters import Filters, RowFilter
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.arguments import choice, flag, optional_number, topic_name, whole_number
from airflow_provider_mqs.core.values.text import plural
from airflow_provider_mqs.core.values.time_window import (
    DurationArgument,
    TimeArgument,
    TimeWindow,
    WindowArguments,
    iso,
)
from airflow_provider_mqs.exceptions import (
    ConfigurationError,
    IncompleteWindowError,
    NotFoundError,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.values.message import Message, Rows, Topic

_log = logging.getLogger(__name__)
_HOUR_MS = 3_600_000
_FRESH_MS = 60_000


@dataclass(frozen=True, slots=True)
class QueryArguments:
    """The arguments of a query, the same for operator, hook and command."""

    topic: str
    window: WindowArguments
    filters: Filters = field(default_factory=Filters)
    on_incomplete: str = "fail"
    max_messages: int | None = None
    exclude_copies: bool = True
    clamp_to_now: bool = False
    concurrency: int = 16

    @classmethod
    def read(
        cls,
        *,
        topic: str,
        start: TimeArgument = None,
        end: TimeArgument = None,
        lookback: DurationArgument = None,
        filters: Filters,
        on_incomplete: str = "fail",
        max_messages: int | str | None = None,
        exclude_copies: bool | str = True,
        clamp_to_now: bool | str = False,
        concurrency: int | str = 16,
    ) -> Self:
        """Check and convert arguments as people and templates write them."""
        return cls(
            topic=topic_name(topic),
            window=WindowArguments.read(start=start, end=end, lookback=lookback),
            filters=filters,
            on_incomplete=choice(on_incomplete, "on_incomplete", ("fail", "warn")),
            max_messages=optional_number(max_messages, "max_messages", minimum=1),
            exclude_copies=flag(exclude_copies, "exclude_copies"),
            clamp_to_now=flag(clamp_to_now, "clamp_to_now"),
            concurrency=whole_number(concurrency, "concurrency", minimum=1, maximum=256),
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A window of a topic, and which of its messages count."""

    topic: str
    window: TimeWindow
    filters: Filters = field(default_factory=Filters)
    on_incomplete: str = "fail"
    """What the caller does if messages may be missing; stored for the resend."""
    copies: KnownCopies = field(default_factory=KnownCopies)
    """The messages that earlier replays put into the window; left out."""
    keys: frozenset[str] = frozenset()
    """Keys that the result should report if a message has them."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query found."""

    offsets: Offsets
    why_incomplete: tuple[str, ...]
    """A sentence for each reason why messages may be missing; none if the window is complete."""
    notes: tuple[str, ...]
    """Sentences for the log."""
    keys: frozenset[str] = frozenset()
    """The keys of the query that some message has."""


def query_offsets(api: MqsApi, query: Query, *, now_ms: int) -> Flow[QueryResult]:
    """Return the offsets of a window; an empty window has no partitions."""
    accumulated, excluded, row_filter = OffsetAccumulator(), OffsetAccumulator(), RowFilter(query.filters)
    keys: set[str | None] = set()
    unknown_copies: set[str] = set()

    def sink(rows: Rows) -> None:
        copies, others = query.copies.split(rows)
        excluded.update(copies)
        unknown_copies.update(query.copies.unknown_among(others))
        matching = row_filter.matching(others)
        accumulated.update(matching)
        if query.keys:
            keys.update(row.message.key for row in matching)

    why_incomplete, notes = yield from _read_window(api, query.topic, query.window, sink, now_ms)
    why_incomplete += (*query.copies.why_incomplete, *sorted(unknown_copies))
    notes += row_filter.notes()
    if query.filters.message_filter and query.filters.fetch_values:
        accumulated = yield from _match_values(api, query, accumulated)
    offsets = Offsets(
        endpoint=api.settings.host,
        instance_id=api.instance_id,
        topic=query.topic,
        window=query.window,
        partitions=accumulated.partitions(),
        filters=query.filters.to_xcom(),
        complete=not why_incomplete,
        on_incomplete=query.on_incomplete,
        excluded_copies=excluded.unique(),
    )
    return QueryResult(offsets, tuple(why_incomplete), tuple(notes), frozenset(query.keys & keys))


def closed_window(window: TimeWindow, now_ms: int, *, clamp_to_now: bool = False) -> TimeWindow:
    """Refuse a window that ends in the future, or with ``clamp_to_now`` end it now; warn if one has just ended."""
    if window.end_ms > now_ms:
        if not clamp_to_now or window.start_ms >= now_ms:
            raise ConfigurationError(
                f"end is in the future ({iso(window.end_ms)}), and messages may still arrive before it: wait until it "
                "has passed (MessagesInWindowSensor), or let the window end now (clamp_to_now of the operator)."
            )
        _log.warning("The window ends now instead of at %s.", iso(window.end_ms))
        window = TimeWindow(window.start_ms, now_ms, window.source)
    if now_ms - window.end_ms < _FRESH_MS:
        _log.warning("The window ended less than 60 s ago; messages with its timestamps may still arrive.")
    return window


def check_result(result: QueryResult, arguments: QueryArguments) -> Offsets:
    """Log what was found; refuse too many messages, and unless ``on_incomplete`` is ``warn`` an incomplete window."""
    offsets, reasons = result.offsets, " ".join(result.why_incomplete)
    for note in result.notes:
        _log.warning("%s", note)
    for number, partition in offsets.partitions.items():
        _log.info(
            "Partition %d: %s in %s.",
            number,
            plural(partition.count, "message"),
            plural(len(partition.ranges), "range"),
        )
    _log.info("Found %s in %s.", plural(offsets.count, "message"), plural(len(offsets.partitions), "partition"))
    if offsets.excluded_copies:
        _log.info("Left out %s of earlier replays.", plural(offsets.excluded_copies, "copy", "copies"))
    if reasons and arguments.on_incomplete == "fail":
        raise IncompleteWindowError(f"{reasons} To use what was found anyway, set on_incomplete='warn'.")
    if reasons:
        _log.warning("The window may be incomplete. %s", reasons)
    if arguments.max_messages is not None and offsets.count > arguments.max_messages:
        raise ConfigurationError(
            f"The window holds {offsets.count} messages, more than max_messages={arguments.max_messages}: "
            "shorten the window or raise the limit."
        )
    return offsets


def find_messages(api: MqsApi, topic: str, window: TimeWindow, *, now_ms: int) -> Flow[tuple[list[Message], list[str]]]:
    """Return the messages of a window by time, partition and offset, without contents, and why some may be missing."""
    messages: dict[tuple[int, int], Message] = {}

    def sink(rows: Rows) -> None:
        messages.update({(row.partition, row.message_offset): row.message for row in rows})

    why_incomplete, _ = yield from _read_window(api, topic, window, sink, now_ms)
    return sorted(messages.values(), key=lambda one: (one.timestamp, one.partition, one.message_offset)), why_incomplete


def find_topic(api: MqsApi, name: str) -> Flow[tuple[Topic | None, list[str]]]:
    """Return a topic of the topic list; or ``None`` and a sentence, if the list cannot be read, or not to its end."""
    try:
        topics, whole = yield from api.find_topics(name)
    except (PermissionDeniedError, NotFoundError) as error:
        reason = f"The topic list cannot be read ({error}), so it is not known whether {name!r} exists"
        return None, [f"{reason} or how long it keeps messages."]
    found = next((topic for topic in topics if topic.name == name), None)
    if found is None and not whole:
        reason = f"The service showed {len(topics)} topics of more, so it is not known whether {name!r} exists"
        return None, [f"{reason} or how long it keeps messages."]
    if found is None:
        raise ConfigurationError(
            f"topic {name!r} is not in the instance, or these credentials may not see it; names are case-sensitive."
        )
    return found, []


def why_expired(topic: Topic | None, window: TimeWindow, now_ms: int) -> list[str]:
    """Return a sentence if the service may already have deleted messages of a window."""
    if topic is None or topic.retention_h is None:
        return []
    kept_from_ms = now_ms - int(topic.retention_h * _HOUR_MS)
    if window.start_ms >= kept_from_ms:
        return []
    kept = f"The service keeps {topic.retention_h:g} hours of topic {topic.name!r}"
    return [f"{kept}; everything before {iso(kept_from_ms)} may be gone."]


def _read_window(
    api: MqsApi, topic: str, window: TimeWindow, sink: Callable[[Rows], None], now_ms: int
) -> Flow[tuple[list[str], list[str]]]:
    """Pass the rows of a window to ``sink``; return why it may be incomplete, and sentences for the log."""
    known, notes = yield from find_topic(api, topic)
    reader = WindowReader(api, topic, sink, range(known.partitions) if known and known.partitions else None)
    began_ms = api.now_ms()
    yield from reader.read(Slice(window.start_ms, window.end_ms))
    # what has aged while it was read may have been missed
    took_ms = max(0, api.now_ms() - began_ms)
    return why_expired(known, window, now_ms + took_ms) + reader.why_incomplete, notes


def _match_values(api: MqsApi, query: Query, rows: OffsetAccumulator) -> Flow[OffsetAccumulator]:
    """Fetch the content of each row that may count, and pass it to ``message_filter``."""
    matched = OffsetAccumulator()

    def match(partition: int, message_offset: int) -> Flow[None]:
        message = yield from api.get_message(query.topic, partition, message_offset, download=True)
        if message is None:
            raise ConfigurationError(
                f"message {message_offset} of partition {partition} is gone, so fetch_values cannot read its content."
            )
        if query.filters.match_value(message):
            matched.update([message])

    yield Parallel(
        match(partition, message_offset)
        for partition, found in rows.partitions().items()
        for message_offset in offset_ranges.expand(found.ranges)
    )
    return matched
