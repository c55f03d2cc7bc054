"""What the demo prints: a line for each change of state, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

STARTED = time.monotonic()
HEADINGS = ("interval (UTC)", "found", "sent", "seconds")
SHOWN = {"running", "success", "skipped", "failed", "upstream_failed", "up_for_retry"}


@dataclass(frozen=True)
class Interval:
    """One hour, and what its run did."""

    start: datetime
    found: int
    sent: int
    seconds: float

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        end = self.start + timedelta(hours=1)
        hours = f"{self.start:%Y-%m-%d %H:%M} to {end:%H:%M}"
        return hours, str(self.found), str(self.sent), f"{self.seconds:.1f}"


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


def table(intervals: Iterable[Interval]) -> str:
    """Lay out the table; numbers are aligned to the right."""
    rows: list[Sequence[str]] = [HEADINGS, *(interval.row for interval in intervals)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


class Changes:
    """Prints the states of tasks, each once."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], str] = {}

    def show(self, interval: str, task: str, state: str | None) -> None:
        """Print the state of a task if it is a new one, and of interest."""
        if state not in SHOWN or self._last.get((interval, task)) == state:
            return
        self._last[interval, task] = state
        say(f"  {interval}  {task:<8} {state}")
