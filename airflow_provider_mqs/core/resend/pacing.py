"""How fast a resend goes, and when it gives up: rate limit, throttling, circuit breaker. Callers pass the clock."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)
# bad messages come in small numbers; a service that is down fails all of them
BREAKER = 20
"""How many failures in a row end the sending."""


@dataclass(slots=True)
class Pacer:
    """Lets messages pass evenly spaced, ``max_rate`` a second; without one, at once."""

    max_rate: float | None
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _next_at: float = field(default=0.0, init=False)

    async def wait(self) -> None:
        """Wait until the next message may pass."""
        if self.max_rate is None:
            return
        now_s = self.monotonic()
        turn = max(now_s, self._next_at)
        self._next_at = turn + 1 / self.max_rate
        if turn > now_s:
            await self.sleep(turn - now_s)


@dataclass(slots=True)
class Throttle:
    """
    Limits how many messages are in flight: half as many when the service is asked too often, then slowly more again.

    Additive increase, multiplicative decrease, as TCP does it.
    """

    most: int
    """The limit at the beginning, and never exceeded."""
    monotonic: Callable[[], float]
    limit: float = field(init=False)
    _lowest: float = field(init=False)
    _out: int = field(default=0, init=False)
    _slowed_at: float = field(default=float("-inf"), init=False)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.limit = self._lowest = float(self.most)

    async def enter(self) -> None:
        """Wait until one more message may be in flight."""
        while self._out + 1 > self.limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._out += 1

    def leave(self, *, sent: bool) -> None:
        """Make room for another message; one that went through widens the limit a little."""
        self._out -= 1
        if sent and self.limit < self.most:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
        if not self._waiting:
            return
        room = int(self.limit) - self._out
        while self._waiting and room > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    def slow_down(self) -> None:
        """Halve the limit, once a second at most."""
        now_s = self.monotonic()
        # answers to requests that were already on their way say nothing new
        if now_s - self._slowed_at < 1:
            return
        self._slowed_at = now_s
        self.limit = max(1.0, self.limit / 2)
        if self.limit < self._lowest:  # a limit that moves up and down says nothing new
            self._lowest = self.limit
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
