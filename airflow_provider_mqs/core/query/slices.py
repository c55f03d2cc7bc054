"""
Slices of a time window, and how the pages of one are read.

What a service means by ``offset``, by the end of a range and by its cap is learned from its answers; ``SliceReader``
keeps it for all slices of a window.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.errors import PAGE_SIZE_REFUSED, number_of
from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.client.paging import Paging, paging_of
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.exceptions import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.values.message import Message, Page, Row, Rows

CAP = 500
"""Rows that a query over all partitions shows at most (the vendor's user guide for Kafka queries)."""
_ROWS_PER_PART = 400
"""Rows that a part of a cut slice should hold: enough below the cap for an uneven spread."""
_MOST_PARTS = 32
_SMALL_PAGE = 10
"""Rows of a page that every service accepts: its default if a request names no limit."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the window ``[start_ms, end_ms)``, of all partitions or of one, that is asked for by itself."""

    start_ms: int
    end_ms: int
    partition: int | None = None
    end_inclusive: bool = False
    """Whether the service is known to include the end of a range; the request then ends one millisecond earlier."""

    @property
    def end_time(self) -> int:
        """The ``end_time`` to ask for."""
        return self.end_ms - 1 if self.end_inclusive else self.end_ms

    def cut(self, parts: int) -> Iterator[Slice]:
        """Cut it in time, into at most so many parts; none is shorter than a millisecond."""
        width = self.end_ms - self.start_ms
        edges = sorted({self.start_ms + width * part // parts for part in range(parts + 1)})
        for start_ms, end_ms in pairwise(edges):
            yield replace(self, start_ms=start_ms, end_ms=end_ms)

    def inside(self, rows: Rows) -> Rows:
        """Leave out rows at exactly the end, which the service may include."""
        start_ms, end_ms = self.start_ms, self.end_ms
        return [row for row in rows if start_ms <= row.timestamp < end_ms]

    def __str__(self) -> str:
        only = "" if self.partition is None else f" of partition {self.partition}"
        return f"{iso(self.start_ms)} .. {iso(self.end_ms)}{only}"


@dataclass(slots=True)
class SlicePages:
    """What the service showed of a slice when its pages were read once."""

    total: int = 0
    """The largest ``total`` of the pages."""
    offsets: OffsetAccumulator = field(default_factory=OffsetAccumulator)
    """The offsets of the rows of the pages, including rows at exactly the end."""
    capped: bool = False
    """Whether there may be more rows than the service would show."""
    kept: list[Row | Message] | None = None
    """The rows themselves, only if they were asked for."""

    @property
    def complete(self) -> bool:
        """Whether every row was shown."""
        return not self.capped and self.offsets.unique() >= self.total

    def parts(self, width_ms: int) -> int:
        """
        Estimate how many parts a slice of this width must be cut into for each to be shown completely; at least two.

        A total of exactly the cap may itself be cut off, so it is estimated from how close together the first rows are.
        That is right if rows are evenly spread; a burst looks like very many rows, and each empty part costs a request.
        """
        if self.total != CAP:
            return max(2, -(-self.total // _ROWS_PER_PART))
        wanted = max(2, -(-self.offsets.unique() * width_ms // (self.offsets.span_ms * _ROWS_PER_PART)))
        levels = -(-wanted // _MOST_PARTS)
        return max(2, -(-wanted // levels))

    def add(self, page: Page) -> None:
        """Count a page."""
        self.total = max(self.total, page.total)
        self.offsets.update(page.rows)
        if self.kept is not None:
            self.kept.extend(page.rows)


def query_page(api: MqsApi, topic: str, part: Slice, *, limit: int, offset: int = 0) -> Flow[tuple[Page, int]]:
    """Ask for a page of a slice; if the service refuses its size, ask for fewer rows. Return it and its limit."""
    ask = partial(api.query_page, topic, part.start_ms, part.end_time, offset=offset, partition=part.partition)
    try:
        return (yield from ask(limit=limit)), limit
    except BadRequestError as error:
        if number_of(error.error_code) != PAGE_SIZE_REFUSED or limit <= _SMALL_PAGE:
            raise
    # never more than the owner of the connection allowed
    return (yield from ask(limit=_SMALL_PAGE)), _SMALL_PAGE


class SliceReader:
    """
    Reads the pages of slices of one topic, and passes their rows to ``sink`` as they come, some more than once.

    ``partitions`` are those whose rows are wanted, ``None`` for all if they are not known. With ``total_may_lag`` a
    ``total`` that ends with a full page is not believed, since it may lag the rows.
    """

    def __init__(
        self,
        api: MqsApi,
        topic: str,
        sink: Callable[[Rows], None],
        partitions: Collection[int] | None = None,
        *,
        total_may_lag: bool = False,
    ) -> None:
        self.api = api
        self.topic = topic
        self.partitions = partitions
        self.why_incomplete: list[str] = []
        """A sentence for each part that could not be read completely."""
        self.landmarks: dict[int, Row | Message] = {}
        """A row of each partition that has shown one."""
        self.answered = False
        self._sink = sink
        self._total_may_lag = total_may_lag
        self._limit = api.settings.page_size
        self._paging: Paging | None = None
        self._uncapped = False

    def read_pages(self, part: Slice, *, up_to_cap: bool = False) -> Flow[SlicePages]:
        """Read the pages of a slice once; with ``up_to_cap`` also what is shown of a capped one, and keep the rows."""
        pages = SlicePages(kept=[] if up_to_cap else None)
        first = yield from self._page(part, 0, pages)
        rows = len(first.rows)
        if rows >= first.total or not rows:
            pages.capped = rows >= CAP and not self._uncapped
        else:
            # a service that shows fewer rows than asked for is asked for that many: its pages may count either number
            self._limit = min(self._limit, rows)
            if first.total == CAP and not self._uncapped and not up_to_cap:
                pages.capped = True
            else:
                yield from self._read_further(part, first, pages, up_to_cap=up_to_cap)
        if self._total_may_lag and pages.complete:
            yield from self._read_past_total(part, first, pages)
        return pages

    def deliver(self, rows: Rows) -> None:
        """Pass rows inside the window on."""
        self.landmarks.update({row.partition: row for row in rows})
        self._sink(rows)

    def forget_paging(self) -> None:
        """Find out again what ``offset`` means: rows may have moved while that was found out."""
        self._paging = None

    def _read_further(self, part: Slice, first: Page, pages: SlicePages, *, up_to_cap: bool) -> Flow[None]:
        def read_page(offset: int) -> Flow[None]:
            # returns nothing: the results of a Parallel are kept, and a large window has very many pages
            yield from self._page(part, offset, pages)

        asked = yield from self._learn_paging(part, first, pages)
        if first.total > CAP and not self._uncapped:
            offset = self._meaning.offset_of(-(-CAP // self._limit), self._limit)
            beyond = yield from self._page(part, offset, pages)
            asked.add(offset)
            self._uncapped = bool(beyond.rows)
            pages.capped = not self._uncapped
        if up_to_cap or not pages.capped:
            total = CAP if pages.capped else first.total
            offsets = (offset for offset in self._meaning.offsets(total, self._limit) if offset not in asked)
            yield Parallel(read_page(offset) for offset in offsets)
        pages.capped = pages.capped or (pages.total == CAP and not self._uncapped)

    def _read_past_total(self, part: Slice, first: Page, pages: SlicePages) -> Flow[None]:
        """If the last page is full, read on until one is not, or shows nothing new."""
        if not pages.offsets.unique() or pages.offsets.unique() % self._limit:
            return
        if self._paging is None:
            yield from self._learn_paging(part, first, pages)
        full, number, before = True, pages.offsets.unique() // self._limit, 0
        while full and pages.offsets.unique() > before:
            before = pages.offsets.unique()
            page = yield from self._page(part, self._meaning.offset_of(number, self._limit), pages)
            full, number = len(page.rows) >= self._limit, number + 1
        pages.capped = pages.offsets.unique() >= CAP and not self._uncapped

    @property
    def _meaning(self) -> Paging:
        return self._paging or Paging.PAGE_FROM_0

    def _page(self, part: Slice, offset: int, pages: SlicePages) -> Flow[Page]:
        page, limit = yield from query_page(self.api, self.topic, part, limit=self._limit, offset=offset)
        self._limit = min(self._limit, limit)
        self.answered = True
        pages.add(page)
        self.deliver(part.inside(page.rows))
        return page

    def _learn_paging(self, part: Slice, first: Page, pages: SlicePages) -> Flow[set[int]]:
        """Find out what ``offset`` means, unless that is known; return the values that were asked for."""
        setting = self.api.settings.paging
        if self._paging is None and setting == "row":
            self._paging = Paging.ROW
        if self._paging is not None:
            return {0}
        meaning = paging_of(first, (yield from self._page(part, 1, pages)))
        # rows that moved between the two pages can look like row positions; the connection may know better
        self._paging = Paging.PAGE_FROM_0 if meaning is Paging.ROW and setting == "page" else meaning
        return {0, 1}
