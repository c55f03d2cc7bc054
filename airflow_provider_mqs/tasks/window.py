"""
Which time window a run is about. Reads Airflow's context with ``get`` only, so that a plain dict will do.

In this order: what the user says (``start``, ``end``), ``lookback``, the data interval of the run, the window of the
events of the topic that started it, the interval that its schedule implies. The last one is for Airflow 3, whose
default cron schedule gives intervals of no width, and for runs that have none. A window is never guessed: where nothing
gives one, the error names the ways to give one.

Source: Airflow documentation, "Timetables" and "DAG Runs" (data interval).
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_mqs.core.values.arguments import topic_name
from airflow_provider_mqs.core.values.time_window import TimeWindow, duration_s, instant_ms, to_ms
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.tasks.events import events_of, none_of, place_of, window_of_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REMEDY = (
    "give start and end, or lookback, or schedule the DAG with CronDataIntervalTimetable, "
    "or trigger the run with a data interval"
)


def window_of_task(context: Mapping[str, Any], arguments: Mapping[str, Any]) -> TimeWindow:
    """
    Resolve the window of a task.

    :param context: Airflow's context
    :param arguments: ``start``, ``end``, ``lookback``, ``topic``, ``mqs_conn_id`` and ``instance_id``; perhaps others
    :return: see ``window_of``
    :raises ConfigurationError: the same, or the connection is wrong
    """
    times = {name: arguments[name] for name in ("start", "end", "lookback")}
    return window_of(context, **times, place=partial(_place, arguments))


def window_of(
    context: Mapping[str, Any],
    *,
    start: Any = None,
    end: Any = None,
    lookback: Any = None,
    place: Callable[[], Mapping[str, str]] | None = None,
) -> TimeWindow:
    """
    Resolve the window of a run.

    :param context: Airflow's context; with an explicit window nothing of it is needed
    :param start: datetime, ISO text or epoch ms; alone, what the run itself is about gives the end
    :param end: the same; alone, what the run itself is about gives the start
    :param lookback: length of the window that ends at the run's anchor: its interval's end, partition date, logical
        date, or the time that it became due
    :param place: says where the topic is (see ``place_of``); asked only where events started the run. Without it they
        give no window
    :return: the window, which says where it came from
    :raises ConfigurationError: nothing gives a window, or what does gives an empty one
    """
    start_ms, end_ms = instant_ms(start, "start"), instant_ms(end, "end")
    if start_ms is not None and end_ms is not None:
        return TimeWindow(start_ms, end_ms, "explicit")
    lookback_s = duration_s(lookback, "lookback")
    if start_ms is not None or end_ms is not None:
        if lookback_s is not None:
            raise ConfigurationError("lookback goes with neither start nor end; give either of the two ways.")
        implied = _implied(context, place)
        return TimeWindow(
            implied.start_ms if start_ms is None else start_ms, implied.end_ms if end_ms is None else end_ms, "explicit"
        )
    if lookback_s is None:
        return _implied(context, place)
    if lookback_s == 0:
        raise ConfigurationError("lookback must be longer than 0 seconds.")
    anchor_ms = to_ms(_anchor(context))
    return TimeWindow(anchor_ms - round(lookback_s * 1000), anchor_ms, "lookback")


def _implied(context: Mapping[str, Any], place: Callable[[], Mapping[str, str]] | None) -> TimeWindow:
    """Give the window that a run has by what started it."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is not None and end is not None and to_ms(start) < to_ms(end):
        return TimeWindow(to_ms(start), to_ms(end), "data_interval")
    events = events_of(context)
    if place is not None and events:
        where = place()
        return window_of_events(events, where) or _scheduled(context, none_of(where))
    found = "has no data interval" if start is None else "has a data interval of no width"
    return _scheduled(context, f"This run {found}, and its schedule implies none")


def _scheduled(context: Mapping[str, Any], otherwise: str) -> TimeWindow:
    timetable = getattr(context.get("dag"), "timetable", None)
    scheduled = _scheduled_interval(timetable, context) if timetable is not None else None
    if scheduled is None:
        raise ConfigurationError(f"{otherwise}: {_REMEDY}.")
    return TimeWindow(to_ms(scheduled[0]), to_ms(scheduled[1]), "schedule")


def _place(arguments: Mapping[str, Any]) -> dict[str, str]:
    from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415 - not to parse a DAG

    with MqsHook(arguments["mqs_conn_id"], arguments["instance_id"]) as hook:
        return place_of(hook, topic_name(arguments["topic"]))


def _scheduled_interval(timetable: Any, context: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Give the interval that a cron or delta schedule means to end at the run's anchor, across changes of the clock."""
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
