"""Which window a run is about: by argument, lookback, interval or schedule, across series and changes of the clock."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow, WindowArguments, to_ms
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.tasks.dag_run import window_of
from tests.support import started_by

if TYPE_CHECKING:
    from collections.abc import Callable

UTC = timezone.utc
TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
REF = TopicRef("mqs.example.com", "i-1", "orders")


def dag_with(schedule: Any, tz: str = "UTC") -> Any:
    return DAG(dag_id="windows", schedule=schedule, start_date=pendulum.datetime(2020, 1, 1, tz=tz))


def topic_ref() -> TopicRef:
    return REF


def resolved(context: dict[str, Any], topic_ref: Callable[[], TopicRef] | None = None, **arguments: Any) -> TimeWindow:
    return window_of(context, WindowArguments.read(**arguments), topic_ref)


def bounds(
    context: dict[str, Any], topic_ref: Callable[[], TopicRef] | None = None, **arguments: Any
) -> tuple[datetime, datetime, str]:
    window = resolved(context, topic_ref, **arguments)
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (window.start_ms, window.end_ms))
    return start, end, window.source


def test_an_explicit_window_wins() -> None:
    """Start and end need nothing of the context."""
    context = {"data_interval_start": TEN, "data_interval_end": ELEVEN}

    actual = bounds(context, start="2026-01-01T00:00:00Z", end=1_767_229_200_000)

    assert actual == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC), "explicit")


def test_start_and_end_win_over_lookback_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A scheduled DAG with a lookback can be run by hand for another window."""
    assert bounds({}, start=TEN, end=ELEVEN, lookback=60) == (TEN, ELEVEN, "explicit")
    assert caplog.messages == ["lookback is ignored, since start and end are both set."]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"start": TEN - timedelta(hours=1)}, (TEN - timedelta(hours=1), ELEVEN)),
        ({"end": TEN + timedelta(minutes=5)}, (TEN, TEN + timedelta(minutes=5))),
    ],
)
def test_one_end_alone_takes_the_other_from_the_interval(
    arguments: dict[str, Any], expected: tuple[datetime, datetime]
) -> None:
    """What the user does not say comes from the run."""
    context = {"data_interval_start": TEN, "data_interval_end": ELEVEN}

    assert bounds(context, **arguments) == (*expected, "explicit")


@pytest.mark.parametrize(
    "context",
    [
        {"data_interval_end": TEN, "logical_date": TEN - timedelta(days=9)},
        {"partition_date": TEN},
        {"logical_date": TEN},
        {"dag_run": SimpleNamespace(run_after=TEN)},
        {"dag_run": SimpleNamespace(run_after=TEN.replace(tzinfo=None))},
    ],
)
def test_lookback_ends_at_the_anchor_of_the_run(context: dict[str, Any]) -> None:
    """The anchor is the interval's end, the partition date, the logical date, or when the run became due."""
    assert bounds(context, lookback="5400") == (TEN - timedelta(minutes=90), TEN, "lookback")


def test_a_partition_date_may_be_a_bare_date() -> None:
    """A date stands for its midnight in UTC."""
    start, end, _ = bounds({"partition_date": date(2026, 11, 22)}, lookback=timedelta(days=1))

    assert (start, end) == (datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))


def test_the_data_interval_is_the_default() -> None:
    """Nothing given, an interval with a width: that is the window."""
    context = {"data_interval_start": TEN, "data_interval_end": ELEVEN}

    assert bounds(context) == (TEN, ELEVEN, "data_interval")


@pytest.mark.parametrize("schedule", ["0 * * * *", timedelta(hours=1)])
def test_an_interval_without_width_is_derived_from_the_schedule(schedule: Any) -> None:
    """The default schedules of Airflow 3 give start == end; the window is the one that ends there."""
    context = {"data_interval_start": ELEVEN, "data_interval_end": ELEVEN, "dag": dag_with(schedule)}

    assert bounds(context) == (TEN, ELEVEN, "schedule")


def test_a_manual_run_between_ticks_takes_the_last_complete_interval() -> None:
    """An anchor that is not aligned is not cut into a part of an hour."""
    context = {"logical_date": ELEVEN + timedelta(minutes=17), "dag": dag_with("0 * * * *")}

    assert bounds(context) == (TEN, ELEVEN, "schedule")


@pytest.mark.parametrize(("midnight", "hours"), [((2026, 3, 30), 23), ((2026, 10, 26), 25), ((2026, 6, 2), 24)])
def test_a_day_of_the_clock_change_has_its_true_length(midnight: tuple[int, int, int], hours: int) -> None:
    """A daily schedule in local time gives 23, 24 or 25 hours."""
    anchor = pendulum.datetime(*midnight, tz="Europe/Berlin")
    context = {
        "data_interval_start": anchor,
        "data_interval_end": anchor,
        "dag": dag_with("0 0 * * *", "Europe/Berlin"),
    }

    start, end, source = bounds(context)

    assert end == anchor
    assert (end - start, source) == (timedelta(hours=hours), "schedule")


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/New_York"])
def test_the_windows_of_a_schedule_tile_across_the_clock_change(tz: str) -> None:
    """Consecutive anchors give windows that touch: each ends where the next begins."""
    timetable = CronDataIntervalTimetable("30 */6 * * *", timezone=tz)
    dag = dag_with(timetable, tz)
    moment = pendulum.datetime(2026, 10, 23, tz=tz)
    windows = []
    for _ in range(20):
        interval = timetable.infer_manual_data_interval(run_after=moment)
        windows.append(resolved({"logical_date": interval.end, "dag": dag}))
        moment = moment.add(hours=6)
    ends = sorted({(one.start_ms, one.end_ms) for one in windows})

    assert all(before[1] == after[0] for before, after in pairwise(ends))


