"""
Make a schedule smaller for as long as it shows the same violation: fewer runs, faults and messages, plainer values.

The latencies of a process depend on its name and the seed alone, so what is left behaves as before.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from simulation.schedule import Machine, Run, Schedule
from simulation.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST = 600
"""Simulations for one schedule."""
_PLAIN_RUN = {one.name: one.default for one in fields(Run) if one.name not in {"name", "at_s", "start_s", "end_s"}}
_PLAIN = {
    "changes": (),
    "behaviour": (),
    "store_s": (0.001, 0.02),
    "network_s": (0.005, 0.05),
    "stores": 1,
    "kinds": (),
}


def shows(check: str) -> Callable[[Schedule], bool]:
    """Return a test of whether a schedule shows a violation of this name."""
    return lambda schedule: any(one.check == check for one in simulate(schedule).violations)


def shrink(schedule: Schedule, still: Callable[[Schedule], bool], most: int = MOST) -> Schedule:
    """Return a smaller schedule for which ``still`` holds."""
    left = most
    progress = True
    while progress and left > 0:
        progress = False
        for smaller in _smaller(schedule):
            if left <= 0:
                break
            left -= 1
            if still(smaller):
                schedule, progress = smaller, True
                break
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Yield schedules that are a little smaller, those that save most first."""
    for name in ("runs", "faults", "messages"):
        held: tuple[Any, ...] = getattr(schedule, name)
        size = (len(held) + 1) // 2
        while size:
            for start in range(0, len(held), size):
                yield replace(schedule, **{name: held[:start] + held[start + size :]})
            size //= 2
    for name, plain in _PLAIN.items():
        if getattr(schedule, name) != plain:
            yield replace(schedule, **{name: plain})
    if any(machine != Machine() for machine in schedule.machines):
        yield replace(schedule, machines=(Machine(),) * len(schedule.machines))
        for number, machine in enumerate(schedule.machines):
            if machine != Machine():
                yield replace(schedule, machines=_put(schedule.machines, number, Machine()))
                yield replace(
                    schedule, machines=_put(schedule.machines, number, replace(machine, jump_at_s=None, drift=0.0))
                )
    for number, run in enumerate(schedule.runs):
        for name, plain in _PLAIN_RUN.items():
            if getattr(run, name) != plain:
                yield replace(schedule, runs=_put(schedule.runs, number, replace(run, **{name: plain})))
    for number, one in enumerate(schedule.messages):
        if one.partition:
            yield replace(schedule, messages=_put(schedule.messages, number, replace(one, partition=0)))


def _put(held: tuple[Any, ...], number: int, value: Any) -> tuple[Any, ...]:
    return (*held[:number], value, *held[number + 1 :])
