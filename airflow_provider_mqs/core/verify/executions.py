"""
What an execution did, as far as its copies are concerned: whose messages, when, and how many may still be open.

Evidence belongs to the topic: the copies of all executions whose sending touches are looked for together, so each of
them becomes an ``Execution``, whoever's ledger it comes from.

*Spans.* The copy of a message can have been appended between the moment when its POST was asked for and the moment when
it was answered. That is known only of this process's own POSTs. Of others it is known when their sending began and when
it had ended at the latest. All of it is in the service's time, with ``MARGIN_MS`` for the clocks of its machines. For a
POST whose interval is known, copies whose contents were compared show how exactly their times fit (``Fit``): if they
do, other copies must fit as well; else they may be off by ``SLACK_MS``. An open message may be appended later than its
POST ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_mqs.core.ledger.ledger import LATE_MS, LEASE_MS, SENDING, Ledger
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify.copy_matching import Source

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.service_clock import ServiceClock
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.verify.copy_traits import Shown

MARGIN_MS = 2_000
"""How far the clocks of gateway and brokers may be apart, which date a copy."""
SLACK_MS = 250
"""The same for the interval of one POST, if nothing shows more exactly how its time fits."""
_MOST_SPARE = 5
"""How many copies more a message may have that was sent again without knowing what became of it."""
_JITTER_MS = 5
"""How far the times of copies may be off after others have shown how they fit."""


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
    clock_ms: float = 0.0
    """By how much our idea of the service's time was wrong at most when those were converted."""
    busy: bool = False
    """Whether it may still be sending."""
    searching: bool = False
    """Whether it has stopped sending, and looks for its copies now."""
    found: OffsetsByPartition | None = None
    """Its copies, if all of them are known; they and its messages are left out then."""
    missing: OffsetsByPartition = field(default_factory=dict)
    """Acknowledged, and surely without a copy."""
    doubles: OffsetsByPartition = field(default_factory=dict)
    """Sent although earlier POSTs of theirs may have been executed: they may have several copies, some of them late."""
    ordered: bool = False
    """Whether the messages of a partition were sent one after the other."""
    consumer_key: str | None = None
    after: frozenset[str] = frozenset()
    """Which executions with messages in common had stopped when it began."""
    name: str = ""
    """Who it is, for a sentence."""

    @property
    def count(self) -> int:
        """How many messages it has sent."""
        return partition_offsets.count(self.sent)

    @property
    def facts(self) -> tuple[object, ...]:
        """What the matching depends on; not whether it is still busy."""
        return self.token, self.sent, self.open, self.found, self.missing, self.doubles

    def has_any(self, refs: OffsetsByPartition) -> bool:
        """Return whether it has sent any of these messages, or may have."""
        return any(partition_offsets.intersection(offsets, refs) for offsets in (self.sent, self.open))

    def touches(self, start_ms: int, end_ms: int) -> bool:
        """Return whether it was sending within a time."""
        return self.first_ms - MARGIN_MS <= end_ms and start_ms - MARGIN_MS <= self.last_ms

    def sources(self, shown: Mapping[MessageRef, Shown], fit: Fit) -> Iterator[Source]:
        """Yield its messages, each with the time in which its copy can be; without those that could not be read."""
        sent, open_ = partition_offsets.difference(self.sent, self.missing), self.open
        for offsets, known in ((sent, True), (partition_offsets.difference(open_, self.sent), False)):
            for ref in partition_offsets.expand(offsets):
                if ref not in shown:
                    continue
                start_ms, end_ms = self.first_ms - MARGIN_MS, self.last_ms + MARGIN_MS
                if known and partition_offsets.contains(self.doubles, ref):
                    yield Source(shown[ref], self.token, known, start_ms, end_ms + LATE_MS, spare=_MOST_SPARE)
                    continue
                if ref in self.posted_ms:
                    asked_ms, answered_ms = self.posted_ms[ref]
                    start_ms = floor(asked_ms + fit.earliest_ms)
                    end_ms = ceil(answered_ms + fit.latest_ms) if known else end_ms
                yield Source(shown[ref], self.token, known, start_ms, end_ms)


