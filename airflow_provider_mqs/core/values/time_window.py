"""
Time windows: half-open ``[start, end)`` in whole milliseconds of UTC, and how text and numbers become such times.

Both ends are rounded up to the millisecond, so neighbouring intervals tile: what one leaves out, the next holds.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final, TypeAlias

import pendulum

from airflow_provider_mqs.core.values.arguments import is_absent
from airflow_provider_mqs.exceptions import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECONDS_END = 100_000_000_000
"""Epoch ms below this are before March 1973: seconds are meant."""
_MAX_MS = 253_402_300_799_999
_DIGITS = re.compile(r"-?\d{1,20}")

SOURCE_EVENT: Final = "event"
"""The source of an event's window, and of the window of a run that events started."""


_ORIGINS: Final = {
    "explicit": "start and end",
    "lookback": "lookback",
    "data_interval": "the data interval of the run",
    SOURCE_EVENT: "the events that started the run",
    "schedule": "the schedule",
}

TimeArgument: TypeAlias = date | str | float | None
"""Datetime, date, ISO text, or epoch ms as a number or digits."""
DurationArgument: TypeAlias = timedelta | str | float | None
"""Seconds as a number or text, or a ``timedelta``."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The messages whose timestamp is ``start_ms <= timestamp < end_ms``, in epoch ms."""

    start_ms: int
    end_ms: int
    source: str = "explicit"
    """Where it came from: ``explicit``, ``lookback``, ``data_interval``, ``event`` or ``schedule``."""

    def __post_init__(self) -> None:
        if self.start_ms >= self.end_ms:
            raise ConfigurationError(
                f"The window is empty: start {iso(self.start_ms)} is not before end {iso(self.end_ms)}."
            )

    def __contains__(self, timestamp: int) -> bool:
        return self.start_ms <= timestamp < self.end_ms

    def __str__(self) -> str:
        return f"[{iso(self.start_ms)}, {iso(self.end_ms)})"

    @property
    def origin(self) -> str:
        """Where it came from, for the log: ``start and end``."""
        return _ORIGINS.get(self.source, self.source)

    def to_xcom(self) -> dict[str, str]:
        """Write it as JSON: ``{"start", "end", "source"}``, with times as ISO text in UTC."""
        return {"start": iso(self.start_ms), "end": iso(self.end_ms), "source": self.source}

    @classmethod
    def from_xcom(cls, value: Any) -> TimeWindow:
        """Read what ``to_xcom`` wrote."""
        if not isinstance(value, dict):
            raise ConfigurationError("window must be an object with start and end.")
        start, end = instant_ms(value.get("start"), "window.start"), instant_ms(value.get("end"), "window.end")
        if start is None or end is None:
            raise ConfigurationError("window needs both start and end.")
        return cls(start, end, str(value.get("source", "explicit")))


@dataclass(frozen=True, slots=True)
class WindowArguments:
    """The arguments that choose a window; what is left out comes from the run, or is the present moment."""

    start_ms: int | None = None
    end_ms: int | None = None
    lookback_s: float | None = None

    @classmethod
    def read(
        cls, *, start: TimeArgument = None, end: TimeArgument = None, lookback: DurationArgument = None
    ) -> WindowArguments:
        """Check and convert arguments as people and templates write them."""
        return cls(instant_ms(start, "start"), instant_ms(end, "end"), duration_s(lookback, "lookback"))

    def explicit(self) -> TimeWindow:
        """Return the window of ``start`` and ``end``, which are both needed."""
        if self.start_ms is None or self.end_ms is None:
            raise ConfigurationError("start and end are both needed: datetime, ISO text or epoch ms.")
        return TimeWindow(self.start_ms, self.end_ms)

    def until(self, end_ms: int) -> TimeWindow:
        """Return the window that ends at a moment and is ``lookback`` long."""
        if not self.lookback_s:
            raise ConfigurationError("lookback must be longer than 0 seconds.")
        return TimeWindow(end_ms - round(self.lookback_s * 1000), end_ms, "lookback")


def to_ms(moment: datetime) -> int:
    """Return a time in epoch milliseconds, rounded up; without a time zone it is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    # not by subtraction: the difference of two pendulum moments cannot be divided
    return timegm(aware.utctimetuple()) * 1000 - -aware.microsecond // 1000


def iso(epoch_ms: int) -> str:
    """Return a time as text, such as ``2026-11-22T00:00:00.000+00:00``."""
    return (_EPOCH + timedelta(milliseconds=epoch_ms)).isoformat(timespec="milliseconds")


def instant_ms(value: Any, name: str) -> int | None:
    """Read a time as people and templates write it: epoch ms, rounded up, or ``None`` if it is absent."""
    if is_absent(value):
        return None
    if isinstance(value, date):
        return _date_ms(value)
    if isinstance(value, str) and not _DIGITS.fullmatch(value.strip()):
        return _parse_iso(value.strip(), name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigurationError(f"{name} must be a time: datetime, ISO text or epoch ms; got {value!r:.60}.")
    return _epoch_ms(value, name)


def duration_s(value: Any, name: str) -> float | None:
    """Read a duration in seconds, or ``None`` if it is absent."""
    if is_absent(value):
        return None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        try:
            seconds = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = float("nan")
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{name} must be seconds (0 or more) or a timedelta; got {value!r:.60}.")
    return seconds


def _parse_iso(text: str, name: str) -> int:
    try:
        moment = pendulum.parse(text, exact=True)
    except ValueError as error:
        raise ConfigurationError(f"{name} must be ISO text or epoch ms; got {text!r:.60}.") from error
    if not isinstance(moment, date) or text == "now":  # "now" and a bare "12:00" would differ on every try
        raise ConfigurationError(f"{name} must be one moment with its date, and no duration; got {text!r:.60}.")
    return _date_ms(moment)


def _date_ms(value: date) -> int:
    if isinstance(value, datetime):
        return to_ms(value)
    return to_ms(datetime(value.year, value.month, value.day, tzinfo=timezone.utc))


def _epoch_ms(value: float | str, name: str) -> int:
    number = int(value) if isinstance(value, int | str) else value
    if number != number or number < 0 or number > _MAX_MS:  # noqa: PLR0124 - nan is not itself
        raise ConfigurationError(f"{name} must be epoch ms between 1970 and 9999; got {value!r:.60}.")
    if 0 < number < _SECONDS_END:
        raise ConfigurationError(f"{name} = {value} looks like seconds: use epoch milliseconds.")
    return -int(-number // 1)
