"""Every row of a window, whatever ``offset`` means, wherever the service clamps or caps."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.seeds import seed
from tests.support import END_MS, START_MS, Local, local, ref_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.emulator.store import Store

COUNTS = (0, 1, 49, 50, 51, 499, 500, 501, 10_000)
SHAPES = {
    "even": {"spread": "even"},
    "gaps and missing keys": {"spread": "even", "gap_every": 7, "missing_key_every": 3},
    "bursts": {"spread": "bursts"},
    "equal": {"spread": "equal"},
}


def read(client: Local, partitions: int | None = 3) -> tuple[set[tuple[int, int]], list[str]]:
    refs: set[tuple[int, int]] = set()
    numbers = None if partitions is None else range(partitions)
    reader = WindowReader(client.api, "orders", lambda rows: refs.update(map(ref_of, rows)), numbers)
    client.run(reader.read(Slice(START_MS, END_MS)))
    return refs, reader.why_incomplete


@cache
def stored(count: int, shape: str, partitions: int = 3) -> Store:
    """A store that holds a window and something on both sides of it; made once, since making it costs most."""
    client = local()
    seed(client.state, "orders", 20, START_MS - 1000, START_MS, partitions=partitions)
    seed(client.state, "orders", count, START_MS, END_MS, partitions=partitions, **SHAPES[shape])
    seed(client.state, "orders", 20, END_MS, END_MS + 1000, partitions=partitions)
    return client.state.store


def expected(store: Store) -> set[tuple[int, int]]:
    return {
        (row.partition, row.message_offset) for row in store.messages("orders") if START_MS <= row.timestamp_ms < END_MS
    }


def cases() -> Iterator[tuple[str, int, int | None, bool, bool, str, int]]:
    """Every combination; ten thousand messages, which cost most of the time, in the hardest shape only."""
    for case in product(("page0", "page1", "row"), (10, 50), (None, 500), (False, True), (False, True)):
        if not case[2] and case[3]:
            continue
        for shape, count in product(("even", "gaps and missing keys", "bursts"), COUNTS):
            if count < 10_000 or shape == "gaps and missing keys":
                yield *case, shape, count


@pytest.mark.parametrize(("paging", "clamp", "cap", "hidden", "inclusive", "shape", "count"), list(cases()))
def test_every_row_of_the_window_is_found(
    paging: str, clamp: int, cap: int | None, hidden: bool, inclusive: bool, shape: str, count: int
) -> None:
    """The set of offsets is exact for each meaning of offset, clamp, cap and end of range."""
    behaviour = Behaviour(
        paging=paging, page_size_limit=clamp, cap=cap, cap_hides_total=hidden, end_inclusive=inclusive
    )
    store = stored(count, shape)

    found, reasons = read(local(behaviour, store))

    assert reasons == []
    assert found == expected(store)
    assert len(found) == count


@pytest.mark.parametrize("count", [499, 500, 501, 1_600])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(("narrows", "content"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
def test_a_millisecond_above_the_cap_is_read_by_partition_or_by_offset(
    paging: str, narrows: bool, content: bool, hidden: bool, inclusive: bool, count: int
) -> None:
    """Equal timestamps are found whole, unless the service offers neither way into the millisecond."""
    behaviour = Behaviour(
        paging=paging,
        cap=500,
        cap_hides_total=hidden,
        end_inclusive=inclusive,
        partition_narrows=narrows,
        content_by_offset=content,
    )
    store = stored(count, "equal", 4)

    found, reasons = read(local(behaviour, store), 4)

    assert reasons == []
    assert found == expected(store)


def test_a_millisecond_that_cannot_be_read_whole_is_explained() -> None:
    """Without the partition parameter and content queries, rows above the cap are out of reach, and that is said."""
    behaviour = Behaviour(cap=500, partition_narrows=False, content_by_offset=False)

    found, reasons = read(local(behaviour, stored(1_600, "equal", 4)), 4)

    assert len(found) == 500
    assert len(reasons) == 1
    assert "single messages cannot be read" in reasons[0]
