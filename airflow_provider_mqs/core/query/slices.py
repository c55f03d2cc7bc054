"""
Slices of a time window, and how the pages of one are read.

What a service means by ``offset``, by a page and by its cap is learned from its answers; ``SliceReader`` keeps it for
all slices of a window. ``total`` only says how many pages to ask for side by side: the pages of a slice end with one
that holds fewer rows than asked for, and nothing else proves their end. Rows that are shown twice, a page that is short
amid others, or a row that was shown out of its place mean that rows moved while they were read.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.errors import PAGE_SIZE_REFUSED, number_of
from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.client.paging import Paging, paging_of
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.values.message import check_same
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.exceptions import BadRequestError, MqsError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.values.message import Message, Page, Row, Rows

CAP = 500
"""Rows that a query over all partitions shows at most (the vendor's user guide for Kafka queries)."""
_FILL = 0.8
"""How full a part of a cut slice should be: enough below the cap for an uneven spread."""
_MOST_PARTS = 256
_MOST_GUESSED_PARTS = 32
_SMALL_PAGE = 10
"""Rows of a page that every service accepts: its default if a request names no limit."""
_READ_AHEAD = 8
"""Where no ``total`` promises more pages, one is read ahead for so many that were full."""


class BudgetSpentError(MqsError):
    """More requests than the rows of a window can explain."""


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

    @property
    def width_ms(self) -> int:
        """Its length."""
        return self.end_ms - self.start_ms

    def cut(self, parts: int) -> Iterator[Slice]:
        """Cut it in time, into at most so many parts; none is shorter than a millisecond."""
        yield from self.cut_at(*(self.start_ms + self.width_ms * part // parts for part in range(1, parts)))

    def cut_at(self, *moments_ms: int) -> Iterator[Slice]:
        """Cut it in time at these moments; those outside are left out."""
        edges = {self.start_ms, self.end_ms, *(at for at in moments_ms if self.start_ms < at < self.end_ms)}
        for start_ms, end_ms in pairwise(sorted(edges)):
            yield replace(self, start_ms=start_ms, end_ms=end_ms)

    def inside(self, rows: Rows) -> Rows:
        """Leave out what the service may show beside it: rows at exactly the end, and rows of other partitions."""
        start_ms, end_ms, only = self.start_ms, self.end_ms, self.partition
        if only is None:
            return [row for row in rows if start_ms <= row.timestamp < end_ms]
        return [row for row in rows if start_ms <= row.timestamp < end_ms and row.partition == only]

    def __str__(self) -> str:
        only = "" if self.partition is None else f" of partition {self.partition}"
        return f"{iso(self.start_ms)} .. {iso(self.end_ms)}{only}"


@dataclass(slots=True)
class SlicePages:
    """What the service showed of a slice when its pages were read once."""

    limit: int
    """Rows of a full page."""
    total: int = 0
    """The largest ``total`` of the pages."""
    offsets: OffsetAccumulator = field(default_factory=OffsetAccumulator)
    """The offsets of all rows that were shown, including rows at exactly the end."""
    times: array[int] = field(default_factory=lambda: array("q"))
    """The timestamps of the rows, page by page as they came; as many as rows were shown in their place."""
    pages: set[int] = field(default_factory=set)
    """The numbers of the pages that were read."""
    end: int | None = None
    """How many rows there are, as the first page shows that is shorter than asked for; ``None`` if there was none."""
    capped: bool = False
    """Whether there may be more rows than the service would show."""
    kept: list[Row | Message] | None = None
    """The rows themselves, only if they were asked for."""
    seen: dict[tuple[int, int], Row | Message] | None = None
    """The rows by partition and offset, if some were shown twice before."""

    @property
    def settled(self) -> bool:
        """Whether the rows show their end, and each was shown once and in its place."""
        return self.end == len(self.times) == self.offsets.unique()

    @property
    def complete(self) -> bool:
        """Whether every row was shown."""
        return not self.capped and self.settled and len(self.times) >= self.total

    def parts(self, width_ms: int, cap: int) -> int:
        """
        Estimate how many parts a slice of this width must be cut into for each to be shown completely; at least two.

        A total of exactly the cap may itself be cut off, so it is estimated from how close together the first rows are.
        That is right if rows are evenly spread; a burst looks like very many rows, and each empty part costs a request.
        """
        target = max(1, int(cap * _FILL))
        if self.total > cap:
            return min(max(2, -(-self.total // target)), _MOST_PARTS)
        wanted = max(2, -(-self.offsets.unique() * width_ms // (self.offsets.span_ms * target)))
        levels = -(-wanted // _MOST_GUESSED_PARTS)
        return max(2, -(-wanted // levels))

    def add(self, page: Page, number: int) -> None:
        """Count a page."""
        self.show(page)
        self.pages.add(number)
        self.times.extend([row.timestamp for row in page.rows])
        if len(page.rows) < self.limit:
            end = number * self.limit + len(page.rows)
            self.end = end if self.end is None else min(self.end, end)

    def show(self, page: Page) -> None:
        """Note the rows of a page whose place is not known."""
        self.total = max(self.total, page.total or 0)
        self.offsets.update(page.rows)
        if self.kept is not None:
            self.kept.extend(page.rows)
        if self.seen is not None:
            for row in page.rows:
                check_same(self.seen.setdefault((row.partition, row.message_offset), row), row)


def query_page(api: MqsApi, topic: str, part: Slice, *, limit: int, offset: int = 0) -> Flow[tuple[Page, int]]:
    """Ask for a page of a slice; if the service refuses its size, ask for fewer rows. Return it and its limit."""
    ask = partial(api.query_page, topic, part.start_ms, part.end_time, offset=offset, partition=part.partition)
    try:
        page = yield from ask(limit=limit)
    except BadRequestError as error:
        if number_of(error.error_code) != PAGE_SIZE_REFUSED or limit <= _SMALL_PAGE:
            raise
        # never more than the owner of the connection allowed
        limit = _SMALL_PAGE
        page = yield from ask(limit=limit)
    # a row at exactly the end may be meant; any other is not an answer to the question
    start_ms, end_time = part.start_ms, part.end_time
    for row in page.rows:
        if not start_ms <= row.timestamp <= end_time:
            raise ProtocolError(
                f"The service sent a row with timestamp = {row.timestamp} for the time {start_ms} .. {end_time} "
                "(epoch ms)."
            )
    return page, limit


def shows_end(page: Page, limit: int) -> bool:
    """Return whether a first page alone shows that there is no other, unless the service is known to clamp pages."""
    return not page.rows or (len(page.rows) < limit and len(page.rows) == page.total)


class SliceReader:
    """
    Reads the pages of slices of one topic, and passes their rows to ``sink`` as they come, some more than once.

    ``partitions`` are those whose rows are wanted, ``None`` for all if they are not known.
    """

    def __init__(
        self,
        api: MqsApi,
        topic: str,
        sink: Callable[[Rows], None],
        partitions: Collection[int] | None = None,
    ) -> None:
        self.api = api
        self.topic = topic
        self.partitions = partitions
        self.why_incomplete: list[str] = []
        """A sentence for each part that could not be read completely."""
        self.landmarks: dict[int, Row | Message] = {}
        """A row of each partition that has shown one."""
        self.answered = False
        self.cap: int | None = CAP
        """Rows at which the service may cut off what it shows of a slice; ``None`` once it has shown more."""
        self.most_rows = 0
        """The most rows that it has shown of one slice."""
        self.rows_shown = 0
        """The same, counting rows twice that were shown twice."""
        self.requests = 0
        self._sink = sink
        self._limit = api.settings.page_size
        self._largest_page = 0
        self._paging: Paging | None = None
        self._compare = False
        self._cap_seen = False
        self._not_cut_off = 0  # so many rows of a slice are certainly shown

    def read_pages(self, part: Slice, *, up_to_cap: bool = False) -> Flow[SlicePages]:
        """Read the pages of a slice once; with ``up_to_cap`` also what is shown of a capped one, and keep the rows."""
        first, limit = yield from self.page(part, 0, self._limit)
        self._limit = min(self._limit, limit)
        rows = len(first.rows)
        is_short = rows < limit and (rows < self._largest_page or shows_end(first, limit))
        # otherwise a short page may be all that the service shows at once: its pages may count either number
        pages = SlicePages(limit if is_short else min(limit, rows), kept=[] if up_to_cap else None)
        pages.seen = {} if self._compare else None
        pages.add(first, 0)
        if not is_short:
            yield from self._read_further(part, first, pages, up_to_cap=up_to_cap)
            if rows < len(pages.times):
                self._limit = min(self._limit, pages.limit)
        unique = pages.offsets.unique()
        self.rows_shown = max(self.rows_shown, len(pages.times))
        self.most_rows = max(self.most_rows, unique)
        if self.cap is not None and unique > self.cap:
            self.cap = None
        # 500 rows may stand for any number
        pages.capped = pages.capped or unique == self.cap
        self._compare = self._compare or unique < len(pages.times)
        return pages

    def shows_as_many(self, part: Slice, least: int, most: int) -> Flow[bool]:
        """Ask for the page on which the rows of a slice should end, and return whether they do."""
        limit = self._limit
        number = least // limit
        page, _ = yield from self.page(part, self._meaning.offset_of(number, limit), limit)
        return least <= number * limit + len(page.rows) <= most

    def deliver(self, rows: Rows) -> None:
        """Pass rows inside the window on."""
        self.landmarks.update({row.partition: row for row in rows})
        self._sink(rows)

    def forget_paging(self) -> None:
        """Find out again what ``offset`` means: rows may have moved while that was found out."""
        self._paging = None

    def page(self, part: Slice, offset: int, limit: int) -> Flow[tuple[Page, int]]:
        """Ask for a page and pass its rows on; return it and its limit."""
        self.requests += 1
        self.check_budget()
        page, limit = yield from query_page(self.api, self.topic, part, limit=limit, offset=offset)
        self.answered = True
        self._largest_page = max(self._largest_page, len(page.rows))
        self.deliver(part.inside(page.rows))
        return page, limit

    def may_be_cut_off(self, rows: int) -> bool:
        """Return whether the service may hold more rows of a slice that showed so many: it never showed more of one."""
        return self._limit <= rows >= self.most_rows and rows > self._not_cut_off

    def note_whole(self, part: Slice, pages: SlicePages) -> None:
        """Note a slice that was read to its end; what follows from it is up to the reader of the window."""

    def check_budget(self) -> None:
        """Raise if more was asked than the rows so far explain; a reader of slices alone has no budget."""

    def check_single_messages(self) -> None:
        """Raise if more single messages were asked for than the rows so far explain."""

    def _read_further(self, part: Slice, first: Page, pages: SlicePages, *, up_to_cap: bool) -> Flow[None]:
        # the first page is no full one if it may be the only one
        is_full = len(first.rows) >= self._limit
        if is_full and self._may_be_cut(first) and not up_to_cap:
            pages.capped = True
            return
        meaning = yield from self._learn_paging(part, first, pages)
        if not is_full and pages.offsets.unique() > len(first.rows):
            is_full = True
            if self._may_be_cut(first) and not up_to_cap:
                pages.capped = True
                return

        def read_page(number: int) -> Flow[None]:
            # returns nothing: the results of a Parallel are kept, and a large window has very many pages
            page, _ = yield from self.page(part, meaning.offset_of(number, pages.limit), pages.limit)
            pages.add(page, number)
            self.rows_shown = max(self.rows_shown, len(pages.times))

        if is_full and self.cap is not None and (first.total or 0) > self.cap:
            yield from self._try_cap(pages, self.cap, read_page)
            if pages.capped and not up_to_cap:
                return
        number, known = 0, -1
        while pages.end is None and pages.offsets.unique() > known:
            known = pages.offsets.unique()
            while number in pages.pages:
                number += 1
            # no more at once than were full before: nobody knows whether the total is true
            promised = -(-pages.total // pages.limit) - number
            ahead = min(promised, number) if promised >= 0 else number // _READ_AHEAD
            yield Parallel(read_page(one) for one in range(number, number + max(1, ahead)) if one not in pages.pages)

    def _try_cap(self, pages: SlicePages, cap: int, read_page: Callable[[int], Flow[None]]) -> Flow[None]:
        """Find out with a page beyond the cap whether there is one: cheaper than all pages of a slice that is cut."""
        beyond = -(-cap // pages.limit)
        yield from read_page(beyond)
        if pages.end is None or pages.end > beyond * pages.limit:
            yield Parallel(read_page(number) for number in range(1, beyond) if number not in pages.pages)
            return
        # if the page before holds none either, only the total says that there are more
        shown = len(pages.times)
        if beyond - 1 not in pages.pages:
            yield from read_page(beyond - 1)
        pages.capped = self._cap_seen = len(pages.times) > shown or beyond <= len(pages.pages)
        if pages.end == beyond * pages.limit:
            pages.end = None

    def _may_be_cut(self, first: Page) -> bool:
        """Return whether the total of a first page is one that is known to mean that not all will be shown."""
        if self.cap is None or first.total is None:
            return False
        return first.total == self.cap > len(first.rows) or (self._cap_seen and first.total > self.cap)

    @property
    def _meaning(self) -> Paging:
        return self._paging or Paging.PAGE_FROM_0

    def _learn_paging(self, part: Slice, first: Page, pages: SlicePages) -> Flow[Paging]:
        """Find out what ``offset`` means, unless that is known."""
        setting = self.api.settings.paging
        if self._paging is None and setting == "row":
            self._paging = Paging.ROW
        if self._paging is not None:
            return self._paging
        second, _ = yield from self.page(part, 1, pages.limit)
        meaning = paging_of(first, second)
        # rows that moved between the two pages can look like row positions; the connection may know better
        if meaning is Paging.ROW and setting == "page":
            meaning = Paging.PAGE_FROM_0
        if meaning is Paging.PAGE_FROM_0:
            pages.add(second, 1)
        else:
            pages.show(second)
        # an empty page, or pages of a single row, look alike whatever ``offset`` means
        if second.rows and pages.limit > 1:
            self._paging = meaning
        return meaning
