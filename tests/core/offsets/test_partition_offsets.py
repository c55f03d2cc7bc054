"""Sets of offsets by partition do what sets of pairs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef

PAIRS = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 30)))


@given(PAIRS)
def test_a_set_lists_what_it_was_made_of(pairs: set[MessageRef]) -> None:
    """In the order of partition and offset, each once."""
    assert list(partition_offsets.expand(partition_offsets.from_refs([*pairs, *pairs]))) == sorted(pairs)
    assert partition_offsets.count(partition_offsets.from_refs(pairs)) == len(pairs)


@given(PAIRS, PAIRS)
def test_union_intersection_and_difference(left: set[MessageRef], right: set[MessageRef]) -> None:
    """Equal sets are equal values, whichever way they were made."""
    one, other = partition_offsets.from_refs(left), partition_offsets.from_refs(right)

    assert partition_offsets.union(one, other) == partition_offsets.from_refs(left | right)
    assert partition_offsets.intersection(one, other) == partition_offsets.from_refs(left & right)
    assert partition_offsets.difference(one, other) == partition_offsets.from_refs(left - right)


@given(PAIRS)
def test_json_brings_a_set_back(pairs: set[MessageRef]) -> None:
    """What a store holds is what was put in."""
    assert partition_offsets.from_json(
        offset_ranges.to_json(partition_offsets.from_refs(pairs)), "done"
    ) == partition_offsets.from_refs(pairs)


@given(PAIRS, st.integers(0, 20))
def test_first_takes_from_each_partition_in_turn(pairs: set[MessageRef], most: int) -> None:
    """No partition gives a second offset before each other one gave its first."""
    few = partition_offsets.first(partition_offsets.from_refs(pairs), most)

    taken = [offset_ranges.count(ranges) for ranges in few.values()]
    assert partition_offsets.count(few) == min(most, len(pairs))
    assert partition_offsets.difference(few, partition_offsets.from_refs(pairs)) == {}
    if few and most < len(pairs):
        full = {p: n for p in {p for p, _ in pairs} if (n := sum(1 for q, _ in pairs if q == p))}
        assert all(offset_ranges.count(few.get(p, ())) >= min(max(taken) - 1, n) for p, n in full.items())


@pytest.mark.parametrize("value", [None, [], {"x": []}, {0: [[1, 2]]}, {"0": [[2, 1]]}, {"0": "1-2"}])
def test_anything_else_is_refused_by_name(value: object) -> None:
    """The sentence says which field is broken."""
    with pytest.raises(ConfigurationError, match="claimed"):
        partition_offsets.from_json(value, "claimed")
