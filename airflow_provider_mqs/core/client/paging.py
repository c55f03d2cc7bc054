"""
What ``offset`` means at this service, found out from the second page.

Documents and deployments differ: the position of a row (API document of 2022), or the number of a page (newer
documents and the vendor's Terraform provider), which may count from 0 or, in neighbouring calls, from 1. A client that
guesses wrong skips most rows or reads some twice, without an error. The second page tells: with page numbers from 0 it
is simply the next page, so that the usual case costs no request.
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
        """
        Give the ``offset`` of every page behind the first.

        :param total: rows of the query
        :param limit: rows of a page
        :return: one value a page
        """
        for page in range(1, -(-total // limit)):
            yield self.offset_of(page, limit)

    def offset_of(self, page: int, limit: int) -> int:
        """
        Give the ``offset`` that asks for a page.

        :param page: 0 for the first
        :param limit: rows of a page
        :return: the parameter's value
        """
        if self is Paging.ROW:
            return page * limit
        return page + 1 if self is Paging.PAGE_FROM_1 else page


def paging_of(first: Page, second: Page) -> Paging:
    """
    Tell from the answers to ``offset=0`` and ``offset=1`` what ``offset`` means.

    :param first: the page of ``offset=0``
    :param second: the page of ``offset=1``, asked with the same ``limit``
    :return: rows where the second starts one row later, pages from 1 where it is the first again, else pages from 0
    """
    before, after = _places(first.rows), _places(second.rows)
    if after == before:
        return Paging.PAGE_FROM_1
    overlap = len(before & after)
    return Paging.ROW if overlap and overlap >= len(before) - 1 else Paging.PAGE_FROM_0


def _places(rows: Rows) -> set[tuple[int, int]]:
    return {(row.partition, row.message_offset) for row in rows}
