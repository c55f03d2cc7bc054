"""
Which time window a run is about. Reads Airflow's context with ``get`` only, so that a plain dict will do.

In this order: what the user says (``start``, ``end``), ``lookback``, the data interval of the run, the window of the
events of the topic that started it, the interval that its schedule implies. The last one is for Airflow 3, whose
default cron schedule gives intervals of no width, and for runs that have none. A window is never guessed: if nothing
gives one, the error names the ways to give one.

Source: Airflow documentation, "Timetables" and "DAG Runs" (data interval).
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_mqs.core.values.time_window import TimeWindow, WindowArguments, to_ms
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.tasks.events import events_of, no_offsets_of, topic_ref_of, window_of_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.values.topic_ref import TopicRef

_REMEDY = (
    "give start and end, or lookback, or schedule the DAG with CronDataIntervalTimetable, "
    "or trigger the run with a data interval"
)


def window_of_task(
    context: Mapping[str, Any], arguments: WindowArguments, *, topic: str, mqs_conn_id: str, instance_id: str | None
) -> TimeWindow:
    """Resolve the window of a task; its connection is read only if events started the run."""

    def topic_ref() -> TopicRef:
        from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415 - not to parse a DAG

        with MqsHook(mqs_conn_id, instance_id) as hook:
            return topic_ref_of(hook, topic)

    return window_of(context, arguments, topic_ref)


def window_of(
    context: Mapping[str, Any], arguments: WindowArguments, topic_ref: Callable[[], TopicRef] | None = None
) -> TimeWindow:
    """
    Resolve the window of a run.

    ``start`` or ``end`` alone takes the other from what the run itself is about. ``lookback`` ends at the run's anchor:
    its interval's end, partition date, logical date, or the time that it became due. Without ``topic_ref``, events give
    no window.
    """
    start_ms, end_ms = arguments.start_ms, arguments.end_ms
    if start_ms is not None and end_ms is not None:
        return TimeWindow(start_ms, end_ms)
    if arguments.lookback_s is None:
        implied = _implied(context, topic_ref)
        if start_ms is None and end_ms is None:
            return implied
        return TimeWindow(
            implied.start_ms if start_ms is None else start_ms, implied.end_ms if end_ms is None else end_ms
        )
    if start_ms is not None or end_ms is not None:
        raise ConfigurationError("lookback goes with neither start nor end; give either of the two ways.")
    return arguments.until(to_ms(_anchor(context)))


def _implied(context: Mapping[str, Any], topic_ref: Callable[[], TopicRef] | None) -> TimeWindow:
    """Return the window that a run has by what started it."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is not None and end is not None and to_ms(start) < to_ms(end):
        return TimeWindow(to_ms(start), to_ms(end), "data_interval")
    events = events_of(context)
    if topic_ref is not None and events:
        ref = topic_ref()
        return window_of_events(events, ref) or _scheduled(context, no_offsets_of(ref))
    found = "has no data interval" if start is None else "has a data interval of no width"
    return _scheduled(context, f"This run {found}, and its schedule implies none")


def _scheduled(context: Mapping[str, Any], otherwise: str) -> TimeWindow:
    timetable = getattr(context.get("dag"), "timetable", None)
    interval = _scheduled_interval(timetable, context) if timetable is not None else None
    if interval is None:
        raise ConfigurationError(f"{otherwise}: {_REMEDY}.")
    return TimeWindow(to_ms(interval[0]), to_ms(interval[1]), "schedule")


def _scheduled_interval(timetable: Any, context: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return the interval that a cron or delta schedule ends at the run's anchor, across changes of the clock."""
    anchor = _anchor(context)
    expression = _attribute(timetable, "expression")
    if isinstance(expression, str):
        from airflow.timetables.interval import CronDataIntervalTimetable  # noqa: PLC0415 - costs a second

        cron = CronDataIntervalTimetable(expression, timezone=_attribute(timetable, "timezone"))
        interval = cron.infer_manual_data_interval(run_after=pendulum.instance(anchor))
        return interval.start, interval.end
    delta = _attribute(timetable, "delta")
    return None if delta is None else (anchor - delta, anchor)


def _attribute(timetable: Any, name: str) -> Any:
    """Read an attribute that is public in the task SDK (3.x) and private in Airflow 2."""
    return getattr(timetable, name, None) or getattr(timetable, f"_{name}", None)


def _anchor(context: Mapping[str, Any]) -> datetime:
    run = context.get("dag_run")
    moments = (
        context.get("data_interval_end"),
        context.get("partition_date"),
        context.get("logical_date"),
        getattr(run, "run_after", None),
    )
    for moment in moments:
        if isinstance(moment, datetime):
            return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        if isinstance(moment, date):
            return datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc)
    raise ConfigurationError(f"This run has neither a data interval nor a date: {_REMEDY}.")
