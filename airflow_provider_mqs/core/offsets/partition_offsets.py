"""
Sets of places: offsets by partition, ``{0: ((0, 99),), 2: ((5, 5),)}``.

A partition without offsets is left out, so that equal sets are equal values.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.offset_ranges import Ranges
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MessageRef: TypeAlias = tuple[int, int]
"""Partition and message_offset."""
OffsetsByPartition: TypeAlias = Mapping[int, Ranges]


def from_refs(places: Iterable[MessageRef]) -> OffsetsByPartition:
    """
    Make a set.

    :param places: in any order, repeats allowed
    :return: the set
    """
    offsets: dict[int, list[int]] = {}
    for partition, message_offset in places:
        offsets.setdefault(partition, []).append(message_offset)
    return {partition: offset_ranges.from_offsets(offsets[partition]) for partition in sorted(offsets)}


def expand(places: OffsetsByPartition) -> Iterator[MessageRef]:
    """
    List the places of a set.

    :param places: the set
    :return: each place, by partition and offset, one at a time
    """
    return (
        (partition, offset) for partition, ranges in sorted(places.items()) for offset in offset_ranges.expand(ranges)
    )


def count(places: OffsetsByPartition) -> int:
    """
    Count the places of a set.

    :param places: the set
    :return: how many
    """
    return sum(map(offset_ranges.count, places.values()))


def union(*sets: OffsetsByPartition) -> OffsetsByPartition:
    """
    Give what is in any of the sets.

    :param sets: the sets
    :return: the union
    """
    partitions = sorted({partition for places in sets for partition in places})
    joined = {
        partition: offset_ranges.merge(run for places in sets for run in places.get(partition, ()))
        for partition in partitions
    }
    return _tidy(joined)


def intersection(left: OffsetsByPartition, right: OffsetsByPartition) -> OffsetsByPartition:
    """
    Give what is in both sets.

    :param left: a set
    :param right: a set
    :return: the intersection
    """
    return _tidy(
        {partition: offset_ranges.intersection(ranges, right.get(partition, ())) for partition, ranges in left.items()}
    )


def difference(left: OffsetsByPartition, right: OffsetsByPartition) -> OffsetsByPartition:
    """
    Give what only the first set has.

    :param left: a set
    :param right: a set
    :return: the difference
    """
    return _tidy(
        {partition: offset_ranges.difference(ranges, right.get(partition, ())) for partition, ranges in left.items()}
    )


def first(places: OffsetsByPartition, most: int) -> OffsetsByPartition:
    """
    Take a few from each partition in turn, in the order of their offsets.

    :param places: the set
    :param most: how many
    :return: so many of them, or all
    """
    partitions = [expand({partition: ranges}) for partition, ranges in sorted(places.items())]
    turns = chain.from_iterable(zip_longest(*partitions))
    return from_refs(islice((place for place in turns if place is not None), most))


def from_json(value: Any, name: str) -> OffsetsByPartition:
    """
    Read what ``ranges.to_json`` wrote.

    :param value: by partition as text
    :param name: what it is, for the error
    :return: the set
    :raises ConfigurationError: it is something else
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key.isdecimal() for key in value):
        raise ConfigurationError(f"{name} must map partitions to ranges of offsets.")
    read = {
        int(partition): offset_ranges.from_json(ranges, f"{name}[{partition}]") for partition, ranges in value.items()
    }
    return _tidy(read)


def _tidy(places: Mapping[int, Ranges]) -> OffsetsByPartition:
    return {partition: places[partition] for partition in sorted(places) if places[partition]}
