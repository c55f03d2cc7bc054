"""What a contestant is asked to do, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.scenario import END_MS, IN_FLIGHT, PAGE_SIZE, MessageRef, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one contestant."""

    contestant: str  # a key of CONTESTANTS
    scenario: Scenario
    concurrency: int = IN_FLIGHT  # requests in flight, if the contestant can have more than one
    ordering: str = "none"  # of a resend, as are verify and durable
    verify: bool = False
    durable: bool = True
    end_ms: int = END_MS  # end of the window
    url: str = ""  # of the service
    folder: str = ""  # for ledgers

    @property
    def pages(self) -> Iterator[int]:
        """The ``offset`` of each page."""
        first, step = {"row": (0, PAGE_SIZE), "page0": (0, 1), "page1": (1, 1)}[self.scenario.paging]
        return iter(range(first, first + self.scenario.pages * step, step))


@dataclass(frozen=True, slots=True)
class Output:
    """What the work returned."""

    refs: list[MessageRef] = field(default_factory=list)  # messages read; empty for a resend, which the service counts
    xcom: Any = None  # what a task would push
