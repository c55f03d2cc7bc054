"""
Read every row of a time window, or say why one may be missing.

The reader is a flow: straight-line code that asks, checks, and asks for less if it must.

How it is known that no row is missing:

* **A slice** is read to a page that is shorter than asked for (``slices``). ``total`` is a hint: one that is below the
  rows means nothing; one above them, that the slice is read again and then cut, as long as ``HINTED`` allows. Pages
  that do not fit together are read again, since rows move while others are written or expire.
* **The cap** is learned. If the service cuts off what it shows of a slice, then certainly of the largest one. So that
  is compared with its two halves: if one of them shows more rows than the whole did, either rows have come, and the
  slice is read again, or there is a cap, and slices of that size are cut. A slice whose rows cannot be told apart by
  time counts as cut off. 500 is tried first, since the vendor documents it.
* **Rows that come** while a window is read in slices make it a mixture of two moments: a row may be missing that is
  older than one that is there. So at the end the window's ``total`` is asked for again; if it is not the one of the
  beginning, or does not fit the rows, each slice is asked for the page on which it ended. What has changed is read
  again. One slice that was just compared with its halves, or one page, needs none of this.
* A slice that is refused as too large is cut in time. A cut costs requests, so refusals that may mean a service in
  trouble (500) are limited, and a request for a single millisecond first makes sure that the service is not down.
* A millisecond cannot be cut in time: see ``saturated_millisecond``.
* If none of this helps, a sentence in ``why_incomplete`` says so. That is no error here: the caller decides.

What it costs: one request a page, one more for a slice whose last page is full, and 2 (one slice) or 3 (more) for the
comparison at the end; none if one page holds everything (``shows_end``).
Where ``total`` does not fit the rows, the slices of a window are compared one by one at the end.

With *pages* the pages that the rows fill, and whatever the service answers, a window takes at most ``BASE +
PER_PAGE * pages + PER_REFUSAL * refusals`` requests, and no more are begun for the sake of a ``total`` after ``HINTED +
HINTED_PER_PAGE * pages``; and at most ``SINGLE_PER_PARTITION * partitions + SINGLE_PER_ROW * rows`` queries for single
messages. Beyond that the window is incomplete.

Each slice is queried as ``start_ms .. end_ms`` and its rows are kept if ``start_ms <= timestamp < end_ms``, so it does
not matter whether the service includes the end of a range.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.query.saturated_millisecond import read_millisecond
from airflow_provider_mqs.core.query.slices import BudgetSpentError, Slice, SlicePages, SliceReader
from airflow_provider_mqs.exceptions import ProtocolError, ServerError, WindowTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges

BASE: Final = 1_000
PER_PAGE: Final = 8
PER_REFUSAL: Final = 4
SINGLE_PER_PARTITION: Final = 2_000
SINGLE_PER_ROW: Final = 8
HINTED: Final = 64
HINTED_PER_PAGE: Final = 4
_PASSES = 3
_ROUNDS = 3
_CUTS_AFTER_ERRORS = 64
_CUTS_AFTER_REFUSALS = 4_096
_INTERNAL_ERROR = 500


@dataclass(frozen=True, slots=True)
class _Whole:
    """A slice that was read to its end."""

    rows: int
    """How many rows were shown, those at exactly the end included."""
    at_end: int
    """How many of them are at exactly the end, and belong to the next slice."""
    offsets: dict[int, Ranges]


class WindowReader(SliceReader):
    """Reads the rows of windows of one topic."""

    _cuts_after_errors = _CUTS_AFTER_ERRORS
    _cuts_after_refusals = _CUTS_AFTER_REFUSALS
    _refusals = 0

    def read(self, part: Slice) -> Flow[None]:
        """Read a window, and cut it if the service does not show all of it."""
        self.requests = self._refusals = self._single_messages = 0
        self._window = part
        self._total: int | None = None
        self._whole: dict[Slice, _Whole] = {}
        self._largest: tuple[Slice, array[int]] | None = None
        self._compared: Slice | None = None
        self._gave_up = False
        reasons = len(self.why_incomplete)
        try:
            yield from self._read(part)
            for _ in range(_ROUNDS):
                if (yield from self._check_cap()) and (yield from self._check_moved()):
                    break
            else:
                self.why_incomplete.append(f"{part} could not be read completely: rows came or went while it was read.")
            self._check_duplicates()
        except BudgetSpentError as error:
            # this says it all
            self.why_incomplete[reasons:] = [f"{part} could not be read completely: {error}"]

    def check_budget(self) -> None:
        """Raise if a window took more requests than it may."""
        if self.requests > BASE + PER_PAGE * self._pages() + PER_REFUSAL * self._refusals:
            raise BudgetSpentError(f"after {self.requests - 1} requests the answers still do not fit together.")

    def check_single_messages(self) -> None:
        """Count a query for a single message, and raise if a window took more of them than it may."""
        self._single_messages += 1
        allowed = (
            SINGLE_PER_PARTITION * max(1, len(self.partitions or self.landmarks)) + SINGLE_PER_ROW * self.rows_shown
        )
        if self._single_messages > allowed:
            raise BudgetSpentError(
                f"after {allowed} queries for single messages the answers still do not fit together."
            )

    def note_whole(self, part: Slice, pages: SlicePages) -> None:
        """Note a slice that was read to its end."""
        rows = len(pages.times)
        found = {number: held.ranges for number, held in pages.offsets.partitions().items()}
        self._whole[part] = _Whole(rows, pages.times.count(part.end_ms), found)
        # a page that is not full cannot be cut off
        if rows >= self._limit and (self._largest is None or rows >= len(self._largest[1])):
            self._largest = part, pages.times

    def _pages(self) -> int:
        """Return how many pages the rows fill that were shown so far."""
        rows = max(self.rows_shown, sum(whole.rows for whole in self._whole.values()))
        return -(-rows // self._limit)

    def _read(self, part: Slice) -> Flow[None]:
        """Read a slice, and cut it if the service does not show all of it."""
        try:
            pages = yield from self._read_again(part)
        except WindowTooLargeError as error:
            self._cuts_after_refusals -= 1
            if self._cuts_after_refusals < 0:
                raise
            self._refusals += 1
            yield from self._cut(part, part.cut(2), str(error))
        except ServerError as error:
            yield from self._check_alive(part, error)
            self._refusals += 1
            yield from self._cut(part, part.cut(2), str(error))
        else:
            reason = f"it showed {pages.offsets.unique()} of {pages.total} rows"
            if pages.complete:
                self.note_whole(part, pages)
            elif pages.capped:
                parts = pages.parts(part.width_ms, self.cap or len(pages.times))
                yield from self._cut(part, part.cut(parts), reason)
            elif self._may_follow_hint(part, reason):
                yield from self._cut(part, part.cut(2), reason)

    def _read_again(self, part: Slice) -> Flow[SlicePages]:
        """Read the pages of a slice until they fit together, a few times at most; find out whether they are cut off."""
        for number in range(_PASSES):
            pages = yield from self.read_pages(part)
            if part is self._window and self._total is None:
                self._total = pages.total
            if pages.complete or pages.capped or (number and pages.settled):
                break
            self.forget_paging()
        if not pages.complete and not pages.capped and pages.settled and len(pages.times) >= self._limit:
            pages.capped = bool((yield from self._halves_differ(part, pages.times)))
            self.cap = len(pages.times) if pages.capped else self.cap
        return pages

    def _may_follow_hint(self, part: Slice, reason: str) -> bool:
        """Return whether more may be asked where the rows look whole and only a ``total`` says otherwise."""
        if not self._gave_up and self.requests > HINTED + HINTED_PER_PAGE * self._pages():
            self._gave_up = True
            self.why_incomplete.append(f"{part} could not be read completely: {reason}, and its parts show no more.")
        return not self._gave_up

    def _check_alive(self, part: Slice, error: ServerError) -> Flow[None]:
        """
        Raise the error again if the service is down, as opposed to a range that is too much for it.

        "Internal service error may be reported … shorten the time range" (the vendor's user guide for Kafka queries).
        """
        self._cuts_after_errors -= 1
        if self._cuts_after_errors < 0 or part.width_ms == 1 or error.status != _INTERNAL_ERROR:
            raise error
        if not self.answered:
            yield from self.page(replace(part, end_ms=part.start_ms + 1), 0, self._limit)

    def _cut(self, part: Slice, pieces: Iterable[Slice], reason: str) -> Flow[None]:
        if part.width_ms == 1:
            pieces = yield from read_millisecond(self, part, reason)
        yield Parallel(self._read(piece) for piece in pieces)

    def _check_cap(self) -> Flow[bool]:
        """Compare the largest slice with its halves; read again, or in parts, what differs. Return whether it fits."""
        moves = 0
        while moves < _PASSES:
            rows = max((whole.rows for whole in self._whole.values()), default=0)
            if not self.may_be_cut_off(rows):
                return True
            part = self._largest_slice(rows)
            try:
                times = yield from self._times(part)
                differ = yield from self._halves_differ(part, times)
                pages = (yield from self.read_pages(part)) if differ else None
            except WindowTooLargeError:
                # so many rows have come since it was read that it must be read in parts now
                moves += 1
                del self._whole[part]
                yield from self._read(part)
                continue
            if differ is False:
                self._not_cut_off, self._compared = rows, part
                return True
            del self._whole[part]
            if pages is None:
                yield from self._check_millisecond(part, times)
                continue
            if pages.settled and len(pages.times) == rows:
                # as many as before, though its halves hold more: it is cut off, and so are others of that size
                self.cap, self._not_cut_off = rows, rows - 1
                others = [one for one, whole in self._whole.items() if whole.rows >= rows]
                for one in others:
                    del self._whole[one]
                yield Parallel(self._read(one) for one in (part, *others))
            else:
                moves += 1
                yield from self._read(part)
        return False

    def _check_millisecond(self, part: Slice, times: array[int]) -> Flow[None]:
        """Read a slice in parts whose rows are all in one millisecond, or at its end."""
        if part.end_ms in times:
            yield from self._read(replace(part, end_inclusive=True))
            return
        reason = f"it showed {len(times)} rows of one millisecond"
        for piece in part.cut_at(times[0], times[0] + 1):
            if piece.start_ms == times[0]:
                yield from self._cut(piece, (), reason)
            else:
                yield from self._read(piece)
        inside = [
            whole.rows - whole.at_end
            for one, whole in self._whole.items()
            if part.start_ms <= one.start_ms < part.end_ms and part.partition is None
        ]
        # its partitions add up, and none of them may be cut off itself
        if sum(inside) == len(times) > max(inside):
            self._not_cut_off = len(times)

    def _largest_slice(self, rows: int) -> Slice:
        """Return a slice with so many rows."""
        if self._largest is not None and len(self._largest[1]) == rows and self._largest[0] in self._whole:
            return self._largest[0]
        return next(one for one, whole in self._whole.items() if whole.rows == rows)

    def _times(self, part: Slice) -> Flow[array[int]]:
        """Return the times of the rows of a slice."""
        if self._largest is not None and self._largest[0] == part:
            return self._largest[1]
        pages = yield from self.read_pages(part)
        return pages.times

    def _halves_differ(self, part: Slice, times: array[int]) -> Flow[bool | None]:
        """
        Cut a slice between two of its rows, and return whether a half shows another number of rows than it did.

        A whole that was cut off lacks rows of one half at least, and a half holds fewer than the whole, so that one
        more row is seen. ``None`` if all rows are in one millisecond.
        """
        # as the rows of nearly every service are; a list of numbers takes five times the memory
        ordered = times if all(one <= other for one, other in pairwise(times)) else array("q", sorted(times))
        at = _cut_between(ordered, part.end_ms)
        if at is None:
            return None
        count, cut_ms = len(ordered), ordered[at - 1] + 1
        left, right = part.cut_at(cut_ms)
        at_cut = 0 if part.end_inclusive else ordered.count(cut_ms)
        fits = yield Parallel(
            [self.shows_as_many(left, at, at + at_cut), self.shows_as_many(right, count - at, count - at)]
        )
        return not all(fits)

    def _check_moved(self) -> Flow[bool]:
        """Return whether the window still holds what was read; read again what does not."""
        if not self._whole or list(self._whole) == [self._compared]:
            return True
        if len(self._whole) == 1 and next(iter(self._whole.values())).rows < self._limit:
            return True  # one page is one moment
        before, inside = self._total, sum(whole.rows - whole.at_end for whole in self._whole.values())
        at_end = sum(whole.at_end for part, whole in self._whole.items() if part.end_ms == self._window.end_ms)
        if before is not None and inside <= before <= inside + at_end:
            self._total = yield from self._ask_total()
            if self._total == before:
                return True
        changed: list[Slice] = []

        yield Parallel(self._note_changed(parts, changed) for parts in self._neighbours())
        for part in changed:
            del self._whole[part]
        yield Parallel(self._read(part) for part in changed)
        return not changed

    def _note_changed(self, parts: list[Slice], changed: list[Slice]) -> Flow[None]:
        """Note those of neighbouring slices that do not show as many rows as when they were read."""
        rows = sum(self._whole[part].rows - self._whole[part].at_end for part in parts)
        rows += self._whole[parts[-1]].at_end
        try:
            if not (yield from self.shows_as_many(replace(parts[0], end_ms=parts[-1].end_ms), rows, rows)):
                changed.extend(parts)
        except (WindowTooLargeError, ServerError) as error:
            if len(parts) > 1:
                yield Parallel(self._note_changed([part], changed) for part in parts)
            elif isinstance(error, ServerError):
                raise
            else:
                changed.extend(parts)

    def _ask_total(self) -> Flow[int | None]:
        """Return what the service says now to hold of the window; ``None`` if it refuses to count so much."""
        try:
            page, _ = yield from self.page(self._window, 0, 1)
        except (WindowTooLargeError, ServerError):
            return None
        return page.total

    def _neighbours(self) -> list[list[Slice]]:
        """Group the slices that were read: neighbours whose rows fit into a page are one question."""
        groups: list[list[Slice]] = []
        rows = 0
        for part in sorted(self._whole, key=lambda one: (one.partition or 0, one.start_ms)):
            rows += self._whole[part].rows
            last = groups[-1][-1] if groups else None
            if (
                last is not None
                and replace(last, start_ms=last.end_ms, end_ms=part.end_ms) == part
                and rows < self._limit
            ):
                groups[-1].append(part)
            else:
                groups.append([part])
                rows = self._whole[part].rows
        return groups

    def _check_duplicates(self) -> None:
        """Refuse a service that showed one message in two slices, so with two times."""
        if len(self._whole) > 1:
            numbers = {number for whole in self._whole.values() for number in whole.offsets}
            different = sum(
                offset_ranges.count(
                    offset_ranges.merge(
                        chain.from_iterable(whole.offsets.get(number, ()) for whole in self._whole.values())
                    )
                )
                for number in numbers
            )
            if different < sum(whole.rows - whole.at_end for whole in self._whole.values()):
                raise ProtocolError("The service sent a message twice, with another timestamp.")


def _cut_between(times: array[int], end_ms: int) -> int | None:
    """
    Return how many of ascending times lie before the best moment for a cut: near the middle, ``None`` if there is none.

    Best is one at which no row is: then it does not matter whether the service includes the end of a range.
    """
    middle, second_best = len(times) // 2, None
    for far in range(middle + 1):
        for at in (middle - far, middle + far):
            if not 0 < at < len(times) or times[at - 1] == times[at] or times[at - 1] + 1 >= end_ms:
                continue
            if times[at - 1] + 1 < times[at]:
                return at
            second_best = second_best or at
    return second_best
