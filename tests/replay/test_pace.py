"""The rate limit and the progress lines, on a clock that only sleeping moves."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_provider_mqs.models.report import Failure, Report
from airflow_provider_mqs.replay.pace import Pacer, Progress


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
    clock, report = Clock(), Report(requested=100)
    progress = Progress(report, clock)

    with caplog.at_level(logging.INFO):
        for offset in range(20):
            clock.now += 0.5
            if offset == 4:
                report.add_failure(Failure(0, offset, "", "No.", "", unknown=False))
            else:
                report.add_sent(0, offset)
            progress.tick()

    assert [record.getMessage() for record in caplog.records] == [
        "9 of 100 sent, 1 failed, 0 unknown; 2.0 messages/s, about 45 s to go",
        "19 of 100 sent, 1 failed, 0 unknown; 2.0 messages/s, about 40 s to go",
    ]


def test_progress_without_a_message_has_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is divided by zero before the first outcome."""
    clock = Clock()
    progress = Progress(Report(requested=5), clock)
    assert (progress.rate, progress.elapsed_s) == (0.0, 0.0)

    clock.now += 6
    with caplog.at_level(logging.INFO):
        progress.tick()

    assert "0.0 messages/s, about 0 s to go" in caplog.text
