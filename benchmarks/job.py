"""What a contestant is told to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.shape import END_MS, IN_FLIGHT, PAGE_SIZE, MessageRef, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Job:
    """
    One measurement of one contestant.

    :param contestant: a name in ``CONTESTANTS``
    :param shape: what the service holds
    :param concurrency: requests in flight, for those that can
    :param ordering: of a resend
    :param verify: whether a resend looks for its copies
    :param durable: whether a resend keeps a ledger
    :param end_ms: where the window ends
    :param url: of the service
    :param folder: for ledgers
    """

    contestant: str
    shape: Shape
    concurrency: int = IN_FLIGHT
    ordering: str = "none"
    verify: bool = False
    durable: bool = True
    end_ms: int = END_MS
    url: str = ""
    folder: str = ""

    @property
    def pages(self) -> Iterator[int]:
        """The ``offset`` of each page."""
        first, step = {"row": (0, PAGE_SIZE), "page0": (0, 1), "page1": (1, 1)}[self.shape.paging]
        return iter(range(first, first + self.shape.pages * step, step))


@dataclass(frozen=True, slots=True)
class Haul:
    """
    What came of the work.

    :param places: what was read; empty for a resend, which the service itself counts
    :param xcom: what a task would push
    """

    places: list[MessageRef] = field(default_factory=list)
    xcom: Any = None
