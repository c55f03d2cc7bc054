"""What the service holds and how it behaves in one measurement, as plain values that every module here uses."""

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
class Scenario:
    """The topic and the service."""

    messages: int = 1_000  # in the window
    partitions: int = 16  # messages go to each in turn
    burst: bool = False  # all messages lie within 10 s of the hour, instead of evenly
    latency_ms: float = 0.0  # from a request to its response
    paging: str = "page0"  # what `offset` counts: row, page0 or page1
    cap: int | None = None  # most rows of a query
    hides_total: bool = False  # `total` stops at the cap, too
    throttle: float = 0.0  # share of queries and resends that are answered with 429

    @property
    def pages(self) -> int:
        """The number of pages that hold every message."""
        return -(-self.messages // PAGE_SIZE)

    def timestamp(self, number: int) -> int:
        """Return the epoch ms of a message by its number, from 0 on."""
        if self.burst:
            return (START_MS + END_MS) // 2 + number * _BURST_MS // self.messages
        return START_MS + number * (END_MS - START_MS) // self.messages

    def refs(self) -> Iterator[MessageRef]:
        """Return partition and offset of each message, in the order of time."""
        return ((number % self.partitions, number // self.partitions) for number in range(self.messages))

    def count(self, partition: int) -> int:
        """Return the number of messages in a partition."""
        return -(-(self.messages - partition) // self.partitions)

    def theory_s(self, requests: int, concurrency: int) -> float:
        """Return the seconds that these requests need if only the latency takes time."""
        return -(-requests // concurrency) * self.latency_ms / 1000


def fingerprint(refs: Iterable[MessageRef]) -> str:
    """Hash messages as a multiset: the order does not matter, but a missing or repeated message does."""
    numbers = array("q", sorted(partition << 48 | offset for partition, offset in refs))
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
