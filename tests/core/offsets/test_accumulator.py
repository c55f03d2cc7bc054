"""Offsets as they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.core.offsets.document import PartitionOffsets
from airflow_provider_mqs.core.offsets.offset_ranges import from_offsets
from airflow_provider_mqs.core.values.message import Message

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 10**13)), max_size=60)


@given(rows)
def test_bag_holds_each_place_once(found: list[tuple[int, int, int]]) -> None:
    """Whatever comes in, in any order and more than once, goes out as ranges with its first and last time."""
    accumulator = OffsetAccumulator()

    for partition, offset, timestamp in found:
        accumulator.update([Message("orders", partition, offset, timestamp)])

    assert accumulator.unique() == len({row[:2] for row in found})
    assert accumulator.partitions() == {
        number: PartitionOffsets(
            from_offsets(row[1] for row in found if row[0] == number),
            min(row[2] for row in found if row[0] == number),
            max(row[2] for row in found if row[0] == number),
        )
        for number in sorted({row[0] for row in found})
    }
    assert list(accumulator.partitions()) == sorted(accumulator.partitions())


def test_empty_bag_has_nothing() -> None:
    """An empty window has no partitions."""
    assert (OffsetAccumulator().unique(), OffsetAccumulator().partitions(), OffsetAccumulator().ranges(0)) == (
        0,
        {},
        (),
    )


def test_largest_offset_fits() -> None:
    """Offsets up to 2^63 - 1 are held as they are."""
    accumulator = OffsetAccumulator()

    accumulator.update([Message("orders", 0, 2**63 - 1, 0)])

    assert accumulator.ranges(0) == ((2**63 - 1, 2**63 - 1),)
