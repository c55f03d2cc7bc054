"""Offsets as they come in: eight bytes each, made into runs before they are many."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.document import PartitionEntry

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges
    from airflow_provider_mqs.core.values.message import Rows

_NEWS = 8_192
"""Offsets that wait to be joined with the runs; more of them where there are more runs, which are then moved rarely."""


class _Part:
    """What came in of one partition."""

    __slots__ = ("first", "last", "most", "news", "runs")

    def __init__(self, timestamp: int) -> None:
        self.first = self.last = timestamp
        self.news = array("q")
        self.most = _NEWS
        self.runs: Ranges = ()

    def joined(self) -> Ranges:
        if self.news:
            self.runs = offset_ranges.merge(chain(self.runs, offset_ranges.from_offsets(self.news)))
            self.news = array("q")
            self.most = max(_NEWS, len(self.runs))
        return self.runs


class OffsetAccumulator:
    """A set of places, with the first and last timestamp of each partition."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}

    def update(self, rows: Rows) -> None:
        """
        Put rows in.

        :param rows: of any partitions; the same place may come again
        """
        parts = self._parts
        for row in rows:
            timestamp = row.timestamp
            part = parts.get(row.partition)
            if part is None:
                part = parts[row.partition] = _Part(timestamp)
            part.news.append(row.message_offset)
            if timestamp < part.first:
                part.first = timestamp
            elif timestamp > part.last:
                part.last = timestamp
            if len(part.news) >= part.most:
                part.joined()

    def ranges(self, partition: int) -> Ranges:
        """
        Give the offsets of a partition.

        :param partition: partition of the topic
        :return: each once, as runs
        """
        part = self._parts.get(partition)
        return part.joined() if part else ()

    def unique(self) -> int:
        """
        Count the places.

        :return: how many different ones are in
        """
        return sum(offset_ranges.count(part.joined()) for part in self._parts.values())

    @property
    def span_ms(self) -> int:
        """Time from the first to the last row; at least a millisecond."""
        parts = self._parts.values()
        return 1 + max((part.last for part in parts), default=0) - min((part.first for part in parts), default=0)

    def partitions(self) -> dict[int, PartitionEntry]:
        """
        Give everything.

        :return: by partition, ascending
        """
        return {
            number: PartitionEntry(part.joined(), part.first, part.last) for number, part in sorted(self._parts.items())
        }
