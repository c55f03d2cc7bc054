"""The rate limit, the throttling and the circuit breaker, on a clock that only sleeping moves."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_mqs.core.resend.pacing import Breaker, Pacer, Throttle


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_messages_pass_evenly_spaced() -> None:
    """The first at once, each further one a tenth of a second later, at ten a second."""
    clock, passed = Clock(), []
    pacer = Pacer(10, clock, clock.sleep)

    for _ in range(5):
        await pacer.wait()
        passed.append(round(clock.now, 6))

    assert passed == [100.0, 100.1, 100.2, 100.3, 100.4]


async def test_workers_share_the_rate() -> None:
    """Those who ask at the same moment get different turns."""
    turns: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)

    pacer = Pacer(4, lambda: 50.0, sleep)
    await asyncio.gather(*(pacer.wait() for _ in range(5)))

    assert turns == [0.25, 0.5, 0.75, 1.0]


async def test_time_that_was_not_used_is_not_made_up_for() -> None:
    """After a pause there is no burst."""
    clock, passed = Clock(), []
    pacer = Pacer(10, clock, clock.sleep)

    for pause in (0, 60, 0):
        clock.now += pause
        await pacer.wait()
        passed.append(round(clock.now, 6))

    assert passed == [100.0, 160.0, 160.1]


async def test_without_a_limit_nobody_waits() -> None:
    """The clock is not even looked at."""
    await Pacer(None, lambda: pytest.fail("looked at the clock")).wait()


async def test_throttling_halves_what_is_in_flight_once_a_second() -> None:
    """Answers to requests that were already on their way say nothing new."""
    clock = Clock()
    throttle = Throttle(16, clock)

    throttle.slow_down()
    throttle.slow_down()
    assert throttle.limit == 8
    for expected in (4, 2, 1, 1):
        clock.now += 1
        throttle.slow_down()
        assert throttle.limit == expected


async def test_successes_widen_it_again_up_to_the_limit() -> None:
    """Additive increase: one more for a whole round of successes."""
    throttle = Throttle(4, Clock())
    throttle.slow_down()

    for _ in range(20):
        await throttle.enter()
        throttle.leave(sent=True)

    assert throttle.limit == 4


async def test_room_that_was_won_back_is_used() -> None:
    """All who wait may go on, not only one for each that leaves."""
    throttle = Throttle(4, Clock())
    throttle.slow_down()
    await throttle.enter()
    await throttle.enter()
    waiting = [asyncio.ensure_future(throttle.enter()) for _ in range(3)]
    await asyncio.sleep(0)

    throttle.limit = 4.0
    throttle.leave(sent=True)
    await asyncio.sleep(0)

    assert [one.done() for one in waiting] == [True, True, True]


def test_limit_is_logged_only_when_it_is_lower_than_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A service that throttles now and then for an hour does not fill the log."""
    clock = Clock()
    throttle = Throttle(16, clock)

    for _ in range(100):
        clock.now += 1
        throttle.slow_down()
        throttle.limit = 16.0

    assert len(caplog.records) == 1


async def test_who_finds_no_room_waits_for_the_next_to_leave() -> None:
    """A failure makes room, too, but widens nothing."""
    throttle = Throttle(1, Clock())
    await throttle.enter()
    waiting = asyncio.ensure_future(throttle.enter())
    await asyncio.sleep(0)
    assert not waiting.done()

    throttle.leave(sent=False)
    await waiting

    assert throttle.limit == 1


def test_the_breaker_opens_after_failures_in_a_row() -> None:
    """A success starts the count again."""
    breaker = Breaker(3)

    assert [breaker.note(sent=sent) for sent in (False, False, True, False, False, False)] == [False] * 5 + [True]
