"""
What ``offset`` means at this service, learned from the second page.

Documents and deployments differ: it is the position of a row (API document of 2022), or the number of a page (newer
documents and the vendor's Terraform provider), counted from 0 or, in neighbouring calls, from 1. A client that guesses
wrong skips most rows or reads some twice, without an error. The second page shows which it is; if pages are numbered
from 0, it is simply the next page, so the usual case costs no request.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.core.values.message import Page, Rows


class Paging(Enum):
    """What ``offset`` counts."""

    PAGE_FROM_0 = "page numbers from 0"
    PAGE_FROM_1 = "page numbers from 1"
    ROW = "rows"

    def offsets(self, total: int, limit: int) -> Iterator[int]:
        """Yield the ``offset`` of every page after the first, for ``total`` rows in pages of ``limit``."""
        for page in range(1, -(-total // limit)):
            yield self.offset_of(page, limit)

    def offset_of(self, page: int, limit: int) -> int:
        """Return the ``offset`` of a page; the first page is 0."""
        if self is Paging.ROW:
            return page * limit
        return page + 1 if self is Paging.PAGE_FROM_1 else page


def paging_of(first: Page, second: Page) -> Paging:
    """
    Find out what ``offset`` means from the pages of ``offset=0`` and ``offset=1``, queried with the same limit.

    Rows if the second page starts one row later, pages from 1 if it is the first page again, else pages from 0.
    """
    before, after = _refs(first.rows), _refs(second.rows)
    if after == before:
        return Paging.PAGE_FROM_1
    overlap = len(before & after)
    return Paging.ROW if overlap and overlap >= len(before) - 1 else Paging.PAGE_FROM_0


def _refs(rows: Rows) -> set[tuple[int, int]]:
    return {(row.partition, row.message_offset) for row in rows}
