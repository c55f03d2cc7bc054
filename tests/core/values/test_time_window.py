"""Windows tile, and times are read in every form that people and templates write."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.values.time_window import TimeWindow, duration_s, instant_ms, iso, to_ms
from airflow_provider_mqs.exceptions import ConfigurationError

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
NOON_MS = 1_795_348_800_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BERLIN = timezone(timedelta(hours=1))
moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc))


@given(
    st.lists(moments, min_size=2, max_size=8, unique=True), st.lists(st.tuples(st.integers(0, 7), st.integers(-3, 3)))
)
def test_neighbouring_windows_tile(ends: list[datetime], near: list[tuple[int, int]]) -> None:
    """Whatever the ends to the microsecond, each message lies in exactly one of the neighbouring windows."""
    edges = sorted({to_ms(end) for end in ends})
    windows = [TimeWindow(start, end) for start, end in pairwise(edges)]
    timestamps = {edges[index % len(edges)] + step for index, step in near}

    for timestamp in timestamps:
        holders = [window for window in windows if timestamp in window]
        assert len(holders) == (edges[0] <= timestamp < edges[-1])


@given(moments, st.integers(-2, 2))
def test_rounding_never_moves_a_message_over_an_end(end: datetime, step: int) -> None:
    """A message of a whole millisecond is before the end in milliseconds exactly if it is before the real end."""
    timestamp = to_ms(end) + step

    assert (timestamp < to_ms(end)) == (
        datetime.fromtimestamp(0, timezone.utc) + timedelta(milliseconds=timestamp) < end
    )


@given(moments, moments)
def test_windows_survive_xcom(one: datetime, other: datetime) -> None:
    """What is pushed is plain JSON and comes back equal."""
    start_ms, end_ms = sorted((to_ms(one), to_ms(other)))
    window = TimeWindow(start_ms, end_ms + 1, "data_interval")

    assert TimeWindow.from_xcom(json.loads(json.dumps(window.to_xcom()))) == window


def test_windows_are_shown_half_open() -> None:
    """The log shows which end belongs to the window."""
    shown = "[2026-11-22T12:00:00.000+00:00, 2026-11-22T12:00:00.001+00:00)"

    assert str(TimeWindow(NOON_MS, NOON_MS + 1)) == shown


@pytest.mark.parametrize("width", [0, -1])
def test_empty_window_is_refused(width: int) -> None:
    """A window that can hold nothing is a mistake, not a success with no messages."""
    with pytest.raises(ConfigurationError, match="window is empty"):
        TimeWindow(NOON_MS, NOON_MS + width)


@pytest.mark.parametrize(
    "value", [None, "x", [], {}, {"start": NOON_MS}, {"start": None, "end": NOON_MS}, {"start": "a"}]
)
def test_something_else_is_no_window(value: Any) -> None:
    """An XCom without both ends is refused with a sentence."""
    with pytest.raises(ConfigurationError, match=r"^window"):
        TimeWindow.from_xcom(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, NOON_MS),
        (NOON.replace(tzinfo=None), NOON_MS),
        (NOON.astimezone(BERLIN), NOON_MS),
        (NOON + timedelta(microseconds=1), NOON_MS + 1),
        (NOON - timedelta(microseconds=1), NOON_MS),
        (pendulum.datetime(2026, 11, 22, 13, tz="Europe/Berlin"), NOON_MS),
        (pendulum.datetime(2026, 11, 22, 12).add(microseconds=1), NOON_MS + 1),
        (
            pendulum.datetime(2026, 10, 25, 3, tz="Europe/Berlin").subtract(hours=1),
            NOON_MS - 28 * DAY_MS - 11 * HOUR_MS,
        ),
        (pendulum.date(2026, 11, 22), NOON_MS - 12 * HOUR_MS),
        (date(2026, 11, 22), NOON_MS - 12 * HOUR_MS),
        ("2026-11-22T12:00:00Z", NOON_MS),
        (" 2026-11-22T13:00:00+01:00 ", NOON_MS),
        ("2026-11-22 12:00:00.000001", NOON_MS + 1),
        ("2026-11-22T12:00", NOON_MS),
        ("2026-11-22", NOON_MS - 12 * HOUR_MS),
        (NOON_MS, NOON_MS),
        (float(NOON_MS), NOON_MS),
        (NOON_MS + 0.25, NOON_MS + 1),
        (str(NOON_MS), NOON_MS),
        (f" {NOON_MS} ", NOON_MS),
        (0, 0),
        (None, None),
        ("", None),
        ("None", None),
        ("null", None),
    ],
)
def test_times_are_read(value: Any, expected: int | None) -> None:
    """Every way to write a time gives the first whole millisecond that is not before it."""
    assert instant_ms(value, "start") == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (NOON_MS // 1000, "seconds"),
        (str(NOON_MS // 1000), "seconds"),
        (1, "seconds"),
        (True, "must be a time"),
        ([NOON_MS], "must be a time"),
        (timedelta(1), "must be a time"),
        (float("nan"), "between 1970 and 9999"),
        (float("inf"), "between 1970 and 9999"),
        (-1, "between 1970 and 9999"),
        ("-5", "between 1970 and 9999"),
        (10**17, "between 1970 and 9999"),
        ("9" * 5000, "between 1970 and 9999|ISO text"),
        ("yesterday", "ISO text or epoch ms"),
        ("2026-13-01", "ISO text or epoch ms"),
        ("{{ data_interval_start }}", "ISO text or epoch ms"),
        ("P1D", "one moment"),
        ("2026-11-22/2026-11-23", "one moment"),
        ("12:00", "one moment"),
        ("now", "one moment"),
    ],
)
def test_what_is_no_time_is_one_sentence(value: Any, reason: str) -> None:
    """Seconds, durations, clock times that differ on each try, and plain nonsense are refused by name."""
    with pytest.raises(ConfigurationError, match=rf"^start .*({reason}).*[.]$"):
        instant_ms(value, "start")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(timedelta(minutes=1), 60.0), (90, 90.0), ("0.5", 0.5), (0, 0.0), (None, None), ("", None), ("None", None)],
)
def test_durations_are_read(value: Any, expected: float | None) -> None:
    """Seconds, text of seconds and timedeltas are the same."""
    assert duration_s(value, "lookback") == expected


@pytest.mark.parametrize("value", [-1, timedelta(-1), True, "1h", [], float("nan"), float("inf"), 10**400])
def test_what_is_no_duration_is_one_sentence(value: Any) -> None:
    """A negative or endless duration is refused by name."""
    with pytest.raises(ConfigurationError, match=r"^lookback .*[.]$"):
        duration_s(value, "lookback")


def test_times_are_written_with_milliseconds_in_utc() -> None:
    """Text that we write can be compared as text."""
    assert iso(NOON_MS + 7) == "2026-11-22T12:00:00.007+00:00"
