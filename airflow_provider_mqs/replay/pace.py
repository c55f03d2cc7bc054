"""How fast, and how far: the rate limit and the progress lines of a resend. The clock is given."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_mqs.models.report import Report

_log = logging.getLogger(__name__)
_EVERY_S = 5.0


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
class Progress:
    """
    Writes a line about a running resend, every five seconds at most.

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

    def tick(self) -> None:
        """Write a line, if the last one is old enough."""
        if self.clock() - self._said_at < _EVERY_S:
            return
        self._said_at = self.clock()
        report = self.report
        _log.info(
            "%d of %d sent, %d failed, %d unknown; %.1f messages/s, about %d s to go",
            report.sent,
            report.requested,
            report.failed,
            report.unknown,
            self.rate,
            report.not_attempted / self.rate if self.rate else 0,
        )
