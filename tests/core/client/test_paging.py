"""The meaning of ``offset`` is found from two pages, and leads to every row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.paging import Paging, paging_of
from airflow_provider_mqs.core.values.message import Message, Page


def page(meaning: Paging, total: int, limit: int, offset: int) -> Page:
    """Answer as a service would to which ``offset`` means this."""
    start = {
        Paging.ROW: offset,
        Paging.PAGE_FROM_0: offset * limit,
        Paging.PAGE_FROM_1: max(0, offset - 1) * limit,
    }[meaning]
    rows = range(start, min(total, start + limit))
    return Page(tuple(Message("orders", row % 3, row, 1_700_000_000_000) for row in rows), total)


@given(st.sampled_from(Paging), st.integers(0, 400), st.integers(1, 50))
def test_every_row_is_reached_whatever_offset_means(meaning: Paging, total: int, limit: int) -> None:
    """With the meaning found from the second page, the pages hold each row exactly once."""
    first = page(meaning, total, limit, 0)
    rows = list(first.messages)

    if len(rows) < total:
        found = paging_of(first, page(meaning, total, limit, 1))
        for offset in found.offsets(total, limit):
            rows += page(meaning, total, limit, offset).messages

    assert [row.message_offset for row in rows] == list(range(total))


@given(st.sampled_from(Paging), st.integers(2, 50), st.data())
def test_meaning_is_found_from_two_pages(meaning: Paging, limit: int, data: st.DataObject) -> None:
    """Wherever there is a second page of more than one row, the three meanings look different."""
    total = data.draw(st.integers(limit + 1, 5 * limit))

    assert paging_of(page(meaning, total, limit, 0), page(meaning, total, limit, 1)) is meaning


def test_usual_meaning_costs_no_request() -> None:
    """If offset counts pages from 0, the second page is the next one anyway."""
    assert list(Paging.PAGE_FROM_0.offsets(151, 50)) == [1, 2, 3]
    assert list(Paging.PAGE_FROM_1.offsets(151, 50)) == [2, 3, 4]
    assert list(Paging.ROW.offsets(151, 50)) == [50, 100, 150]


def test_one_page_has_no_further_offsets() -> None:
    """Neither an empty result nor a single page needs another request."""
    assert [list(meaning.offsets(total, 50)) for meaning in Paging for total in (0, 1, 50)] == [[]] * 9


def test_empty_second_page_is_taken_for_pages_from_0() -> None:
    """A total that was too high says nothing about the meaning."""
    assert paging_of(page(Paging.ROW, 10, 10, 0), Page((), 10)) is Paging.PAGE_FROM_0
