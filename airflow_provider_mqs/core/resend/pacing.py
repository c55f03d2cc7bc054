"""How fast, and how far: rate limit, throttling, brakes and progress of a resend. The clock is given."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_mqs.core.resend.report import Report

_log = logging.getLogger(__name__)
_EVERY_S = 5.0
BREAKER = 20
"""So many failures in a row mean that the service is down, not that messages are bad."""


@dataclass(slots=True)
class Pacer:
    """
    Lets one message pass at a time, evenly spaced.

    :param max_rate: messages a second, ``None`` for no limit
    :param clock: monotonic seconds
    :param sleep: waits for a number of seconds
    """

    max_rate: float | None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _next_at: float = field(default=0.0, init=False)

    async def wait(self) -> None:
        """Wait for one's turn; without a limit, not at all."""
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
    Says how many messages may be in flight: half as many when the service is asked too often, then slowly more again.

    Additive increase, multiplicative decrease, as TCP does it.

    :param most: upper limit, also the beginning
    :param clock: monotonic seconds
    """

    most: int
    clock: Callable[[], float] = time.monotonic
    limit: float = field(init=False)
    _out: int = field(default=0, init=False)
    _slowed_at: float = field(default=float("-inf"), init=False)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    async def enter(self) -> None:
        """Wait until there is room for one more in flight."""
        while self._out >= int(self.limit):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._out += 1

    def leave(self, *, sent: bool) -> None:
        """
        Make room.

        :param sent: whether the message went through
        """
        self._out -= 1
        if sent:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
        while self._waiting and self._out < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def slow_down(self) -> None:
        """Halve the number in flight, once a second at most: answers to what was already on its way say nothing new."""
        now = self.clock()
        if now - self._slowed_at >= 1:
            self._slowed_at = now
            self.limit = max(1.0, self.limit / 2)
            _log.warning("The service asks for fewer requests: %d messages in flight from now on.", int(self.limit))


@dataclass(slots=True)
class Breaker:
    """
    Counts failures in a row.

    :param most: so many open it
    """

    most: int = BREAKER
    _row: int = field(default=0, init=False)

    def note(self, *, sent: bool) -> bool:
        """
        Count an outcome.

        :param sent: whether the message went through
        :return: whether it is time to stop
        """
        self._row = 0 if sent else self._row + 1
        return self._row >= self.most


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a resend is, as a ``brake`` sees it.

    :param requested: messages of the plan
    :param sent: surely sent, by this try and earlier ones
    :param already_sent: sent by other runs
    :param failed: surely not sent
    :param unknown: may have been sent
    :param not_attempted: what is left
    :param elapsed_s: seconds since the sending began
    :param rate: messages a second
    """

    requested: int
    sent: int
    already_sent: int
    failed: int
    unknown: int
    not_attempted: int
    elapsed_s: float
    rate: float


@dataclass(slots=True)
class Meter:
    """
    Measures a running resend, and writes a line about it every five seconds at most.

    :param report: what has happened so far
    :param clock: monotonic seconds
    """

    report: Report
    clock: Callable[[], float] = time.monotonic
    _started_at: float = field(init=False)
    _said_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._started_at = self._said_at = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._started_at

    @property
    def rate(self) -> float:
        """Messages a second since the beginning."""
        return self.report.attempted / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def progress(self) -> Progress:
        """
        Take a reading.

        :return: the progress at this moment
        """
        one = self.report
        return Progress(
            one.requested,
            one.sent,
            one.already_sent,
            one.failed,
            one.unknown,
            one.not_attempted,
            self.elapsed_s,
            self.rate,
        )

    def tick(self) -> None:
        """Write a line, if the last one is old enough."""
        if self.clock() - self._said_at < _EVERY_S:
            return
        self._said_at = self.clock()
        seconds = self.report.not_attempted / self.rate if self.rate else 0
        _log.info("%s; %.1f messages/s, about %d s to go", self.report.counts(), self.rate, seconds)
