"""Offsets as they come in: packed arrays, eight bytes each, made into runs at the end."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from airflow_provider_mqs.models import ranges as runs
from airflow_provider_mqs.models.offsets import PartitionOffsets

if TYPE_CHECKING:
    from airflow_provider_mqs.models.message import Message
    from airflow_provider_mqs.models.ranges import Ranges


class OffsetBag:
    """A multiset of places, with the first and last timestamp of each partition."""

    def __init__(self) -> None:
        self._offsets: dict[int, array[int]] = {}
        self._times: dict[int, tuple[int, int]] = {}

    def add(self, message: Message) -> None:
        """
        Put a message in.

        :param message: a row; the same place may come again
        """
        partition, timestamp = message.partition, message.timestamp
        self._offsets.setdefault(partition, array("q")).append(message.message_offset)
        first, last = self._times.get(partition, (timestamp, timestamp))
        self._times[partition] = (min(first, timestamp), max(last, timestamp))

    def ranges(self, partition: int) -> Ranges:
        """
        Give the offsets of a partition.

        :param partition: partition of the topic
        :return: each once, as runs
        """
        return runs.ranges_of(self._offsets.get(partition, ()))

    def unique(self) -> int:
        """
        Count the places.

        :return: how many different ones are in
        """
        return sum(len(set(offsets)) for offsets in self._offsets.values())

    def partitions(self) -> dict[int, PartitionOffsets]:
        """
        Give everything.

        :return: by partition, ascending
        """
        return {
            partition: PartitionOffsets(self.ranges(partition), *self._times[partition])
            for partition in sorted(self._offsets)
        }
