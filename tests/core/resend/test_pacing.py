"""The rate limit and the progress lines, on a clock that only sleeping moves."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.resend.pacing import Breaker, Meter, Pacer, Throttle
from airflow_provider_mqs.core.resend.report import Report


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


def test_progress_is_written_every_five_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """A line says what was done, how fast, and how long it will take."""
    clock, report = Clock(), Report(Account({0: ((0, 99),)}))
    meter = Meter(report, clock)

    with caplog.at_level(logging.INFO):
        for offset in range(20):
            clock.now += 0.5
            if offset == 4:
                report.account.mark_failed(Failure(0, offset, "", "No.", "", unknown=False))
            else:
                report.account.mark_sent((0, offset))
            meter.tick()

    assert [record.getMessage() for record in caplog.records] == [
        f"{sent} of 100 messages sent, 0 already sent, 1 failed, 0 unknown, {left} not attempted; "
        f"2.0 messages/s, about {left // 2} s to go"
        for sent, left in ((9, 90), (19, 80))
    ]


def test_progress_without_a_message_has_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is divided by zero before the first outcome."""
    clock = Clock()
    meter = Meter(Report(Account({0: ((0, 4),)})), clock)
    assert (meter.rate, meter.elapsed_s) == (0.0, 0.0)

    clock.now += 6
    with caplog.at_level(logging.INFO):
        meter.tick()

    assert "0.0 messages/s, about 0 s to go" in caplog.text


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
    """A success begins the count anew."""
    breaker = Breaker(3)

    assert [breaker.note(sent=sent) for sent in (False, False, True, False, False, False)] == [False] * 5 + [True]
