"""
Find the copies of messages in their topic: to prove that each has one, and to settle messages in doubt. Flows.

Both work on the same ``Evidence``: the sources of all executions of the topic whose sending touches, and all rows that
came after it began. ``copy_matching`` says what proves what; this module reads, waits and gives up.

``prove``
    Each message that was sent has a copy, or has none, or nobody can tell. Copies that are not there yet are waited
    for, at most for the wait, and only the time in which they must be is read again. So that not each of many
    executions reads everything, one of them proves for all (``core.resend.verifier``).

``settle_doubts``
    =========  ========================================================================================================
    sent       A row has its content, and no other message explains that row. This needs no wait.
    not sent   No row has its content, the wait after its POST has passed, and its partition was surely shown as far as
               that: a copy that came later is visible there; or the newest copy of the partition is, and it took less
               time to become visible than has passed since the POST. A partition in which no copy is visible says
               nothing, since its rows may be late.
    unknown    All else: nothing was surely sent, so nobody knows what a copy looks like; rows are missing; somebody
               writes the same contents; copies change their look; or it takes more requests than are allowed.
    =========  ========================================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.verify import copy_matching
from airflow_provider_mqs.core.verify.evidence import Evidence
from airflow_provider_mqs.core.verify.executions import MARGIN_MS, SLACK_MS, Execution, hull, marks_of
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.verify.copy_matching import Matching, Source

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_STORE_PAUSE_S = 1.0
"""Between two looks at the ledgers of others."""
_MOST_ROUNDS = 20
"""How often the time of sending is widened for executions that touch those that touch ours."""
_MOST_CHECKED = 3
"""Newest known sources of a partition whose copies are looked for, to learn how far the partition is shown."""
_FEW_STRAYS = 64

Touching = Callable[[int, int], "Flow[list[Execution]]"]
"""Reads which executions may have sent within a time, from the ledgers of the topic."""


@dataclass(slots=True)
class Finding:
    """What was found out about the copies of some executions; each is named in one of the first three."""

    copies: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, the copies of an execution, as many as it sent."""
    missing: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, messages that surely have no copy."""
    unproven: dict[str, str] = field(default_factory=dict)
    """By token, a sentence that says why nobody can tell."""
    surely_copies: OffsetsByPartition = field(default_factory=dict)
    """Rows that surely are copies, of whichever execution."""
    keep_time: bool | None = None
    """Whether copies have the time of their source; ``None`` if that is not known."""


@dataclass(slots=True)
class Settled:
    """What became of messages in doubt; all others stay unknown."""

    sent: OffsetsByPartition = field(default_factory=dict)
    unsent: OffsetsByPartition = field(default_factory=dict)


def most_pages(executions: Iterable[Execution]) -> int:
    """Return on how many pages rows may be read: a busy topic must not cost more than the sending did."""
    return 100 + sum(one.count for one in executions) // 5


def most_contents(executions: Iterable[Execution]) -> int:
    """Return how many contents may be read, if counting does not tell."""
    return 200 + sum(one.count + 4 * partition_offsets.count(one.open) for one in executions)


def most_requests(executions: Sequence[Execution]) -> int:
    """Return how many requests ``prove`` takes at most, but for waiting: sources, rows and contents."""
    return sum(one.count for one in executions) + most_pages(executions) + most_contents(executions)


def evidence_of(api: MqsApi, topic: str, executions: Sequence[Execution]) -> Evidence:
    """Return empty evidence for some executions, with what may be read for them."""
    sources = SourceMessages(api, Plan(topic, {}))
    return Evidence(api, topic, sources, most_pages(executions), most_contents(executions))


def find_neighbours(
    api: MqsApi, targets: Sequence[Execution], touching: Touching, *, until_s: float
) -> Flow[list[Execution]]:
    """
    Return the other executions whose copies may lie among those of ``targets``, once none of them sends any more.

    What touches one of them is among them, too, unless its copies are known. After ``until_s``, wait no longer.
    """
    tokens = {one.token for one in targets}
    while True:
        span, others = hull(targets), []
        for _ in range(_MOST_ROUNDS):
            found = yield from touching(*span)
            others = [one for one in found if one.token not in tokens]
            wider = hull([*targets, *(one for one in others if one.found is None)])
            if wider == span:
                break
            span = wider
        busy = [one for one in others if one.busy]
        if not busy or api.monotonic() >= until_s:
            return others
        yield Sleep(_STORE_PAUSE_S, f"another resend of the topic ({busy[0].name}) is still sending")


def prove(
    api: MqsApi,
    topic: str,
    targets: Sequence[Execution],
    touching: Touching,
    *,
    wait_s: float,
    max_requests: int | None = None,
) -> Flow[Finding]:
    """Prove the copies of many executions with one reading. ``max_requests`` is compared before the first request."""
    most = most_requests(targets)
    if max_requests is not None and most > max_requests:
        raise ConfigurationError(f"Proving these copies may take {most} requests, more than max_requests={max_requests}.")
    until_s = api.monotonic() + wait_s
    others = yield from find_neighbours(api, targets, touching, until_s=until_s)
    return (yield from prove_with(evidence_of(api, topic, targets), targets, others, until_s=until_s))


def prove_with(
    evidence: Evidence, targets: Sequence[Execution], others: Sequence[Execution], *, until_s: float
) -> Flow[Finding]:
    """Prove the copies of ``targets`` among those of ``others``; ``until_s`` is how long copies may be late."""
    api = evidence.api
    search = _Search(evidence, [*targets, *others])
    yield from search.load()
    yield from search.read(*hull(search.executions))
    pause_s = _FIRST_PAUSE_S
    while True:
        began_s = api.monotonic()
        last = began_s >= until_s
        yield from search.calibrate()
        matching = search.match()
        if matching.short and (yield from evidence.recheck(matching.short, matching.strays)):
            continue
        if last or not matching.short:
            matching = yield from search.match_by_content()
        if last or not (matching.short or evidence.why_incomplete or evidence.kept is None):
            break
        yield Sleep(min(pause_s, max(until_s - api.monotonic(), 0.0)), "copies may still become visible")
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        yield from search.read_again(matching.short)
    certain = yield from search.compare_strays(matching)
    if certain is None:
        matching = yield from search.match_by_content()
    return search.finding(targets, matching, missing_is_certain=certain is True)


def settle_doubts(
    evidence: Evidence,
    executions: Sequence[Execution],
    doubts: Mapping[MessageRef, tuple[int, int, int]],
    *,
    wait_ms: int,
    others_of: Touching | None = None,
) -> Flow[Settled]:
    """
    Find out which messages in doubt were sent, however long that takes.

    ``doubts`` has by message the time in which it was posted, and the offset of that
    """
    raise NotImplementedError


@dataclass(slots=True)
class _Search:
    """One reading of the topic for some executions."""

    evidence: Evidence
    everybody: Sequence[Execution]
    executions: list[Execution] = field(init=False)
    """Those whose copies are not known yet."""
    marks: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.executions = [one for one in self.everybody if one.found is None]
        self.marks = marks_of(self.executions)

    @property
    def partitions(self) -> set[int]:
        return {partition for one in self.executions for partition in (*one.sent, *one.open)}

    def load(self) -> Flow[None]:
        """Find out what all sources look like."""
        wanted = partition_offsets.union(*(offsets for one in self.executions for offsets in (one.sent, one.open)))
        yield from self.evidence.sources.load(wanted, [one.span_ms for one in self.executions if one.span_ms])

    def read(self, start_ms: int, end_ms: int) -> Flow[None]:
        yield from self.evidence.read_rows(start_ms, end_ms, self.marks, self.partitions)

    def read_again(self, short: Sequence[Source]) -> Flow[None]:
        """Read what may have changed: the time in which missing copies must be, and what came since."""
        now_ms = self.evidence.api.latest_ms() + MARGIN_MS
        start_ms, end_ms = hull(self.executions)
        if short and not self.evidence.why_incomplete:
            start_ms = max(start_ms, min(source.start_ms for source in short))
        yield from self.read(start_ms, max(end_ms, now_ms))

    def sources(self) -> list[Source]:
        kept = self.evidence.kept
        any_time = kept is not None and kept.same_time
        shown = self.evidence.sources.shown
        return [source for one in self.executions for source in one.sources(shown, any_time=any_time)]

    def calibrate(self) -> Flow[None]:
        """Learn what a copy looks like, if that is not known; copies that keep their time are read where sources are."""
        if self.evidence.pairs:
            return
        yield from self.evidence.calibrate([source for source in self.sources() if source.known], self.marks)
        kept = self.evidence.kept
        if kept is not None and kept.same_time:
            spans = [one.span_ms for one in self.executions if one.span_ms]
            times = [shown.time_ms for shown in self.evidence.sources.shown.values()]
            start_ms = min([*times, *(start for start, _ in spans)])
            yield from self.read(start_ms, max([*(time + 1 for time in times), *(end for _, end in spans)]))

    def rows(self) -> list[copy_matching.Shown]:
        """Return the rows that may be copies of somebody whose copies are not known."""
        known = partition_offsets.union(*(one.found for one in self.everybody if one.found is not None))
        taken = set(partition_offsets.expand(known))
        return [row for ref, row in self.evidence.rows.items() if ref not in taken]

    def match(self) -> Matching:
        kept = self.evidence.kept
        if kept is None:
            return copy_matching.Matching(unclear=self.sources())
        return copy_matching.match(self.sources(), self.rows(), kept, self.evidence.contents)

    def match_by_content(self) -> Flow[Matching]:
        """Match, and read the contents that tell more, as long as they may be read."""
        while True:
            matching = self.match()
            affordable: list[MessageRef] = []
            for refs in matching.wanted:
                unread = {ref for ref in (*affordable, *refs) if ref not in self.evidence.contents}
                if len(unread) <= self.evidence.most_contents:
                    affordable += refs
            if not affordable:
                return matching
            yield from self.evidence.read_contents(affordable)

    def compare_strays(self, matching: Matching) -> Flow[bool | None]:
        """
        Return whether what is missing surely is: no row that came at its time has its content.

        ``None`` if one has: copies changed their look, and everything is to be matched once more.
        """
        if not matching.missing:
            return True
        near = [row for row in matching.strays if any(source.covers(row) for source in matching.missing)]
        if not near:
            return True
        refs = [*(source.ref for source in matching.missing), *(row.ref for row in near)]
        if not (yield from self.evidence.read_contents(refs)):
            return False
        contents = self.evidence.contents
        by_content = {contents[row.ref]: row for row in near}
        pairs = [
            (source.shown, by_content[contents[source.ref]])
            for source in matching.missing
            if contents[source.ref] is not None and contents[source.ref] in by_content
        ]
        self.evidence.pairs += pairs
        return None if pairs else True

    def finding(self, targets: Sequence[Execution], matching: Matching, *, missing_is_certain: bool) -> Finding:
        """Say for each of some executions how it stands."""
        evidence, kept = self.evidence, self.evidence.kept
        finding = Finding(keep_time=kept.same_time if kept and kept.steady else None)
        rows = [row.ref for _, row in matching.copies] + [row.ref for row in matching.spare_copies]
        finding.surely_copies = partition_offsets.from_refs(rows)
        for one in targets:
            if one.found is not None:
                finding.copies[one.token] = one.found
                continue
            copies = [row.ref for source, row in matching.copies if source.token == one.token and source.known]
            missing = [source.ref for source in matching.missing if source.token == one.token]
            if evidence.why_incomplete:
                finding.unproven[one.token] = evidence.why_incomplete[0]
            elif kept is None:
                finding.unproven[one.token] = (
                    "No message that was surely sent has been found again, so it is not known what a copy looks like."
                )
            elif missing and missing_is_certain:
                finding.missing[one.token] = partition_offsets.from_refs(missing)
            elif len(copies) == one.count:
                # with those of messages whose state is open, which are copies of this execution as well
                finding.copies[one.token] = partition_offsets.from_refs(
                    row.ref for source, row in matching.copies if source.token == one.token
                )
            else:
                finding.unproven[one.token] = _why_unclear(one, len(copies), matching)
        return finding


def _why_unclear(one: Execution, found: int, matching: Matching) -> str:
    unclear = [source.ref for source in matching.unclear if source.token == one.token and source.known]
    examples = ", ".join(f"{offset} of partition {partition}" for partition, offset in unclear[:5])
    named = f" (message_offset {examples})" if examples else ""
    return (
        f"{found} copies of {one.count} messages are certain. The others cannot be told from messages that look the "
        f"same{named}."
    )
