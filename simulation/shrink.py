"""
Make a schedule smaller for as long as it shows the same violation: fewer runs, faults and messages, plainer values.

The latencies of a process depend on its name and the seed alone, so what is left behaves as before.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from simulation.schedule import Machine, Run, Schedule
from simulation.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
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
        yield from (_changed(schedule, name, shorter) for shorter in _shorter(held))
    for name, plain in _PLAIN.items():
        if getattr(schedule, name) != plain:
            yield _changed(schedule, name, plain)
    for number, machine in enumerate(schedule.machines):
        calm = replace(machine, jump_at_s=None, drift=0.0)
        yield from (
            _changed(schedule, "machines", _put(schedule.machines, number, one))
            for one in (Machine(), calm)
            if one != machine
        )
    for number, run in enumerate(schedule.runs):
        for name, plain in _PLAIN_RUN.items():
            if getattr(run, name) != plain:
                yield _changed(schedule, "runs", _put(schedule.runs, number, _changed(run, name, plain)))
    for number, one in enumerate(schedule.messages):
        if one.partition:
            yield _changed(schedule, "messages", _put(schedule.messages, number, replace(one, partition=0)))


def _shorter(held: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    size = (len(held) + 1) // 2
    while size:
        yield from (held[:start] + held[start + size :] for start in range(0, len(held), size))
        size //= 2


def _changed(one: T, name: str, value: Any) -> T:
    changes: dict[str, Any] = {name: value}
    return replace(one, **changes)  # type: ignore[type-var]


def _put(held: tuple[Any, ...], number: int, value: Any) -> tuple[Any, ...]:
    return (*held[:number], value, *held[number + 1 :])
