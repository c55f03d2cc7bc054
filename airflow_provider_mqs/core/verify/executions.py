"""
What an execution did, as far as its copies are concerned: whose messages, when, and how many may still be open.

Evidence belongs to the topic: the copies of all executions whose sending touches are looked for together, so each of
them becomes an ``Execution``, whoever's ledger it comes from.

*Spans.* The copy of a message can have been appended between the moment when its POST was asked for and the moment when
it was answered. That is known only of this process's own POSTs. Of others it is known when their sending began and when
it had ended at the latest. All of it is in the service's time, with ``MARGIN_MS`` for the clocks of its machines, and
``SLACK_MS`` for a POST whose interval is known. An open message may be appended later than its POST ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify.copy_matching import Source

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.verify.copy_traits import Shown

MARGIN_MS = 2_000
"""How far the clocks of gateway and brokers may be apart, which date a copy."""
SLACK_MS = 250
"""The same for the interval of one POST."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One try of a task, or one command, that sent messages of a topic."""

    token: str
    sent: OffsetsByPartition
    """Acknowledged, or found to be sent."""
    first_ms: int
    """The earliest time of its first POST."""
    last_ms: int
    """The latest time at which one of its copies may have been appended."""
    open: OffsetsByPartition = field(default_factory=dict)
    """May have been sent."""
    last_offsets: Mapping[int, int] = field(default_factory=dict)
    """By partition, an offset that was there before the first POST."""
    span_ms: tuple[int, int] | None = None
    """The times of its messages, half-open; ``None`` if they are not known."""
    posted_ms: Mapping[MessageRef, tuple[float, float]] = field(default_factory=dict)
    """When each message was posted and acknowledged, as far as that is known."""
    busy: bool = False
    """Whether it may still be sending."""
    searching: bool = False
    """Whether it has stopped sending, and looks for its copies now."""
    found: OffsetsByPartition | None = None
    """Its copies, if all of them are known; they and its messages are left out then."""
    consumer_key: str | None = None
    name: str = ""
    """Who it is, for a sentence."""

    @property
    def count(self) -> int:
        """How many messages it has sent."""
        return partition_offsets.count(self.sent)

    @property
    def facts(self) -> tuple[object, ...]:
        """What the matching depends on; not whether it is still busy."""
        return self.token, self.sent, self.open, self.found

    def touches(self, start_ms: int, end_ms: int) -> bool:
        """Return whether it was sending within a time."""
        return self.first_ms - MARGIN_MS <= end_ms and start_ms - MARGIN_MS <= self.last_ms

    def sources(self, shown: Mapping[MessageRef, Shown]) -> Iterator[Source]:
        """Yield its messages, each with the time in which its copy can be; without those that could not be read."""
        for offsets, known in ((self.sent, True), (partition_offsets.difference(self.open, self.sent), False)):
            for ref in partition_offsets.expand(offsets):
                if ref not in shown:
                    continue
                start_ms, end_ms = self.first_ms - MARGIN_MS, self.last_ms + MARGIN_MS
                if ref in self.posted_ms:
                    asked_ms, answered_ms = self.posted_ms[ref]
                    start_ms = floor(asked_ms) - SLACK_MS
                    end_ms = ceil(answered_ms) + SLACK_MS if known else end_ms
                yield Source(shown[ref], self.token, known, start_ms, end_ms)


def sources_of(executions: Iterable[Execution], shown: Mapping[MessageRef, Shown]) -> list[Source]:
    """
    Return the sources of several executions.

    What one left open and a later one for the same consumers has sent is one source that may have a copy more: the
    later one found its copy, or sent it again.
    """
    known: dict[tuple[str | None, MessageRef], Source] = {}
    left: list[Source] = []
    # the later ones first, so that what is sent is known before what is open
    for one in sorted(executions, key=lambda one: (one.first_ms, one.token), reverse=True):
        for source in one.sources(shown):
            key = (one.consumer_key, source.ref)
            if key not in known:
                if source.known:
                    known[key] = source
                else:
                    left.append(source)
            elif source.known:
                left.append(source)
            else:
                later = known[key]
                start_ms, end_ms = min(later.start_ms, source.start_ms), max(later.end_ms, source.end_ms)
                known[key] = later._replace(start_ms=start_ms, end_ms=end_ms, spare=later.spare + 1)
    return [*known.values(), *left]


def hull(executions: Iterable[Execution]) -> tuple[int, int]:
    """Return the time in which copies of any of them can have been appended, half-open."""
    executions = list(executions)
    return min(one.first_ms for one in executions) - MARGIN_MS, max(one.last_ms for one in executions) + MARGIN_MS + 1


def marks_of(executions: Sequence[Execution]) -> dict[int, int]:
    """Return by partition the last offset that was surely there before any of them sent; copies come after it."""
    partitions = {partition for one in executions for partition in one.last_offsets}
    return {
        partition: min(one.last_offsets.get(partition, -1) for one in executions if partition in one.last_offsets)
        for partition in partitions
    }
