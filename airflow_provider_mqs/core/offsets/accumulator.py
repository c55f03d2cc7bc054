"""Collects offsets as they arrive: eight bytes each, merged into ranges before they become many."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.document import PartitionOffsets

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges
    from airflow_provider_mqs.core.values.message import Rows

_MAX_PENDING = 8_192
"""Offsets that wait to be merged with the ranges; more if there are more ranges, so that a merge stays cheap."""


class _Partition:
    """What arrived from one partition."""

    __slots__ = ("first", "last", "max_pending", "pending", "ranges")

    def __init__(self, timestamp: int) -> None:
        self.first = self.last = timestamp
        self.pending = array("q")
        self.max_pending = _MAX_PENDING
        self.ranges: Ranges = ()

    def merged(self) -> Ranges:
        if self.pending:
            self.ranges = offset_ranges.merge(chain(self.ranges, offset_ranges.from_offsets(self.pending)))
            self.pending = array("q")
            self.max_pending = max(_MAX_PENDING, len(self.ranges))
        return self.ranges


class OffsetAccumulator:
    """The offsets of rows by partition, each once, with the first and last timestamp of each partition."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def update(self, rows: Rows) -> None:
        """Add rows; the same one may come again."""
        # plain, since it runs for every row of a query
        partitions = self._partitions
        for row in rows:
            timestamp = row.timestamp
            partition = partitions.get(row.partition)
            if partition is None:
                partition = partitions[row.partition] = _Partition(timestamp)
            partition.pending.append(row.message_offset)
            if timestamp < partition.first:
                partition.first = timestamp
            elif timestamp > partition.last:
                partition.last = timestamp
            if len(partition.pending) >= partition.max_pending:
                partition.merged()

    def ranges(self, partition: int) -> Ranges:
        """Return the offsets of a partition."""
        found = self._partitions.get(partition)
        return found.merged() if found else ()

    def unique(self) -> int:
        """Count the different offsets."""
        return sum(offset_ranges.count(partition.merged()) for partition in self._partitions.values())

    @property
    def span_ms(self) -> int:
        """Time from the first to the last row; at least a millisecond."""
        partitions = self._partitions.values()
        return 1 + max((one.last for one in partitions), default=0) - min((one.first for one in partitions), default=0)

    def partitions(self) -> dict[int, PartitionOffsets]:
        """Return everything by partition, ascending."""
        return {
            number: PartitionOffsets(partition.merged(), partition.first, partition.last)
            for number, partition in sorted(self._partitions.items())
        }
