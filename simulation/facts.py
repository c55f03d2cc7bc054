"""What the oracle looks at: what each task was asked to do, when it ran, and what it said in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.schedule import Run
    from simulation.service import Ref


@dataclass(slots=True)
class Resent:
    """One execution of a resend."""

    process: str
    task: str
    """The task instance; with its tries it is one wish of the user."""
    wish: int
    """Grows when somebody clears the task, which is another wish."""
    run: Run
    document: dict[str, Any]
    planned: frozenset[Ref]
    began_s: float
    ended_s: float | None = None
    report: dict[str, Any] | None = None
    error: str = ""
    error_type: str = ""
    killed: bool = False
    overdue: bool = False
    """Whether it was killed because it did not stop when it was asked to."""
    stopped_s: float | None = None
    orphaned_s: float | None = None
    was_paused: bool = False
    in_doubt: frozenset[Ref] = frozenset()
    """What was in doubt when it began."""

    @property
    def succeeded(self) -> bool:
        """Whether everything was sent, as far as it says."""
        report = self.report
        if report is None or self.error:
            return False
        return not (report["failed"] + report["unknown"] + report["not_attempted"])

    @property
    def unknown(self) -> set[Ref]:
        """What it says that nobody can know."""
        failures = self.report["failures"] if self.report else ()
        return {(one["partition"], one["message_offset"]) for one in failures if one["outcome"] == "unknown"}

    def tell(self, process: Process) -> None:
        """Note what the process has been through."""
        self.stopped_s, self.orphaned_s, self.was_paused = process.stopped_s, process.orphaned_s, process.was_paused


@dataclass(slots=True)
class Queried:
    """One execution of a query."""

    process: str
    start_ms: int
    end_ms: int
    began_s: float
    ended_s: float | None = None
    refs: frozenset[Ref] = frozenset()
    complete: bool = False
    excluded: int = 0
    error: str = ""


@dataclass(slots=True)
class Sensed:
    """One sensor's decision."""

    process: str
    start_ms: int
    end_ms: int
    least: int
    began_s: float
    ended_s: float = 0.0
    status: str = ""


@dataclass(slots=True)
class Published:
    """One event of the watcher."""

    at_s: float
    refs: frozenset[Ref]
    complete: bool


@dataclass(slots=True)
class Facts:
    """Everything that was asked and answered, in the order in which it began."""

    resent: list[Resent] = field(default_factory=list)
    queried: list[Queried] = field(default_factory=list)
    sensed: list[Sensed] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    watched_until_s: float = 0.0
    """The watcher has had the time to publish what came before."""
    stuck: list[str] = field(default_factory=list)
    """What made no progress in the end, although nothing was wrong any more."""
    unsettled: list[str] = field(default_factory=list)
    """Why a query of everything was not complete in the end."""
    healed_s: float = 0.0
    """When the last fault was over."""


def refs_of(ranges: dict[str, list[list[int]]]) -> set[Ref]:
    """Read ranges as reports have them."""
    return {
        (int(partition), offset)
        for partition, pairs in ranges.items()
        for first, last in pairs
        for offset in range(first, last + 1)
    }
