"""Sets of offsets: exact, and back from XCom as they went in."""

from __future__ import annotations

import base64
import json
import time
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.offset_ranges import PACKED, Ranges
from airflow_provider_mqs.exceptions import ConfigurationError

LAST = 2**63 - 1
small_sets = st.sets(st.integers(0, 60))
offsets = st.integers(0, LAST) | st.integers(0, 200) | st.integers(LAST - 200, LAST)
huge_sets = st.sets(offsets, max_size=40)


def packed(data: bytes) -> str:
    return PACKED + base64.b64encode(zlib.compress(data)).decode()


@given(small_sets)
def test_ranges_hold_the_set_and_bridge_no_gap(offsets: set[int]) -> None:
    """Expanding gives the set again; ranges are ascending and never touch."""
    ranges = offset_ranges.from_offsets(list(offsets) * 2)

    assert list(offset_ranges.expand(ranges)) == sorted(offsets)
    assert offset_ranges.count(ranges) == len(offsets)
    assert all(after[0] > before[1] + 1 for before, after in pairwise(ranges))


@given(small_sets, small_sets)
def test_merge_is_the_union(one: set[int], other: set[int]) -> None:
    """Runs in any order join to the set of both."""
    joined = offset_ranges.merge((*offset_ranges.from_offsets(other), *offset_ranges.from_offsets(one)))

    assert joined == offset_ranges.from_offsets(one | other)


@given(small_sets, small_sets)
def test_overlap_is_the_intersection(one: set[int], other: set[int]) -> None:
    """What two sets share is found, whichever comes first."""
    assert offset_ranges.intersection(
        offset_ranges.from_offsets(one), offset_ranges.from_offsets(other)
    ) == offset_ranges.from_offsets(one & other)


@given(huge_sets)
def test_packed_sets_come_back(offsets: set[int]) -> None:
    """Every set of offsets up to 2^63 - 1 survives packing."""
    ranges = offset_ranges.from_offsets(offsets)

    assert offset_ranges.unpack(offset_ranges.pack(ranges), "x") == ranges
    assert offset_ranges.from_json(offset_ranges.pack(ranges), "x") == ranges


@given(st.dictionaries(st.integers(0, 5), huge_sets))
def test_sets_survive_json(sets: dict[int, set[int]]) -> None:
    """What is written as plain ranges comes back equal, too."""
    ranges = {partition: offset_ranges.from_offsets(offsets) for partition, offsets in sets.items()}

    written = json.loads(json.dumps(offset_ranges.to_json(ranges)))

    assert {int(partition): offset_ranges.from_json(value, "x") for partition, value in written.items()} == ranges


def test_sets_above_16_kib_are_packed() -> None:
    """Many gaps do not fill the XCom; few ranges stay readable."""
    gaps: Ranges = tuple((offset, offset) for offset in range(0, 40_000, 2))

    written = offset_ranges.to_json({0: gaps, 1: ((0, 9),)})

    assert offset_ranges.to_json({1: ((0, 9),)}) == {"1": [[0, 9]]}
    assert all(value.startswith(PACKED) for value in written.values())
    assert len(json.dumps(written)) < 1024
    assert offset_ranges.from_json(written["0"], "x") == gaps


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        {"0": 1},
        [1],
        [[1]],
        [[1, 2, 3]],
        [[2, 1]],
        [[-1, 2]],
        [[0, True]],
        [[0, 1.0]],
        [["0", "1"]],
        [(0, 1)],
        [[0, 2**63]],
        [[5, 6], [1, 2]],
        [[0, 5], [5, 9]],
    ],
)
def test_what_is_no_set_of_offsets_is_one_sentence(value: Any) -> None:
    """Runs that are unordered, overlapping or no offsets are refused by name."""
    with pytest.raises(ConfigurationError, match=r"^partitions\.0 must .*[.]$"):
        offset_ranges.from_json(value, "partitions.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        PACKED,
        PACKED + "!!!",
        PACKED + "é",
        PACKED + base64.b64encode(b"not zlib").decode(),
        offset_ranges.pack(((0, 9),))[:-4],
        offset_ranges.pack(((0, 9),)).removeprefix(PACKED),
        packed(b"\x01"),
        packed(b"\x01\x80"),
        packed(b"\x00\x00\x00\x00"),
        packed(b"\xff" * 200 + b"\x00\x00"),
        PACKED + base64.b64encode(zlib.compress(b"\x01\x00")[:-1]).decode(),
        offset_ranges.pack(((2**63, 2**63),)),
    ],
)
def test_corrupt_packed_text_is_one_sentence(text: str) -> None:
    """Text that was cut, edited or never packed is refused by name."""
    with pytest.raises(ConfigurationError, match=r"^partitions\.0 is not a packed set of offsets[.]$"):
        offset_ranges.from_json(text, "partitions.0")


@pytest.mark.parametrize("megabytes", [15, 64])
def test_zip_bomb_is_refused_before_it_unfolds(megabytes: int) -> None:
    """A short text that stands for millions of numbers costs neither the memory nor the time."""
    bomb = packed(bytes(megabytes * 1024 * 1024))
    began = time.process_time()

    with pytest.raises(ConfigurationError, match="not a packed set"):
        offset_ranges.unpack(bomb, "partitions.0")

    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("value", "valid"), [(0, True), (LAST, True), (-1, False), (2**63, False), (True, False), (1.0, False)]
)
def test_offsets_are_whole_numbers_of_63_bits(value: Any, valid: bool) -> None:
    """What Kafka can count is an offset; a bool or a float is not."""
    assert offset_ranges.is_offset(value) is valid
