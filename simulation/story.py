"""A schedule and what became of it, in plain sentences."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from simulation.schedule import HOUR_S, Machine, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.schedule import Schedule
    from simulation.simulate import Outcome

_PLAIN = {one.name: one.default for one in fields(Run)}


def story(schedule: Schedule, outcome: Outcome) -> str:
    """Tell it."""
    return "\n".join([*_cast(schedule), "", *_events(outcome), "", *_end(outcome)])


def _cast(schedule: Schedule) -> Iterator[str]:
    before = sum(one.at_s <= 0 for one in schedule.messages)
    yield (
        f"Schedule {schedule.seed}. The topic has {schedule.partitions} partition(s) and holds {before} messages; "
        f"{len(schedule.messages) - before} more come while it runs. Replays are kept in {schedule.stores} store(s)."
    )
    for name, value in schedule.behaviour:
        yield f"The service has {name} = {value!r}."
    for number, machine in enumerate(schedule.machines):
        if machine != Machine():
            jump = (
                ""
                if machine.jump_at_s is None
                else f" and jumps by {machine.jump_s:+.0f} s at {machine.jump_at_s:.1f} s"
            )
            yield f"The clock of host{number} is {machine.ahead_s:+.0f} s off, drifts by {machine.drift:+g}{jump}."
    for run in schedule.runs:
        kind = "Somebody calls the command" if run.command else "A DAG run"
        options = [
            f"{name}={getattr(run, name)!r}"
            for name, plain in _PLAIN.items()
            if name not in {"name", "at_s", "start_s", "end_s", "command"} and getattr(run, name) != plain
        ]
        yield (
            f"{run.name}: {kind} at {run.at_s:.3f} s, for the messages from {run.start_s / HOUR_S:+.2f} h to "
            f"{run.end_s / HOUR_S:+.2f} h; {', '.join(options) or 'no options'}."
        )
    for fault in schedule.faults:
        lasts = f" ({fault.strike.seconds:g} s)" if fault.strike.seconds else ""
        yield f"{fault.process}: {fault.strike.what}{lasts} {fault.strike.whom} {fault.phase} {fault.kind} {fault.nth}."


def _events(outcome: Outcome) -> Iterator[str]:
    for when_s, who, what in outcome.log:
        yield f"{when_s:10.3f} s  {who} {what}"


def _end(outcome: Outcome) -> Iterator[str]:
    for violation in outcome.violations:
        yield f"VIOLATION ({violation.check}): {violation.sentence}."
    for sentence in outcome.exempt:
        yield f"Nobody can promise this away: {sentence}."
    if not outcome.violations:
        yield "Nothing happened that must not happen."
