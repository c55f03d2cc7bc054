"""Into how many parts a slice is cut that the service does not show whole."""

from __future__ import annotations

import pytest

from airflow_provider_mqs.core.query.slices import CAP, Slice, SlicePages
from airflow_provider_mqs.core.values.message import Message, Page

HOUR_MS = 3_600_000


def shown(total: int, every_ms: int, rows: int = 50) -> SlicePages:
    """What is known behind the first page."""
    one = SlicePages(50)
    one.add(Page([Message("orders", 0, number, number * every_ms) for number in range(rows)], total), 0)
    return one


@pytest.mark.parametrize(
    ("total", "every_ms", "parts"),
    [
        pytest.param(501, 1, 2, id="two are the fewest"),
        pytest.param(10_000, 1, 25, id="a total that is told is believed"),
        pytest.param(CAP, HOUR_MS // 600, 2, id="600 rows"),
        pytest.param(CAP, HOUR_MS // 10_000, 26, id="10,000 rows"),
        pytest.param(CAP, HOUR_MS // 20_000, 26, id="20,000 rows are cut again, evenly"),
        pytest.param(CAP, 1, 32, id="a burst"),
    ],
)
def test_parts_hold_about_four_hundred_rows(total: int, every_ms: int, parts: int) -> None:
    """Where the total may be cut, it is guessed by how close together the first rows are."""
    assert shown(total, every_ms).parts(HOUR_MS, CAP) == parts


def test_one_row_tells_nothing_about_the_others() -> None:
    """All in one millisecond look like a burst, too."""
    assert shown(CAP, 0).parts(HOUR_MS, CAP) == 32


def test_parts_tile_the_slice() -> None:
    """No gap, no overlap, and none without width."""
    parts = list(Slice(0, 10).cut(3))

    assert [(part.start_ms, part.end_ms) for part in parts] == [(0, 3), (3, 6), (6, 10)]
    assert len(list(Slice(0, 2).cut(32))) == 2


def test_rows_outside_are_left_out() -> None:
    """What the service counts in at the end of a range is not wanted."""
    rows = [Message("orders", 0, offset, time) for offset, time in ((1, 9), (2, 10), (3, 19), (4, 20))]

    assert [row.message_offset for row in Slice(10, 20).inside(rows)] == [2, 3]
