"""
When each message was posted and answered, on the monotonic clock: if it was executed, its copy has a time in between.

If no answer came, the time at which nobody waited for one any longer stands for it; the copy may be later. Verification
asks for any of them afterwards. A dict of tuples would take 300 bytes a message; these columns take 24.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef

Interval: TypeAlias = "tuple[float, float]"
"""When it was asked and when it was answered, in seconds."""


class PostTimes(Mapping["MessageRef", Interval]):
    """The interval of the last POST of each message."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Columns] = {}

    def note(self, ref: MessageRef, asked_s: float, answered_s: float) -> None:
        """Note the POST of a message."""
        partition, offset = ref
        columns = self._partitions.get(partition)
        if columns is None:
            columns = self._partitions[partition] = _Columns()
        columns.add(offset, asked_s, answered_s)

    def __getitem__(self, ref: MessageRef) -> Interval:
        partition, offset = ref
        return self._partitions[partition].find(offset)

    def __iter__(self) -> Iterator[MessageRef]:
        for partition, columns in self._partitions.items():
            columns.sort()
            for offset in columns.offsets:
                yield partition, offset

    def __len__(self) -> int:
        return sum(len(columns.offsets) for columns in self._partitions.values())


class _Columns:
    """One partition; sorted when somebody looks, since messages without order end in any order."""

    __slots__ = ("answered_s", "asked_s", "is_sorted", "offsets")

    def __init__(self) -> None:
        self.offsets, self.asked_s, self.answered_s = array("q"), array("d"), array("d")
        self.is_sorted = True

    def add(self, offset: int, asked_s: float, answered_s: float) -> None:
        if self.offsets and offset <= self.offsets[-1]:
            self.is_sorted = False
        self.offsets.append(offset)
        self.asked_s.append(asked_s)
        self.answered_s.append(answered_s)

    def find(self, offset: int) -> Interval:
        self.sort()
        index = bisect_left(self.offsets, offset)
        if index == len(self.offsets) or self.offsets[index] != offset:
            raise KeyError(offset)
        return self.asked_s[index], self.answered_s[index]

    def sort(self) -> None:
        if self.is_sorted:
            return
        rows = dict(zip(self.offsets, zip(self.asked_s, self.answered_s, strict=True), strict=True))
        self.offsets = array("q", sorted(rows))
        self.asked_s = array("d", (rows[offset][0] for offset in self.offsets))
        self.answered_s = array("d", (rows[offset][1] for offset in self.offsets))
        self.is_sorted = True
