"""Parts of a time window, and what the service shows of one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.values.time_window import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.core.values.message import Message, Page, Row, Rows

CAP = 500
"""Rows that a query over all partitions shows at most (the vendor's user guide for Kafka queries)."""
FULL = 400
"""Rows that a part of a cut slice should hold: enough below the cap for an uneven spread."""
_MOST_PARTS = 32


@dataclass(frozen=True, slots=True)
class Slice:
    """
    A part of the window, asked for by itself.

    :param start_ms: first millisecond
    :param end_ms: the millisecond behind the last
    :param partition: only this one, ``None`` for all
    :param counts_end: whether the service is known to count the end of a range in, so that it is asked for one less
    """

    start_ms: int
    end_ms: int
    partition: int | None = None
    counts_end: bool = False

    @property
    def asked_end_ms(self) -> int:
        """The ``end_time`` to ask for."""
        return self.end_ms - 1 if self.counts_end else self.end_ms

    def cut(self, parts: int) -> Iterator[Slice]:
        """
        Cut it in time.

        :param parts: how many at most; no part is shorter than a millisecond
        :return: the parts, in order
        """
        width = self.end_ms - self.start_ms
        edges = sorted({self.start_ms + width * part // parts for part in range(parts + 1)})
        for start_ms, end_ms in pairwise(edges):
            yield replace(self, start_ms=start_ms, end_ms=end_ms)

    def inside(self, rows: Rows) -> Rows:
        """
        Leave out what is asked for, but not wanted.

        :param rows: of an answer
        :return: those whose time is inside
        """
        start_ms, end_ms = self.start_ms, self.end_ms
        return [row for row in rows if start_ms <= row.timestamp < end_ms]

    def __str__(self) -> str:
        only = "" if self.partition is None else f" of partition {self.partition}"
        return f"{iso(self.start_ms)} .. {iso(self.end_ms)}{only}"


@dataclass(slots=True)
class Shown:
    """
    What the service showed of a slice in one pass.

    :param total: the largest ``total`` of its pages
    :param rows: the different rows of its pages, those of the next millisecond included
    :param capped: whether there may be more rows than it would show
    :param kept: the rows themselves, only where asked for
    """

    total: int = 0
    rows: OffsetAccumulator = field(default_factory=OffsetAccumulator)
    capped: bool = False
    kept: list[Row | Message] | None = None

    @property
    def whole(self) -> bool:
        """Whether every row was shown."""
        return not self.capped and self.rows.unique() >= self.total

    def parts(self, width_ms: int) -> int:
        """
        Say into how many parts the slice should be cut, so that each is shown whole.

        Where the total may be cut, too, it is guessed by how close together the first rows are. That is right where
        rows are evenly spread; a burst looks like very many rows, and each empty part costs a request.

        :param width_ms: of the slice
        :return: at least two
        """
        if self.total != CAP:
            return max(2, -(-self.total // FULL))
        wanted = max(2, -(-self.rows.unique() * width_ms // (self.rows.span_ms * FULL)))
        levels = -(-wanted // _MOST_PARTS)
        return max(2, -(-wanted // levels))

    def add(self, page: Page) -> None:
        """
        Count a page.

        :param page: any page of the slice
        """
        self.total = max(self.total, page.total)
        self.rows.update(page.rows)
        if self.kept is not None:
            self.kept.extend(page.rows)
