"""The shrinker keeps what matters, and drops the rest."""

from __future__ import annotations

from simulation.schedule import Schedule, draw
from simulation.shrink import shrink


def test_only_what_is_needed_is_left() -> None:
    """Of a big schedule, the one message that makes the difference remains, and no fault."""
    schedule = next(one for one in map(draw, range(100)) if len(one.messages) > 6 and one.faults)
    needed = schedule.messages[3].value

    def still(smaller: Schedule) -> bool:
        return any(message.value == needed for message in smaller.messages)

    small = shrink(schedule, still)

    assert [message.value for message in small.messages] == [needed]
    assert small.faults == small.runs == ()
