"""Sets of places do what sets of pairs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets import offset_ranges as runs
from airflow_provider_mqs.core.offsets import partition_offsets as sets
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import Place

PAIRS = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 30)))


@given(PAIRS)
def test_a_set_lists_what_it_was_made_of(pairs: set[Place]) -> None:
    """In the order of partition and offset, each once."""
    assert list(sets.expand(sets.places_of([*pairs, *pairs]))) == sorted(pairs)
    assert sets.count(sets.places_of(pairs)) == len(pairs)


@given(PAIRS, PAIRS)
def test_union_intersection_and_difference(left: set[Place], right: set[Place]) -> None:
    """Equal sets are equal values, whichever way they were made."""
    one, other = sets.places_of(left), sets.places_of(right)

    assert sets.union(one, other) == sets.places_of(left | right)
    assert sets.shared(one, other) == sets.places_of(left & right)
    assert sets.without(one, other) == sets.places_of(left - right)


@given(PAIRS)
def test_json_brings_a_set_back(pairs: set[Place]) -> None:
    """What a store holds is what was put in."""
    assert sets.from_json(runs.to_json(sets.places_of(pairs)), "done") == sets.places_of(pairs)


@given(PAIRS, st.integers(0, 20))
def test_first_takes_from_each_partition_in_turn(pairs: set[Place], most: int) -> None:
    """No partition gives a second offset before each other one gave its first."""
    few = sets.first(sets.places_of(pairs), most)

    taken = [runs.count(ranges) for ranges in few.values()]
    assert sets.count(few) == min(most, len(pairs))
    assert sets.without(few, sets.places_of(pairs)) == {}
    if few and most < len(pairs):
        full = {p: n for p in {p for p, _ in pairs} if (n := sum(1 for q, _ in pairs if q == p))}
        assert all(runs.count(few.get(p, ())) >= min(max(taken) - 1, n) for p, n in full.items())


@pytest.mark.parametrize("value", [None, [], {"x": []}, {0: [[1, 2]]}, {"0": [[2, 1]]}, {"0": "1-2"}])
def test_anything_else_is_refused_by_name(value: object) -> None:
    """The sentence says which field is broken."""
    with pytest.raises(ConfigurationError, match="claimed"):
        sets.from_json(value, "claimed")
