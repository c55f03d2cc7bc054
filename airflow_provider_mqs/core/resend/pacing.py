"""How fast, and how far: rate limit, throttling, circuit breaker and progress of a resend. Callers pass the clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.account import Counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_mqs.core.resend.report import Report

_log = logging.getLogger(__name__)
_LOG_EVERY_S = 5.0
# bad messages come in small numbers; a service that is down fails all of them
BREAKER = 20
"""How many failures in a row end the sending."""


@dataclass(slots=True)
class Pacer:
    """Lets messages pass evenly spaced, ``max_rate`` a second; without one, at once."""

    max_rate: float | None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _next_at: float = field(default=0.0, init=False)

    async def wait(self) -> None:
        """Wait until the next message may pass."""
        if self.max_rate is None:
            return
        now = self.clock()
        turn = max(now, self._next_at)
        self._next_at = turn + 1 / self.max_rate
        if turn > now:
            await self.sleep(turn - now)


@dataclass(slots=True)
class Throttle:
    """
    Limits how many messages are in flight: half as many when the service is asked too often, then slowly more again.

    Additive increase, multiplicative decrease, as TCP does it.
    """

    most: int
    """The limit at the beginning, and never exceeded."""
    clock: Callable[[], float] = time.monotonic
    limit: float = field(init=False)
    _out: int = field(default=0, init=False)
    _slowed_at: float = field(default=float("-inf"), init=False)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    async def enter(self) -> None:
        """Wait until one more message may be in flight."""
        while self._out >= int(self.limit):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._out += 1

    def leave(self, *, sent: bool) -> None:
        """Make room for another message; one that went through widens the limit a little."""
        self._out -= 1
        if sent:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
        while self._waiting and self._out < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def slow_down(self) -> None:
        """Halve the limit, once a second at most."""
        now = self.clock()
        # answers to requests that were already on their way say nothing new
        if now - self._slowed_at >= 1:
            self._slowed_at = now
            self.limit = max(1.0, self.limit / 2)
            _log.warning("The service asks for fewer requests: %d messages in flight from now on.", int(self.limit))


@dataclass(slots=True)
class Breaker:
    """A circuit breaker: counts failures in a row."""

    most: int = BREAKER
    _row: int = field(default=0, init=False)

    def note(self, *, sent: bool) -> bool:
        """Count an outcome, and return whether it is time to stop."""
        self._row = 0 if sent else self._row + 1
        return self._row >= self.most


@dataclass(frozen=True)
class Progress(Counts):
    """
    How far a resend is, as a ``brake`` sees it.

    :param requested: messages of the plan
    :param sent: surely sent, by this try and earlier ones
    :param already_sent: sent by other runs
    :param failed: surely not sent
    :param unknown: may have been sent
    :param not_attempted: everything else
    :param elapsed_s: seconds since the sending began
    :param rate: messages a second
    """

    elapsed_s: float
    rate: float


@dataclass(slots=True)
class Meter:
    """Measures a running resend, and logs its progress every five seconds at most."""

    report: Report
    clock: Callable[[], float] = time.monotonic
    _started_at: float = field(init=False)
    _logged_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._started_at = self._logged_at = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._started_at

    @property
    def rate(self) -> float:
        """Messages a second whose outcome this try has found, whichever it is."""
        counts = self.report.counts
        found = self.report.account.sent_now + counts.failed + counts.unknown
        return found / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def progress(self) -> Progress:
        """Return the progress at this moment."""
        return Progress(**asdict(self.report.counts), elapsed_s=self.elapsed_s, rate=self.rate)

    def tick(self) -> None:
        """Log the progress, if the last line is old enough."""
        if self.clock() - self._logged_at < _LOG_EVERY_S:
            return
        self._logged_at = self.clock()
        counts, rate = self.report.counts, self.rate
        _log.info("%s; %.1f messages/s, about %d s to go", counts, rate, counts.not_attempted / rate if rate else 0)
