"""Whatever the service says: a window is read whole, or it is said that it is not, in a bounded number of requests."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.query import window_reader as limits
from airflow_provider_mqs.exceptions import ProtocolError
from tests.core.query.lying_service import TOTALS, WINDOW, LyingService, spread
from tests.support import START_MS

BOTH = pytest.mark.parametrize("side_by_side", [False, True], ids=["one by one", "side by side"])
ABOVE = {"1 above", "x 2", "2^31", "10^18", "the cap"}


def most_requests(service: LyingService) -> int:
    """The bound that the reader states; a page may be as short as the service clamps it."""
    rows = len(service.rows)
    return (
        limits.BASE
        + limits.PER_PAGE * ceil(rows / min(50, service.clamp) + 1)
        + 3 * limits.SINGLE_PER_PARTITION
        + limits.SINGLE_PER_ROW * rows
    )


@pytest.mark.parametrize("cap", [50, 200, 400, 499, 500, 501, 1000, None])
@pytest.mark.parametrize("hides", [False, True], ids=["total shown", "total hidden"])
@pytest.mark.parametrize("order", ["time", "newest first", "partition", "mixed"])
@pytest.mark.parametrize("total", ["true", "null", "size of the page", "x 0.5"])
def test_a_cap_of_any_size_hides_no_row(cap: int | None, hides: bool, order: str, total: str) -> None:
    """3,000 rows come out, whatever the service shows of them at once."""
    service = LyingService(spread(3_000), cap=cap, hides=hides, order=order, total=total)

    found, reasons = service.read()

    assert found == service.refs() or reasons
    if total == "true":
        assert (found, reasons) == (service.refs(), [])


@BOTH
@pytest.mark.parametrize("total", sorted(TOTALS.keys() - ABOVE))
@pytest.mark.parametrize("count", [0, 1, 10, 49, 50, 51, 100, 120, 500, 501, 1_200])
@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
def test_a_total_that_is_not_above_the_rows_costs_nothing_but_requests(
    total: str, count: int, paging: str, side_by_side: bool
) -> None:
    """Every row is found, and nothing is called incomplete."""
    service = LyingService(spread(count), total=total, paging=paging)

    assert service.read(side_by_side=side_by_side) == (service.refs(), [])
    assert service.requests <= 20 + 2 * ceil(count / 50)


@BOTH
@pytest.mark.parametrize("total", sorted(ABOVE))
@pytest.mark.parametrize("count", [0, 1, 10, 50, 120, 3_000])
def test_a_total_above_the_rows_ends(total: str, count: int, side_by_side: bool) -> None:
    """The rows are there, the window is not called whole, and the budget for hints holds."""
    service = LyingService(spread(count), total=total)

    found, reasons = service.read(side_by_side=side_by_side)

    assert found == service.refs()
    assert bool(reasons) == (total != "x 2" or count > 0)
    # what was begun within the budget comes to its end
    assert service.requests <= 3 * (limits.HINTED + limits.HINTED_PER_PAGE * ceil(count / 50)) + 100


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
def test_one_millisecond_above_an_unknown_cap_is_whole_or_named(partitions: int, paging: str) -> None:
    """Each of its partitions is above the cap, too."""
    rows = spread(700, moments=1, partitions=partitions)
    service = LyingService(rows, cap=200, hides=True, paging=paging)

    assert service.read(partitions=partitions) == (service.refs(), [])


@pytest.mark.parametrize("total", sorted(TOTALS.keys() - ABOVE - {"size of the page"}))
@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
def test_small_pages_hide_nothing(paging: str, total: str) -> None:
    """A service that shows 20 rows at once, though it was asked for 50, is told by a total that is none of a page."""
    service = LyingService(spread(240), clamp=20, total=total, paging=paging)

    assert service.read() == (service.refs(), [])


@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
def test_small_pages_whose_total_is_their_size_need_that_size_of_the_connection(paging: str) -> None:
    """Where it says that 20 are all there are, nothing but the number of rows asked for can tell."""
    service = LyingService(spread(240), clamp=20, asked=20, total="size of the page", paging=paging)

    assert service.read() == (service.refs(), [])


def test_one_absurd_total_is_forgotten() -> None:
    """It says how many pages to ask for at once, and no more than were full before are."""
    service = LyingService(spread(120), total="10^18 once")

    assert service.read() == (service.refs(), [])
    assert service.requests < 20


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 60)), max_size=150)


@settings(max_examples=150, deadline=None)
@given(
    times=rows,
    scale=st.sampled_from([1, 50_000]),
    cap=st.sampled_from([None, 10, 20, 33, 50]),
    hides=st.booleans(),
    total=st.sampled_from(sorted(TOTALS)),
    paging=st.sampled_from(["page0", "page1", "row"]),
    order=st.sampled_from(["time", "newest first", "partition", "offset", "mixed"]),
    inclusive=st.booleans(),
    narrows=st.booleans(),
    content=st.booleans(),
    arrivals=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2), st.integers(0, 60)), max_size=6),
    side_by_side=st.booleans(),
    page_size=st.sampled_from([5, 10]),
    seed=st.integers(0, 3),
)
def test_every_lie_ends_in_all_rows_or_in_a_reason(  # noqa: PLR0917 - each is one way to lie
    times: list[tuple[int, int]],
    scale: int,
    cap: int | None,
    hides: bool,
    total: str,
    paging: str,
    order: str,
    inclusive: bool,
    narrows: bool,
    content: bool,
    arrivals: list[tuple[int, int, int]],
    side_by_side: bool,
    page_size: int,
    seed: int,
) -> None:
    """Whatever was there when the reading began is found, with everything older than what came later, or it is said."""
    ends = [0, 0, 0]

    def row(partition: int, at: int) -> tuple[int, int, int]:
        ends[partition] += 1
        return START_MS + at * scale, partition, ends[partition] - 1

    service = LyingService(
        [row(*one) for one in times],
        cap=cap,
        hides=hides,
        total=total,
        paging=paging,
        order=order,
        inclusive=inclusive,
        narrows=narrows,
        content=content,
        arrivals={after: row(partition, at) for after, partition, at in sorted(arrivals)},
        clamp=page_size,
        asked=page_size,
        seed=seed,
    )
    before = service.refs()

    found, reasons = service.read(side_by_side=side_by_side)

    assert service.requests <= most_requests(service)
    assert found <= service.refs()
    if not reasons:
        assert before <= found
        newest = {number: max((offset for one, offset in found if one == number), default=-1) for number in range(3)}
        assert {ref for ref in service.refs() if ref[1] < newest[ref[0]]} <= found


@BOTH
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("topic", "invoices"),
        ("partition", -1),
        ("partition", 10**30),
        ("partition", None),
        ("message_offset", 2**63),
        ("message_offset", -1),
        ("message_offset", 4.5),
        ("message_offset", float("nan")),
        ("message_offset", "1_0"),
        ("message_offset", "٣"),
        ("message_offset", None),
        ("message_offset", []),
        ("timestamp", START_MS // 1000),
        ("timestamp", WINDOW.end_ms + 1),
        ("timestamp", WINDOW.start_ms - 1),
        ("timestamp", "soon"),
        ("timestamp", None),
    ],
)
def test_a_row_that_does_not_answer_the_question_is_one_clear_error(field: str, value: Any, side_by_side: bool) -> None:
    """The sentence names the field, and no wrong row comes out."""
    service = LyingService(spread(120))
    service.change = lambda row: {**row, field: value} if row["message_offset"] == 5 else row

    with pytest.raises(ProtocolError, match=field.removeprefix("message_")):
        service.read(side_by_side=side_by_side)


@pytest.mark.parametrize(("field", "value"), [("timestamp", START_MS + 7), ("size", 99), ("key", "other")])
def test_one_message_with_two_contents_is_an_error(field: str, value: Any) -> None:
    """Two rows of a page with one partition and offset must say the same."""
    service = LyingService(spread(20))
    service.rows.append(service.rows[5])
    twice = iter([False, True])
    service.change = lambda row: (
        {**row, field: value} if (row["partition"], row["message_offset"]) == (2, 1) and next(twice) else row
    )

    with pytest.raises(ProtocolError, match=f"message 1 of partition 2 twice, with another {field}"):
        service.read()


def test_one_message_at_two_times_is_an_error() -> None:
    """Neither slice shows it twice, but both show it."""
    service = LyingService([*spread(1_200), (START_MS + 3_000_000, 0, 7)], cap=500)

    with pytest.raises(ProtocolError, match="twice"):
        service.read()


@BOTH
@pytest.mark.parametrize("every", [1, 3, 1_000])
@pytest.mark.parametrize("total", ["true", "null"])
@pytest.mark.parametrize("cap", [None, 500])
def test_rows_that_come_are_found_or_named(every: int, total: str, cap: int | None, side_by_side: bool) -> None:
    """No message is left out that is older than one that is there."""
    service = LyingService(spread(900), cap=cap, total=total)
    service.arrivals = {
        after: (START_MS + after * 7_919_000 % 3_600_000, after % 3, 300 + after) for after in range(5, 2_000, every)
    }
    before = service.refs()

    found, reasons = service.read(side_by_side=side_by_side)

    if not reasons:
        assert before <= found
        newest = {number: max(offset for one, offset in found if one == number) for number in range(3)}
        assert {ref for ref in service.refs() if ref[1] < newest[ref[0]]} <= found
