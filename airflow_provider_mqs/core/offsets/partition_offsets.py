"""
Sets of offsets by partition, ``{0: ((0, 99),), 2: ((5, 5),)}``, and references to single messages, ``(0, 99)``.

A partition without offsets is left out, so that equal sets are equal values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, zip_longest
from typing import Any, TypeAlias

from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.offset_ranges import Ranges
from airflow_provider_mqs.exceptions import ConfigurationError

MessageRef: TypeAlias = tuple[int, int]
"""Partition and message_offset."""
OffsetsByPartition: TypeAlias = Mapping[int, Ranges]


def from_refs(refs: Iterable[MessageRef]) -> OffsetsByPartition:
    """Return the set of some messages, which may come in any order and repeat."""
    offsets: dict[int, list[int]] = {}
    for partition, message_offset in refs:
        offsets.setdefault(partition, []).append(message_offset)
    return {partition: offset_ranges.from_offsets(offsets[partition]) for partition in sorted(offsets)}


def expand(offsets: OffsetsByPartition) -> Iterator[MessageRef]:
    """Yield each message, by partition and offset."""
    return (
        (partition, offset) for partition, ranges in sorted(offsets.items()) for offset in offset_ranges.expand(ranges)
    )


def count(offsets: OffsetsByPartition) -> int:
    """Count the offsets of all partitions."""
    return sum(map(offset_ranges.count, offsets.values()))


def contains(offsets: OffsetsByPartition, ref: MessageRef) -> bool:
    """Return whether a message is in the set."""
    return offset_ranges.contains(offsets.get(ref[0], ()), ref[1])


def union(*several: OffsetsByPartition) -> OffsetsByPartition:
    """Return what is in any of the sets."""
    partitions = {partition for offsets in several for partition in offsets}
    return _tidy(
        {
            partition: offset_ranges.merge(chain.from_iterable(offsets.get(partition, ()) for offsets in several))
            for partition in partitions
        }
    )


def intersection(left: OffsetsByPartition, right: OffsetsByPartition) -> OffsetsByPartition:
    """Return what is in both sets."""
    return _tidy(
        {partition: offset_ranges.intersection(ranges, right.get(partition, ())) for partition, ranges in left.items()}
    )


def difference(left: OffsetsByPartition, right: OffsetsByPartition) -> OffsetsByPartition:
    """Return what only the first set has."""
    return _tidy(
        {partition: offset_ranges.difference(ranges, right.get(partition, ())) for partition, ranges in left.items()}
    )


def first(offsets: OffsetsByPartition, number: int) -> OffsetsByPartition:
    """Take at most so many messages, from each partition in turn, lowest offsets first."""
    partitions = [expand({partition: ranges}) for partition, ranges in sorted(offsets.items())]
    turns = chain.from_iterable(zip_longest(*partitions))
    return from_refs(islice((ref for ref in turns if ref is not None), number))


def from_json(value: Any, name: str) -> OffsetsByPartition:
    """Read what ``offset_ranges.to_json`` wrote; ``name`` is for the error."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key.isdecimal() for key in value):
        raise ConfigurationError(f"{name} must map partitions to ranges of offsets.")
    read = {
        int(partition): offset_ranges.from_json(ranges, f"{name}[{partition}]") for partition, ranges in value.items()
    }
    return _tidy(read)


def _tidy(offsets: OffsetsByPartition) -> OffsetsByPartition:
    return {partition: offsets[partition] for partition in sorted(offsets) if offsets[partition]}
