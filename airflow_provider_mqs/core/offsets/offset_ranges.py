"""
The offsets of one partition as sorted, disjoint, inclusive ranges: ``((0, 99), (105, 105))``.

Offsets in Kafka have gaps (transaction markers, compaction), so a range holds only offsets that were really seen, and
never bridges a gap. ``pack`` writes ranges in a few bytes each, for sets with very many gaps.
"""

from __future__ import annotations

import base64
import json
import zlib
from bisect import bisect_right
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Ranges: TypeAlias = tuple[tuple[int, int], ...]

PACKED = "zlib+b64:"
PACK_ABOVE_BYTES = 16 * 1024
_SHORTEST_RANGE = len("[0,0]")
_LEVEL = 6
"""The ledger is packed at every write: level 9 takes ten times as long, and saves 7 %."""
_MAX_UNPACKED = 16 * 1024 * 1024
_MAX_OFFSET = 2**63 - 1
_MORE, _SEVEN_BITS = 0x80, 0x7F


def from_offsets(offsets: Iterable[int]) -> Ranges:
    """Make ranges of offsets in any order, repeats allowed."""
    ordered = sorted(set(offsets))
    if not ordered:
        return ()
    ranges: list[tuple[int, int]] = []
    first = last = ordered[0]
    # plain, since it runs for every row of a query
    for offset in ordered:
        if offset > last + 1:
            ranges.append((first, last))
            first = offset
        last = offset
    ranges.append((first, last))
    return tuple(ranges)


def merge(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Join inclusive ranges that touch or overlap; they may come in any order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        # + 1: neighbours are one range, so that equal sets are equal values
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def count(ranges: Ranges) -> int:
    """Count the offsets."""
    return sum(last - first + 1 for first, last in ranges)


def expand(ranges: Ranges) -> Iterator[int]:
    """Yield each offset, ascending."""
    return chain.from_iterable(range(first, last + 1) for first, last in ranges)


def contains(ranges: Ranges, offset: int) -> bool:
    """Return whether an offset is in the set."""
    index = bisect_right(ranges, (offset, _MAX_OFFSET)) - 1
    return index >= 0 and offset <= ranges[index][1]


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """Return what is in both sets."""
    shared: list[tuple[int, int]] = []
    rest = iter(right)
    other = next(rest, None)
    for first, last in left:
        while other is not None and other[1] < first:
            other = next(rest, None)
        while other is not None and other[0] <= last:
            shared.append((max(first, other[0]), min(last, other[1])))
            if other[1] > last:
                break
            other = next(rest, None)
    return tuple(shared)


def difference(left: Ranges, right: Ranges) -> Ranges:
    """Return what only the first set has."""
    kept: list[tuple[int, int]] = []
    shared = iter(intersection(left, right))
    hole = next(shared, None)
    for start, last in left:
        first = start
        while hole is not None and hole[1] <= last:
            if first < hole[0]:
                kept.append((first, hole[0] - 1))
            first = hole[1] + 1
            hole = next(shared, None)
        if first <= last:
            kept.append((first, last))
    return tuple(kept)


def to_json(offsets: Mapping[int, Ranges]) -> dict[str, Any]:
    """Write offsets by partition as ``[[first, last], …]``; all packed if they would take more than 16 KiB."""
    # without writing what is certainly too long
    if sum(map(len, offsets.values())) * _SHORTEST_RANGE <= PACK_ABOVE_BYTES:
        plain = {str(partition): [list(one) for one in offsets[partition]] for partition in sorted(offsets)}
        if len(json.dumps(plain, separators=(",", ":"))) <= PACK_ABOVE_BYTES:
            return dict(plain)
    return {str(partition): pack(offsets[partition]) for partition in sorted(offsets)}


def from_json(value: Any, name: str) -> Ranges:
    """Read ``[[first, last], …]`` or what ``pack`` wrote; ``name`` is for the error."""
    if isinstance(value, str):
        return unpack(value, name)
    if not isinstance(value, list) or not all(_is_range(one) for one in value):
        raise ConfigurationError(f"{name} must be a list of [first, last] pairs of offsets.")
    ranges = tuple((first, last) for first, last in value)
    if any(after[0] <= before[1] for before, after in pairwise(ranges)):
        raise ConfigurationError(f"{name} must be ascending and must not overlap.")
    return ranges


def pack(ranges: Ranges) -> str:
    """Write the gap before each range and its length less one as variable-length numbers, compressed."""
    data = bytearray()
    previous = -1
    for first, last in ranges:
        _write(data, first - previous - 1)
        _write(data, last - first)
        previous = last
    return PACKED + base64.b64encode(zlib.compress(bytes(data), _LEVEL)).decode()


def unpack(text: str, name: str) -> Ranges:
    """Read what ``pack`` wrote; ``name`` is for the error."""
    try:
        return _unpacked(text)
    except (ValueError, zlib.error) as error:
        raise ConfigurationError(f"{name} is not a packed set of offsets.") from error


def is_offset(value: Any) -> bool:
    """Return whether a value is a whole number from 0 to 2^63 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_OFFSET


def _is_range(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 2 and all(map(is_offset, one)) and one[0] <= one[1]  # noqa: PLR2004


def _write(data: bytearray, number: int) -> None:
    while number > _SEVEN_BITS:
        data.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    data.append(number)


def _unpacked(text: str) -> Ranges:
    """Check while reading, to refuse early a short text that decompresses to very much."""
    if not text.startswith(PACKED):
        raise ValueError("no prefix")
    decoder = zlib.decompressobj()
    data = decoder.decompress(base64.b64decode(text.removeprefix(PACKED), validate=True), _MAX_UNPACKED)
    if not decoder.eof:
        raise ValueError("cut off, or too much")
    ranges: list[tuple[int, int]] = []
    end = 0
    numbers = _read(data)
    for gap, length in zip(numbers, numbers, strict=True):
        first, last = end + gap, end + gap + length
        if last > _MAX_OFFSET or (ranges and not gap):
            raise ValueError("no offsets, or ranges that touch")
        ranges.append((first, last))
        end = last + 1
    return tuple(ranges)


def _read(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        if shift > _MAX_OFFSET.bit_length():
            raise ValueError("a number is too long")
        number |= (byte & _SEVEN_BITS) << shift
        shift += 7
        if not byte & _MORE:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("the last number is cut off")
