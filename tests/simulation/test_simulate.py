"""Whole schedules: they repeat exactly, and simple ones end well. ``make simulate`` tries many."""

from __future__ import annotations

import pytest

from simulation.schedule import Fault, Machine, Run, Schedule, Strike, Written, draw
from simulation.simulate import simulate


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_repeats_a_run_exactly(seed: int) -> None:
    """What happens, when, and what is said about it are the same, to the microsecond."""
    first, second = simulate(draw(seed)), simulate(draw(seed))

    assert first.log == second.log
    assert [one.report for one in first.facts.resent] == [one.report for one in second.facts.resent]


def test_a_schedule_without_trouble_sends_everything_once() -> None:
    """The world of the simulation is sound: what should work does."""
    messages = tuple(Written(-10_000.0 + number, 0, f"m{number:03}", "k") for number in range(4))
    outcome = simulate(Schedule(1, messages=messages, runs=(Run("A", 1.0, -10_800.0, -7_200.0),)))

    report = outcome.facts.resent[0].report
    assert outcome.violations == []
    assert report is not None
    assert (report["sent"], report["verified"]) == (4, True)


def test_a_killed_sender_is_followed_by_its_next_try() -> None:
    """A kill behind a POST leaves a doubt, which the next try settles."""
    messages = tuple(Written(-10_000.0 + number, 0, f"m{number:03}", "k") for number in range(6))
    kill = Fault("A-resend0-1", "after", "post", 3, Strike("kill"))
    outcome = simulate(
        Schedule(
            1, messages=messages, runs=(Run("A", 1.0, -10_800.0, -7_200.0),), faults=(kill,), machines=(Machine(),)
        )
    )

    killed, resumed = outcome.facts.resent[:2]
    assert killed.killed
    assert resumed.in_doubt
    assert resumed.succeeded
    assert outcome.violations == []
