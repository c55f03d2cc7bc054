"""What the service holds and how it behaves in one measurement. Values only; everybody here agrees on them."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MessageRef: TypeAlias = tuple[int, int]

TOPIC, PROJECT, INSTANCE = "orders", "bench-project", "bench-instance"
START_MS = 1_700_000_000_000
END_MS = START_MS + 3_600_000
PAGE_SIZE = 50
IN_FLIGHT = 16
_BURST_MS = 10_000


@dataclass(frozen=True, slots=True)
class Shape:
    """
    The topic and the service.

    :param messages: how many lie in the window
    :param partitions: how many the topic has; messages go to each in turn
    :param burst: whether all messages lie within 10 s of the hour, instead of evenly
    :param latency_ms: time from a request to its answer
    :param paging: what ``offset`` counts: ``row``, ``page0`` or ``page1``
    :param cap: rows that one query shows at most, ``None`` for all
    :param hides_total: whether ``total`` stops at the cap, too
    :param throttle: share of queries and resends that are answered 429
    """

    messages: int = 1_000
    partitions: int = 16
    burst: bool = False
    latency_ms: float = 0.0
    paging: str = "page0"
    cap: int | None = None
    hides_total: bool = False
    throttle: float = 0.0

    @property
    def pages(self) -> int:
        """The fewest pages that hold every message."""
        return -(-self.messages // PAGE_SIZE)

    def timestamp(self, number: int) -> int:
        """Give the time of a message, counted from 0."""
        if self.burst:
            return (START_MS + END_MS) // 2 + number * _BURST_MS // self.messages
        return START_MS + number * (END_MS - START_MS) // self.messages

    def places(self) -> Iterator[MessageRef]:
        """List partition and offset of each message, in the order of time."""
        return ((number % self.partitions, number // self.partitions) for number in range(self.messages))

    def count(self, partition: int) -> int:
        """Count the messages of a partition."""
        return -(-(self.messages - partition) // self.partitions)

    def theory_s(self, requests: int, concurrency: int) -> float:
        """Give the time that so many requests need if nothing but the latency costs any."""
        return -(-requests // concurrency) * self.latency_ms / 1000


def fingerprint(places: Iterable[MessageRef]) -> str:
    """Hash places as a multiset, whatever their order: two that differ in one message differ."""
    numbers = array("q", sorted(partition << 48 | offset for partition, offset in places))
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
