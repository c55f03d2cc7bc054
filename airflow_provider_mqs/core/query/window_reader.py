"""
Read every row of a time window, as a flow: straight-line code that asks, checks, and asks for less where it must.

A slice of the window is complete when its different rows are as many as its ``total`` says. A slice that is not is read
again; one that stays incomplete, is refused as too large, or shows the service's cap of 500 rows is cut, and its parts
are read side by side. A single millisecond above the cap is left to ``saturated.py``. What cannot be completed ends as
a sentence in ``doubts``, never in silence.

Each slice is asked for ``start_ms .. end_ms`` and its rows kept for ``start_ms <= timestamp < end_ms``, so it does not
matter whether the service counts its end in.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.errors import PAGE_SIZE_REFUSED, number_of
from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.client.paging import Paging, paging_of
from airflow_provider_mqs.core.query.saturated_millisecond import read_millisecond
from airflow_provider_mqs.core.query.slices import CAP, Shown
from airflow_provider_mqs.exceptions import BadRequestError, ServerError, WindowTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.query.slices import Slice
    from airflow_provider_mqs.core.values.message import Message, Page, Row, Rows

_SMALL_PAGE = 10
_PASSES = 3
_CUTS_AFTER_ERRORS = 64


class WindowReader:
    """
    Reads the rows of windows of one topic.

    :param api: the calls
    :param topic: topic name
    :param sink: is given the rows inside the window, page by page, some of them more than once
    :param partitions: those whose rows are wanted, ``None`` for all where they are not known
    :param wary: whether ``total`` is not believed where it ends with a full page, since it may be behind the rows
    """

    def __init__(
        self,
        api: MqsApi,
        topic: str,
        sink: Callable[[Rows], None],
        partitions: Collection[int] | None = None,
        *,
        wary: bool = False,
    ) -> None:
        self.api = api
        self.topic = topic
        self.partitions = partitions
        self.doubts: list[str] = []
        self.landmarks: dict[int, Row | Message] = {}
        self._sink = sink
        self._wary = wary
        self._limit = api.settings.page_size
        self._paging: Paging | None = None
        self._uncapped = False
        self._answered = False
        self._cuts_left = _CUTS_AFTER_ERRORS

    def read(self, part: Slice) -> Flow[None]:
        """
        Read a slice; cut it where the service does not show it whole.

        :param part: the slice
        :raises ApiError: the service refused
        """
        try:
            for _ in range(_PASSES):
                shown = yield from self.look(part)
                if shown.whole:
                    return
                if shown.capped:
                    break
                self._paging = None  # perhaps rows moved while it was found out
        except WindowTooLargeError as error:
            yield from self._cut(part, 2, str(error))
        except ServerError as error:
            yield from self._check_alive(part, error)
            yield from self._cut(part, 2, str(error))
        else:
            reason = f"it showed {shown.rows.unique()} of {shown.total} rows"
            yield from self._cut(part, shown.parts(part.end_ms - part.start_ms), reason)

    def look(self, part: Slice, *, up_to_cap: bool = False) -> Flow[Shown]:
        """
        Read the pages of a slice, once.

        :param part: the slice
        :param up_to_cap: whether to read what is shown of a slice above the cap, and to keep those rows
        :return: what was shown
        """
        shown = Shown(kept=[] if up_to_cap else None)
        first = yield from self._page(part, 0, shown)
        yield from self._look_further(part, first, shown, up_to_cap=up_to_cap)
        if self._wary and shown.whole:
            yield from self._look_behind(part, first, shown)
        return shown

    def _look_further(self, part: Slice, first: Page, shown: Shown, *, up_to_cap: bool) -> Flow[None]:
        rows = len(first.rows)
        if rows >= first.total or not rows:
            shown.capped = rows >= CAP and not self._uncapped
            return
        # a service that shows fewer rows than asked for is asked for that many: its pages may count either number
        self._limit = min(self._limit, rows)
        if first.total == CAP and not self._uncapped and not up_to_cap:
            shown.capped = True
            return
        asked = yield from self._learn_paging(part, first, shown)
        if first.total > CAP and not self._uncapped:
            shown.capped = not (yield from self._shows_beyond_cap(part, shown, asked))
        if up_to_cap or not shown.capped:
            total = CAP if shown.capped else first.total
            offsets = (offset for offset in self._meaning.offsets(total, self._limit) if offset not in asked)
            yield Parallel(self._read_page(part, offset, shown) for offset in offsets)
        shown.capped = shown.capped or (shown.total == CAP and not self._uncapped)

    def _look_behind(self, part: Slice, first: Page, shown: Shown) -> Flow[None]:
        """Where the last page is full, read on until one is not, or shows nothing new."""
        if not shown.rows.unique() or shown.rows.unique() % self._limit:
            return
        if self._paging is None:
            yield from self._learn_paging(part, first, shown)
        full, number, before = True, shown.rows.unique() // self._limit, 0
        while full and shown.rows.unique() > before:
            before = shown.rows.unique()
            page = yield from self._page(part, self._meaning.offset_of(number, self._limit), shown)
            full, number = len(page.rows) >= self._limit, number + 1
        shown.capped = shown.rows.unique() >= CAP and not self._uncapped

    def take(self, rows: Rows) -> None:
        """
        Hand on rows.

        :param rows: inside the window
        """
        self.landmarks.update({row.partition: row for row in rows})
        self._sink(rows)

    @property
    def _meaning(self) -> Paging:
        return self._paging or Paging.PAGE_FROM_0

    def _page(self, part: Slice, offset: int, shown: Shown) -> Flow[Page]:
        ask = partial(
            self.api.query_page, self.topic, part.start_ms, part.asked_end_ms, offset=offset, partition=part.partition
        )
        try:
            page = yield from ask(limit=self._limit)
        except BadRequestError as error:
            if number_of(error.error_code) != PAGE_SIZE_REFUSED or self._limit == _SMALL_PAGE:
                raise
            self._limit = _SMALL_PAGE
            page = yield from ask(limit=self._limit)
        self._answered = True
        shown.add(page)
        self.take(part.inside(page.rows))
        return page

    def _read_page(self, part: Slice, offset: int, shown: Shown) -> Flow[None]:
        """Keep nothing of a page: a large window has very many of them."""
        yield from self._page(part, offset, shown)

    def _learn_paging(self, part: Slice, first: Page, shown: Shown) -> Flow[set[int]]:
        """Find out what ``offset`` means, where that is not known; return the values that were asked for."""
        setting = self.api.settings.paging
        if self._paging is None and setting == "row":
            self._paging = Paging.ROW
        if self._paging is not None:
            return {0}
        meaning = paging_of(first, (yield from self._page(part, 1, shown)))
        # rows that moved between the two pages can look like row positions; the connection may know better
        self._paging = Paging.PAGE_FROM_0 if meaning is Paging.ROW and setting == "page" else meaning
        return {0, 1}

    def _shows_beyond_cap(self, part: Slice, shown: Shown, asked: set[int]) -> Flow[bool]:
        offset = self._meaning.offset_of(-(-CAP // self._limit), self._limit)
        page = yield from self._page(part, offset, shown)
        asked.add(offset)
        self._uncapped = bool(page.rows)
        return self._uncapped

    def _check_alive(self, part: Slice, error: ServerError) -> Flow[None]:
        """
        Tell a range that is too much for the service from a service that is down.

        "Internal service error may be reported … shorten the time range" (the vendor's user guide for Kafka queries).
        """
        self._cuts_left -= 1
        if self._cuts_left < 0 or part.end_ms - part.start_ms == 1:
            raise error
        if not self._answered:
            yield from self._page(replace(part, end_ms=part.start_ms + 1), 0, Shown())

    def _cut(self, part: Slice, parts: int, reason: str) -> Flow[None]:
        if part.end_ms - part.start_ms > 1:
            yield Parallel(self.read(piece) for piece in part.cut(parts))
        else:
            yield from read_millisecond(self, part, reason)
