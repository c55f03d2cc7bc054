"""
What Airflow's context says about a DAG run: the events that started it, and the time window that it is about.

The context is read with ``get`` only, so a plain dict will do.

An event carries a document of offsets (``mqs.offsets/1``) as its payload if ``NewMessagesTrigger`` raised it, or as its
``extra`` if a task of another DAG put it there. Several events may start one run, and delivery is at least once.

The window comes from the first of these that says one: the arguments ``start`` and ``end``, ``lookback``, the data
interval of the run, the events of the topic that started it, the interval that its schedule implies. The last is for
Airflow 3, whose default cron schedule has intervals of no width, and for runs without one. A window is never guessed:
if nothing says one, the error names the remedies.

Source: Airflow documentation, "Timetables" and "DAG Runs" (data interval).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, Final

import pendulum

from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow, WindowArguments, to_ms
from airflow_provider_mqs.core.values.topic_ref import TopicRef, topic_uri
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.hooks.mqs import MqsHook

_log = logging.getLogger(__name__)
EVENTS: Final = "events"
"""The value of ``messages`` that means those of the events that started the run."""
_NAMES = ("triggering_asset_events", "triggering_dataset_events")
"""The second is Airflow 2's."""
_REMEDY = (
    "set start and end, or lookback, or schedule the DAG with CronDataIntervalTimetable, "
    "or trigger the run with a data interval"
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of an asset."""

    uris: frozenset[str]
    """The URIs of the asset, as each series of Airflow spells them."""
    carried: tuple[Any, Any]
    """Its ``extra``, and the payload in it."""

    @classmethod
    def read(cls, asset: Any, event: Any) -> Event:
        """Read Airflow's event of an asset, which is an object or its URI."""
        sources = (asset, getattr(event, "asset", None), getattr(event, "dataset", None))
        uris = (getattr(one, "uri", one) for one in sources)
        extra = getattr(event, "extra", None) or {}
        payload = extra.get("payload") if isinstance(extra, Mapping) else None
        return cls(frozenset(uri for uri in uris if isinstance(uri, str)), (extra, payload))


def events_of(context: Mapping[str, Any]) -> list[Event]:
    """Return the events that started a run; none if it was started otherwise."""
    run_type = getattr(context.get("dag_run"), "run_type", None)
    # Airflow 2 asks its database when they are read, which fails if tasks share a session, as in dag.test()
    if run_type is not None and not str(getattr(run_type, "value", run_type)).endswith("_triggered"):
        return []
    listed = [pair for name in _NAMES for pair in (context.get(name) or {}).items()]
    return [Event.read(asset, event) for asset, events in listed for event in events]


def topic_ref_of(hook: MqsHook, topic: str) -> TopicRef:
    """Return the full name of a topic of a connection."""
    return TopicRef(hook.settings.host, hook.instance_id, topic)


def started_by_topic(context: Mapping[str, Any], ref: TopicRef) -> bool:
    """
    Return whether an event of a topic started a run, so that copies of its messages would start the next one.

    Such an event is one of the topic's asset, or carries offsets or a report of the topic.
    """
    uri = topic_uri(*ref)
    return any(uri in event.uris or any(_is_of(one, ref) for one in event.carried) for event in events_of(context))


def window_of_events(events: list[Event], ref: TopicRef) -> TimeWindow | None:
    """Return the window from the earliest start to the latest end of a topic's events; ``None`` if there are none."""
    windows = [offsets.window for offsets in _offsets(events, ref)]
    if not windows:
        return None
    return TimeWindow(min(one.start_ms for one in windows), max(one.end_ms for one in windows), SOURCE_EVENT)


def messages_of_events(context: Mapping[str, Any], hook: MqsHook, topic: str | None) -> list[dict[str, Any]]:
    """
    Return the messages of the events that started a run, each once, as documents for the resend.

    Events of another endpoint, instance or topic do not count; without ``topic``, all must be of the same.
    """
    events = events_of(context)
    if not events:
        raise ConfigurationError(
            f"messages={EVENTS!r} means those of the events that started the run, but no event started this one: "
            "pass the query's output (query.output), or a list of partition and message_offset."
        )
    ref = topic_ref_of(hook, topic or "")
    found = list(_offsets(events, ref))
    if not found:
        raise ConfigurationError(f"{_no_offsets_of(ref)}: pass the query's output (query.output).")
    topics = sorted({offsets.topic for offsets in found})
    if len(topics) > 1:
        raise ConfigurationError(
            f"The events that started this run are of several topics ({', '.join(topics)[:80]}): set topic to one."
        )
    from airflow_provider_mqs.core.offsets.document import each_once  # noqa: PLC0415 - not to parse a DAG

    return [offsets.to_xcom() for offsets in each_once(found)]


def _no_offsets_of(ref: TopicRef) -> str:
    """Return the sentence, without its full stop, that no event is of a topic."""
    topic = f" of topic {ref.topic!r}" if ref.topic else ""
    return (
        f"This run was started by events, but none carries offsets{topic} "
        f"of instance {ref.instance_id!r:.80} at {ref.endpoint!r:.80}"
    )


def _is_of(document: Any, ref: TopicRef) -> bool:
    """Return whether what an event carries is of a topic; a name of ``""`` means any topic of the instance."""
    wanted = ref._asdict()
    return isinstance(document, Mapping) and all(document.get(name) == wanted[name] for name in wanted if wanted[name])


def _offsets(events: list[Event], ref: TopicRef) -> Iterator[Offsets]:
    from airflow_provider_mqs.core.offsets.document import FAMILY, Offsets  # noqa: PLC0415 - not to parse a DAG

    for document in (document for event in events for document in event.carried):
        if _is_of(document, ref) and str(document.get("schema")).startswith(FAMILY):
            try:
                yield Offsets.from_xcom(document)
            except ConfigurationError as error:
                raise ConfigurationError(f"An event that started this run cannot be read: {error}") from error


def window_of(
    context: Mapping[str, Any], arguments: WindowArguments, topic_ref: Callable[[], TopicRef] | None = None
) -> TimeWindow:
    """
    Resolve the window of a run.

    ``start`` or ``end`` alone takes the other from what the run itself is about. ``lookback`` ends at the run's anchor:
    the end of its interval, its partition date, its logical date, or the time that it became due. ``start`` and ``end``
    together win over ``lookback``, so that a DAG with a lookback can be run by hand for another window. Without
    ``topic_ref``, events are not asked for a window.
    """
    start_ms, end_ms = arguments.start_ms, arguments.end_ms
    if start_ms is not None and end_ms is not None:
        if arguments.lookback_s is not None:
            _log.warning("lookback is ignored, since start and end are both set.")
        return TimeWindow(start_ms, end_ms)
    if arguments.lookback_s is None:
        implied = _window_without_arguments(context, topic_ref)
        if start_ms is None and end_ms is None:
            return implied
        return TimeWindow(
            implied.start_ms if start_ms is None else start_ms, implied.end_ms if end_ms is None else end_ms
        )
    if start_ms is not None or end_ms is not None:
        raise ConfigurationError("lookback does not go with start or end alone: set lookback, or start and end.")
    return arguments.until(to_ms(_anchor(context)))


def _window_without_arguments(context: Mapping[str, Any], topic_ref: Callable[[], TopicRef] | None) -> TimeWindow:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is not None and end is not None and to_ms(start) < to_ms(end):
        return TimeWindow(to_ms(start), to_ms(end), "data_interval")
    events = events_of(context)
    if topic_ref is not None and events:
        ref = topic_ref()
        window, found = window_of_events(events, ref), _no_offsets_of(ref)
    else:
        interval = "no data interval" if start is None else "a data interval of no width"
        window, found = None, f"This run has {interval}, and its schedule implies none"
    window = window or _window_of_schedule(context)
    if window is None:
        raise ConfigurationError(f"{found}: {_REMEDY}.")
    return window


def _window_of_schedule(context: Mapping[str, Any]) -> TimeWindow | None:
    """Return the interval that a cron or delta schedule ends at the run's anchor, across changes of the clock."""
    timetable = getattr(context.get("dag"), "timetable", None)
    if timetable is None:
        return None
    anchor = _anchor(context)
    expression, delta = _attribute(timetable, "expression"), _attribute(timetable, "delta")
    if isinstance(expression, str):
        from airflow.timetables.interval import CronDataIntervalTimetable  # noqa: PLC0415 - costs a second

        cron = CronDataIntervalTimetable(expression, timezone=_attribute(timetable, "timezone"))
        interval = cron.infer_manual_data_interval(run_after=pendulum.instance(anchor))
        return TimeWindow(to_ms(interval.start), to_ms(interval.end), "schedule")
    return None if delta is None else TimeWindow(to_ms(anchor - delta), to_ms(anchor), "schedule")


def _attribute(timetable: Any, name: str) -> Any:
    """Read an attribute that is public in the task SDK (3.x) and private in Airflow 2."""
    return getattr(timetable, name, None) or getattr(timetable, f"_{name}", None)


def _anchor(context: Mapping[str, Any]) -> datetime:
    moments = (
        context.get("data_interval_end"),
        context.get("partition_date"),
        context.get("logical_date"),
        getattr(context.get("dag_run"), "run_after", None),
    )
    for moment in moments:
        if isinstance(moment, datetime):
            return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        if isinstance(moment, date):
            return datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc)
    raise ConfigurationError(f"This run has neither a data interval nor a date: {_REMEDY}.")