def execution_of(ledger: Ledger, clock: ServiceClock) -> Execution:
    """Return what another execution did, from its ledger."""
    found = ledger.copies if ledger.copies_known else None
    doubles = partition_offsets.intersection(ledger.possible_doubles, ledger.posted)
    at_least = partition_offsets.count(ledger.posted) - partition_offsets.count(ledger.missing)
    at_most = at_least + _MOST_SPARE * partition_offsets.count(doubles)
    if found is not None and not at_least <= partition_offsets.count(found) <= at_most:
        # others' copies are among them, or one of a message that is still in doubt, and shows that it was sent
        found = None
    late = ledger.claimed or doubles or ledger.sent_late
    sending = ledger.state == SENDING and clock.earliest_ms() - ledger.renewed_ms < LEASE_MS
    return Execution(
        token=ledger.token,
        sent=ledger.posted,
        first_ms=ledger.first_ms,
        # one that has stopped sending says so, and its ledger stays open until its copies are found
        last_ms=ledger.until_ms if ledger.verifying and not late else ledger.until(),
        open=ledger.claimed,
        last_offsets=ledger.last_offsets,
        span_ms=ledger.span_ms,
        busy=sending and not ledger.verifying,
        searching=sending and ledger.verifying,
        found=found,
        missing=ledger.missing,
        doubles=doubles,
        ordered=ledger.ordering == "partition",
        consumer_key=ledger.scope["consumer_key"],
        after=frozenset(ledger.after),
        name=str(ledger.owner),
    )


class Fit(NamedTuple):
    """By how much the time of a copy may differ from that of its POST, as far as our clocks know that."""

    earliest_ms: float
    latest_ms: float


def fit_of(executions: Sequence[Execution], pairs: Iterable[tuple[Shown, Shown]], *, narrow: bool) -> Fit:
    """Return how exactly the times of copies fit; with ``narrow``, as exactly as those of pairs of source and copy."""
    clock_ms = max((one.clock_ms for one in executions), default=0.0)
    posted = [one.posted_ms for one in executions]
    bounds = [
        (copy.time_ms - times[source.ref][1], copy.time_ms + 1 - times[source.ref][0])
        for source, copy in pairs
        for times in posted
        if source.ref in times
    ]
    earliest_ms, latest_ms = (
        max((low for low, _ in bounds), default=0.0),
        min((high for _, high in bounds), default=0.0),
    )
    if narrow and len(bounds) > 1 and earliest_ms <= latest_ms:
        earliest_ms, latest_ms = max(earliest_ms, -clock_ms), min(latest_ms, clock_ms)
        return Fit(earliest_ms - _JITTER_MS, latest_ms + _JITTER_MS)
    # pairs that contradict each other show how far the clocks of the service's machines are apart
    slack_ms = SLACK_MS + clock_ms + max(0.0, earliest_ms - latest_ms)
    return Fit(-slack_ms, slack_ms)


def sources_of(executions: Iterable[Execution], shown: Mapping[MessageRef, Shown], fit: Fit) -> list[Source]:
    """
    Return the sources of several executions.

    What one left open, and one that came after it for the same consumers has sent or has open as well, is one source
    that may have a copy more: the later one found its copy, sent it again, or could do neither.
    """
    by_token = {one.token: one for one in executions}
    alike: dict[tuple[str | None, MessageRef], list[Source]] = {}
    for one in by_token.values():
        for source in one.sources(shown, fit):
            alike.setdefault((one.consumer_key, source.ref), []).append(source)
    joined: list[Source] = []
    for same in alike.values():
        if len(same) > 1:
            joined += _join_open(same, by_token)
        else:
            joined += same
    return joined


def _join_open(same: list[Source], by_token: Mapping[str, Execution]) -> list[Source]:
    """Join what was left open of a message with what came after it; the POST of the last decides."""
    left: list[Source] = []
    # those that were acknowledged come first, then the latest
    same = sorted(same, key=lambda source: (not source.known, -by_token[source.token].first_ms))
    for source in same:
        position = next((n for n, later in enumerate(left) if source.token in by_token[later.token].after), None)
        if source.known or position is None:
            left.append(source)
            continue
        later = left[position]
        left[position] = later._replace(
            start_ms=min(later.start_ms, source.start_ms),
            end_ms=max(later.end_ms, source.end_ms),
            spare=later.spare + 1,
        )
    return left


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