@given(st.lists(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1)), min_size=3, unique=True))
def test_neighbouring_intervals_tile(moments: list[datetime]) -> None:
    """Whatever the microseconds of their ends, one window ends where the next begins."""
    aware = sorted({to_ms(moment): moment.replace(tzinfo=UTC) for moment in moments}.values())
    windows = [resolved({"data_interval_start": start, "data_interval_end": end}) for start, end in pairwise(aware)]

    assert all(before.end_ms == after.start_ms for before, after in pairwise(windows))


def event(start: datetime, end: datetime, **changes: str) -> dict[str, Any]:
    offsets = Offsets(
        **{**REF._asdict(), **changes}, window=TimeWindow(to_ms(start), to_ms(end), "event"), partitions={}
    )
    return offsets.to_xcom()


EVENTS = started_by(event(TEN + MINUTE, TEN + 3 * MINUTE), event(TEN, TEN + 2 * MINUTE), event(TEN, ELEVEN, topic="b"))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"dag_run": SimpleNamespace(run_type="asset_triggered", run_after=ELEVEN)},
        {"data_interval_start": ELEVEN, "data_interval_end": ELEVEN, "dag": dag_with("0 * * * *")},
    ],
)
def test_events_that_started_the_run_come_before_the_schedule(more: dict[str, Any]) -> None:
    """Those of the topic: from the earliest start to the latest end."""
    assert bounds({**EVENTS, **more}, topic_ref=topic_ref) == (TEN, TEN + 3 * MINUTE, "event")


@pytest.mark.parametrize(
    ("more", "arguments", "expected"),
    [
        ({}, {"start": ELEVEN, "end": ELEVEN + MINUTE}, (ELEVEN, ELEVEN + MINUTE, "explicit")),
        ({"logical_date": ELEVEN}, {"lookback": 60}, (ELEVEN - MINUTE, ELEVEN, "lookback")),
        ({"data_interval_start": TEN, "data_interval_end": ELEVEN}, {}, (TEN, ELEVEN, "data_interval")),
        ({"dag_run": SimpleNamespace(run_type="manual", run_after=ELEVEN), "dag": dag_with("0 * * * *")}, {}, None),
    ],
)
def test_events_come_behind_arguments_and_interval(
    more: dict[str, Any], arguments: dict[str, Any], expected: tuple[datetime, datetime, str] | None
) -> None:
    """Then nothing is asked for: the connection need not even be there. A manual run has no such events."""

    def unknown() -> TopicRef:
        raise AssertionError

    assert bounds({**EVENTS, **more}, **arguments, topic_ref=unknown) == (expected or (TEN, ELEVEN, "schedule"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"start": TEN - MINUTE}, (TEN - MINUTE, TEN + 3 * MINUTE)), ({"end": ELEVEN}, (TEN, ELEVEN))],
)
def test_one_end_alone_takes_the_other_from_the_events(
    arguments: dict[str, Any], expected: tuple[datetime, datetime]
) -> None:
    """As it does from the interval."""
    assert bounds(EVENTS, **arguments, topic_ref=topic_ref) == (*expected, "explicit")


def test_events_of_other_topics_give_no_window() -> None:
    """The error says whose events there should be, and the remedies."""
    context = started_by(event(TEN, ELEVEN, topic="payments"), event(TEN, ELEVEN, instance_id="i-2"), {"any": "thing"})
    sentence = r"none carries offsets of topic 'orders' of instance 'i-1' at 'mqs.example.com': set start and end, or"

    with pytest.raises(ConfigurationError, match=sentence):
        resolved(context, topic_ref=topic_ref)


@pytest.mark.parametrize(
    ("context", "arguments", "sentence"),
    [
        ({}, {}, "no data interval"),
        ({"data_interval_start": TEN, "data_interval_end": TEN}, {}, "of no width"),
        ({"data_interval_start": TEN, "data_interval_end": TEN, "dag": dag_with(None)}, {}, "implies none"),
        ({}, {"lookback": 60}, "neither a data interval nor a date"),
        ({"logical_date": TEN}, {"lookback": 0}, "longer than 0"),
        ({"logical_date": TEN}, {"lookback": -1}, "lookback must be seconds"),
        ({"logical_date": TEN}, {"lookback": "soon"}, "lookback must be seconds"),
        ({}, {"start": TEN, "lookback": 60}, "lookback does not go with"),
        ({}, {"start": TEN, "end": TEN}, "not before end"),
        ({}, {"start": ELEVEN, "end": TEN}, "not before end"),
        ({}, {"start": "tomorrow", "end": TEN}, "start must be ISO text"),
        ({}, {"start": 1_700_000_000, "end": TEN}, "looks like seconds"),
        ({}, {"start": True, "end": TEN}, "start must be a time"),
        ({}, {"start": TEN}, "no data interval"),
    ],
)
def test_a_window_is_never_guessed(context: dict[str, Any], arguments: dict[str, Any], sentence: str) -> None:
    """Without a window, or with an empty one, there is an error that says what is wrong."""
    with pytest.raises(ConfigurationError, match=sentence):
        resolved(context, **arguments)
