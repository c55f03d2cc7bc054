"""
Read every row of a time window, or say why one may be missing.

The reader is a flow: straight-line code that asks, checks, and asks for less if it must.

How it is known that no row is missing, slice by slice:

* ``total`` is a hint. Rows that are as many as it says, or more, end the reading. If there are fewer, the pages are
  read again, up to three times, since rows move while others are written or expire. A reader whose ``total`` may lag
  the rows (``total_may_lag``) reads on to a page that is shorter than asked for: only a short page proves the end.
* The cap is learned. A ``total`` of exactly 500, or 500 rows in a page, may stand for any number; a larger ``total`` is
  tried with one page beyond the cap, and a row on it means that this service has none.
* A slice that stays incomplete, is capped, or is refused as too large is cut in time, and its parts are read side by
  side. A cut costs requests, so refusals that may mean a service in trouble (5xx) have a budget, and a request for a
  single millisecond first makes sure that the service is not down.
* A millisecond cannot be cut in time: see ``saturated_millisecond``.
* If none of this helps, a sentence in ``why_incomplete`` says so. That is no error here: the caller decides.

Each slice is queried as ``start_ms .. end_ms`` and its rows are kept if ``start_ms <= timestamp < end_ms``, so it does
not matter whether the service includes the end of a range.
"""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.query.saturated_millisecond import read_millisecond
from airflow_provider_mqs.core.query.slices import Slice, SlicePages, SliceReader
from airflow_provider_mqs.exceptions import ServerError, WindowTooLargeError

_PASSES = 3
_CUTS_AFTER_ERRORS = 64


class WindowReader(SliceReader):
    """Reads the rows of windows of one topic."""

    _cuts_left = _CUTS_AFTER_ERRORS

    def read(self, part: Slice) -> Flow[None]:
        """Read a slice, and cut it if the service does not show all of it."""
        try:
            for _ in range(_PASSES):
                pages = yield from self.read_pages(part)
                if pages.complete:
                    return
                if pages.capped:
                    break
                self.forget_paging()
        except WindowTooLargeError as error:
            yield from self._cut(part, 2, str(error))
        except ServerError as error:
            yield from self._check_alive(part, error)
            yield from self._cut(part, 2, str(error))
        else:
            reason = f"it showed {pages.offsets.unique()} of {pages.total} rows"
            yield from self._cut(part, pages.parts(part.end_ms - part.start_ms), reason)

    def _check_alive(self, part: Slice, error: ServerError) -> Flow[None]:
        """
        Raise the error again if the service is down, as opposed to a range that is too much for it.

        "Internal service error may be reported … shorten the time range" (the vendor's user guide for Kafka queries).
        """
        self._cuts_left -= 1
        if self._cuts_left < 0 or part.end_ms - part.start_ms == 1:
            raise error
        if not self.answered:
            yield from self._page(replace(part, end_ms=part.start_ms + 1), 0, SlicePages())

    def _cut(self, part: Slice, parts: int, reason: str) -> Flow[None]:
        if part.end_ms - part.start_ms > 1:
            pieces = list(part.cut(parts))
        else:
            pieces = yield from read_millisecond(self, part, reason)
        if pieces:
            yield Parallel(self.read(piece) for piece in pieces)
