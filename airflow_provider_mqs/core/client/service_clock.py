"""
What time it is at the service, between two bounds, whatever this machine's clock says.

Leases, the time of a copy, and the moment from which a message counts as not sent are all told in the service's time:
it is the only clock that all machines see. Each answer carries it in its ``Date`` header, in whole seconds. An answer
with date D that was asked for at a and came at b, on our monotonic clock, means that at a later t the service's clock
is between ``D + (t - b)`` and ``D + 1 s + (t - a)``. The best bounds of all answers hold. They drift apart by
``DRIFT``, since no two clocks run at the same speed. If an answer contradicts them, the service's clock was set, and
they start anew from that answer.

In order, what is believed:

1. The ``Date`` of the service's answers. That of a 5xx or a 407 counts under 2: a gateway or proxy that answers in the
   service's place has a clock of its own. That of an answer from a cache (``Age``) is old.
2. What else was dated while we waited: the timestamp of a copy.
3. The clock of IAM, which is another machine: the ``Date`` of a login, or when its token was issued.
4. Nothing is known: this machine's clock, give or take an hour.

A machine that was suspended may have a monotonic clock that stood still; the next answer contradicts the bounds.
"""

from __future__ import annotations

import time
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from math import ceil, floor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.flow import Response

# NTP slews a clock by at most 500 ppm, and both may be slewed
DRIFT: Final = 0.001
_SLOW, _FAST = 1000 * (1 - DRIFT), 1000 * (1 + DRIFT)
"""What the slowest and the fastest clock show after a second, in milliseconds."""
_SERVER_ERROR, _PROXY = HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
_UNKNOWN_MS: Final = 3_600_000.0
"""How wrong this machine's clock may be if it is all we have."""


class ServiceClock:
    """
    The service's clock.

    ``monotonic`` is the clock that bounds are kept on; in a coroutine, that of its loop. ``wall`` is this machine's
    clock, in epoch seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.monotonic = monotonic
        self.wall = wall
        self.fallback: ServiceClock | None = None
        """Believed as long as nothing is known of the service itself."""
        self._bounds_ms: tuple[float, float] | None = None  # at 0 of the monotonic clock
        self._has_date = False
        self._before_ms: tuple[float, float] | None = None  # how far ahead of ours it was before it was set

    @property
    def set_ms(self) -> int:
        """How far it was from what it is now, at most, if it was set while we watched; else 0."""
        if self._before_ms is None:
            return 0
        ours_ms, (low_ms, high_ms) = self.monotonic() * 1000, self._now_ms()
        return ceil(max(high_ms - ours_ms - self._before_ms[0], self._before_ms[1] + ours_ms - low_ms, 0))

    @property
    def known(self) -> bool:
        """Whether the time comes from the service, and not from this machine."""
        return self._bounds_ms is not None or (self.fallback is not None and self.fallback.known)

    def earliest_ms(self) -> int:
        """Return the earliest time that it may be at the service, epoch ms."""
        if self._bounds_ms is not None:  # asked before each POST
            return floor(self._bounds_ms[0] + self.monotonic() * _SLOW)
        return floor(self._now_ms()[0])

    def latest_ms(self) -> int:
        """Return the latest time that it may be at the service, epoch ms."""
        return ceil(self._now_ms()[1])

    def now_ms(self) -> int:
        """Return the middle of both, epoch ms."""
        return round(sum(self._now_ms()) / 2)

    def note_answer(self, response: Response, asked_s: float, answered_s: float) -> None:
        """Learn from the ``Date`` of an answer, if it has one."""
        headers = response.headers
        date_ms = http_date_ms(headers.get("date", ""))
        if date_ms is None or ("age" in headers and headers["age"].strip() != "0"):
            return
        of_service = response.status < _SERVER_ERROR and response.status != _PROXY
        if of_service and not self._has_date:
            self._has_date, self._bounds_ms = True, None
        if of_service or not self._has_date:
            self._narrow(date_ms, date_ms + 1000, asked_s, answered_s)

    def note_copy(self, timestamp_ms: int, asked_s: float, answered_s: float) -> None:
        """Learn from the timestamp of a copy that one POST made, if no answer has a ``Date``."""
        self.note(timestamp_ms, timestamp_ms + 1, asked_s, answered_s)

    def note(self, earliest_ms: float, latest_ms: float, asked_s: float, answered_s: float) -> None:
        """Learn that the service's clock was between two times while we waited, if no answer has a ``Date``."""
        if not self._has_date:
            self._narrow(earliest_ms, latest_ms, asked_s, answered_s)

    def _narrow(self, earliest_ms: float, latest_ms: float, asked_s: float, answered_s: float) -> None:
        low_ms, high_ms = bounds = earliest_ms - answered_s * _SLOW, latest_ms - asked_s * _FAST
        if self._bounds_ms is not None:
            before_low_ms, before_high_ms = self._bounds_ms
            low_ms = max(low_ms, before_low_ms)
            high_ms = min(high_ms, before_high_ms)
            if low_ms + answered_s * _SLOW <= high_ms + answered_s * _FAST:
                bounds = low_ms, high_ms
            else:
                low_ms = before_low_ms + answered_s * (_SLOW - 1000)
                high_ms = before_high_ms + answered_s * (_FAST - 1000)
                if self._before_ms is not None:
                    low_ms, high_ms = min(low_ms, self._before_ms[0]), max(high_ms, self._before_ms[1])
                self._before_ms = low_ms, high_ms
        self._bounds_ms = bounds

    def _now_ms(self) -> tuple[float, float]:
        if self._bounds_ms is not None:
            now_s = self.monotonic()
            return self._bounds_ms[0] + now_s * _SLOW, self._bounds_ms[1] + now_s * _FAST
        if self.fallback is not None and self.fallback.known:
            return self.fallback._now_ms()  # noqa: SLF001 - another clock of this class
        wall_ms = self.wall() * 1000
        return wall_ms - _UNKNOWN_MS, wall_ms + _UNKNOWN_MS


@lru_cache(maxsize=8)  # all answers of a second have the same
def http_date_ms(text: str) -> int | None:
    """Read a date of an HTTP header as epoch ms; ``None`` if it is none."""
    try:
        date = parsedate_to_datetime(text)
        # "-0000" means UTC as well, but comes without a time zone
        return round((date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
