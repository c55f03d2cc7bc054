"""
Find the copies of messages in their topic: to prove that each has one, and to settle messages in doubt. Flows.

Both work on the same ``Evidence``: the sources of all executions of the topic whose sending touches, and all rows that
came after it began. ``copy_matching`` says what proves what; this module reads, waits and gives up.

``prove``
    Each message that was sent has a copy, or has none, or nobody can tell. Copies that are not there yet are waited
    for, at most for the wait, and only the time in which they must be is read again. So that not each of many
    executions reads everything, one of them proves for all (``core.resend.verifier``).

``settle``
    =========  ========================================================================================================
    sent       A row has its content, and no other message explains that row. This needs no wait.
    not sent   No row has its content, the wait after its POST has passed, and its partition was surely shown as far as
               that: a copy that came later is visible there; or the newest copy of the partition is, and it took less
               time to become visible than has passed since the POST. A partition in which no copy is visible says
               nothing for a long time (``LATE_MS``), since all its rows may be late.
    unknown    All else: nothing was surely sent, so nobody knows what a copy looks like; rows are missing; somebody
               writes the same contents; copies change their look; or it takes more requests than are allowed.
    =========  ========================================================================================================

Rows are read first and ledgers last: a message is claimed in a ledger before it is posted, so whoever made a row is
named in what is read after it. If the ledgers have changed, everything is matched once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.ledger.ledger import LATE_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.verify import copy_matching
from airflow_provider_mqs.core.verify.copy_matching import Matching, Source
from airflow_provider_mqs.core.verify.evidence import Evidence
from airflow_provider_mqs.core.verify.executions import (
    MARGIN_MS,
    SLACK_MS,
    Execution,
    Fit,
    fit_of,
    hull,
    marks_of,
    sources_of,
)
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Shown

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_STORE_PAUSE_S = 1.0
"""Between two readings of others' ledgers."""
_MOST_ROUNDS = 20
"""How often the time of sending is widened for executions that touch those that touch ours."""
_MOST_CHANGES = 3
"""How often everything is matched once more because ledgers have changed."""
_MOST_NEWEST = 3
"""Newest known sources of a partition whose copies show how far it can be seen."""
_MOST_AT_ONCE = 1
"""Rows that are compared with the first message that was sent, right after that."""
_MOST_NEAR = 8
"""Rows that are compared with one of these."""
_SOON_MS = 5_000
"""How soon after its POST a copy is appended, in nearly all cases."""
_MANY = 400
"""So many rows in a few seconds are read by themselves, without the margins before and after."""
_ANY_TIME = (-(2**63), 2**63)

Touching: TypeAlias = Callable[[int, int], "Flow[list[Execution]]"]
"""Reads which executions may have sent within a time, from the ledgers of the topic."""


@dataclass(slots=True)
class Finding:
    """What was found out about the copies of some executions; each is named in one of the first three."""

    copies: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, the copies of an execution, if each message that it sent has one."""
    whole: set[str] = field(default_factory=set)
    """Those of them that can have no others, since nothing that they left open is unclear."""
    missing: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, messages that were acknowledged and surely have no copy."""
    unproven: dict[str, str] = field(default_factory=dict)
    """By token, a sentence that says why nobody can tell."""
    partial: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, the copies of an execution that are certain, if not all are."""
    surely_copies: OffsetsByPartition = field(default_factory=dict)
    """Rows that surely are copies, of whichever execution."""
    of_open: OffsetsByPartition = field(default_factory=dict)
    """Those of them whose message was in doubt."""
    keep_time: bool | None = None
    """Whether copies have the time of their source; ``None`` if that is not known."""


@dataclass(slots=True)
class Settled:
    """What became of messages in doubt; those in neither stay unknown."""

    sent: OffsetsByPartition = field(default_factory=dict)
    unsent: OffsetsByPartition = field(default_factory=dict)


class Doubt(NamedTuple):
    """When a message in doubt may have been posted, in the service's time."""

    first_ms: float
    last_ms: float


def most_pages(executions: Iterable[Execution]) -> int:
    """Return on how many pages rows may be read: a busy topic must not cost more than the sending did."""
    return 100 + sum(one.count for one in executions) // 5


def most_contents(executions: Iterable[Execution]) -> int:
    """Return how many contents may be read, if counting does not tell."""
    return 200 + sum(one.count + 4 * partition_offsets.count(one.open) for one in executions)


def most_requests(executions: Sequence[Execution]) -> int:
    """Return how many requests ``prove`` takes at most if nothing is late: for sources, rows and contents."""
    return sum(one.count for one in executions) + most_pages(executions) + most_contents(executions)


def prove(
    api: MqsApi,
    topic: str,
    targets: Sequence[Execution],
    touching: Touching,
    *,
    wait_s: float,
    max_requests: int | None = None,
) -> Flow[Finding]:
    """Prove the copies of many executions with one reading; refuse before that if it may take too many requests."""
    most = most_requests(targets)
    if max_requests is not None and most > max_requests:
        raise ConfigurationError(f"Proving them may take {most} requests, more than max_requests={max_requests}.")
    until_s = api.monotonic() + wait_s
    others = yield from find_neighbours(api, targets, touching, until_s=until_s)
    sources = SourceMessages(api, Plan(topic, {}))
    evidence = Evidence(api, topic, sources, most_pages(targets), most_contents(targets))
    return (yield from prove_with(evidence, targets, others, touching, until_s=until_s))


def find_neighbours(
    api: MqsApi, targets: Sequence[Execution], touching: Touching, *, until_s: float
) -> Flow[list[Execution]]:
    """
    Return the other executions whose copies may lie among those of ``targets``, once none of them sends any more.

    What touches one of them is among them, too, unless its copies are known. After ``until_s``, wait no longer.
    """
    while True:
        others = yield from _neighbours(targets, touching)
        busy = next((one for one in others if one.busy), None)
        if busy is None or api.monotonic() >= until_s:
            return others
        yield Sleep(_STORE_PAUSE_S, f"another resend of the topic is still sending: {busy.name}")


def _neighbours(targets: Sequence[Execution], touching: Touching) -> Flow[list[Execution]]:
    tokens, span = {one.token for one in targets}, hull(targets)
    others: list[Execution] = []
    for _ in range(_MOST_ROUNDS):
        found = yield from touching(*span)
        others = [one for one in found if one.token not in tokens]
        wider = hull([*targets, *(one for one in others if one.found is None)])
        if wider == span:
            break
        span = wider
    return sorted(others, key=lambda one: one.token)


def prove_with(
    evidence: Evidence, targets: Sequence[Execution], others: Sequence[Execution], touching: Touching, *, until_s: float
) -> Flow[Finding]:
    """Prove the copies of ``targets`` among those of ``others``; copies may be late until ``until_s``."""
    api, pause_s, widened, forgotten = evidence.api, _FIRST_PAUSE_S, 0, False
    search = _Search(evidence, [*targets, *others])
    if all(one.found is not None for one in targets):
        return search.finding(targets, Matching())
    yield from search.load()
    # what comes from now on was not read yet, even if it is of this time
    (start_ms, end_ms), began_ms = search.span, api.earliest_ms() - MARGIN_MS
    yield from search.read(start_ms, end_ms)
    while True:
        others = yield from _neighbours(targets, touching)
        search = _Search(evidence, [*targets, *others])
        yield from search.load()
        wider = search.span
        if (wider[0] < start_ms or wider[1] > end_ms) and widened < _MOST_CHANGES:
            widened += 1
            first_ms = wider[0] if wider[0] < start_ms else min(end_ms, began_ms)
            (start_ms, end_ms), began_ms = wider, api.earliest_ms() - MARGIN_MS
            yield from search.read(first_ms, end_ms)
            continue
        if evidence.too_many:
            return search.finding(targets, Matching())
        last = api.monotonic() >= until_s
        matching = yield from search.match(final=last)
        busy = matching.unclear and any(one.busy for one in others)
        if last or not (matching.short or evidence.why_incomplete or evidence.kept is None or busy):
            finding = search.finding(targets, matching)
            if forgotten or not finding.unproven or all(one.found is None for one in others):
                return finding
            # equal rows may have been given to them that are ours, so that all have to be matched together
            forgotten, touching, widened = True, _forgetting(touching), 0
            continue
        yield Sleep(min(pause_s, max(until_s - api.monotonic(), 0.0)), "copies may still become visible")
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        yield from search.read_again(matching.short)


def _forgetting(touching: Touching) -> Touching:
    """Return the same, as if nobody's copies were known."""

    def forgetful(start_ms: int, end_ms: int) -> Flow[list[Execution]]:
        found = yield from touching(start_ms, end_ms)
        return [replace(one, found=None) for one in found]

    return forgetful


def calibrate(evidence: Evidence, target: Execution) -> Flow[KeptTraits | None]:
    """Learn what copies look like from those that are in sight, without waiting for any."""
    if not evidence.pairs:
        first = replace(target, sent=partition_offsets.first(target.sent, 1), open={})
        search = _Search(evidence, [first])
        yield from search.load()
        for source in search.sources():
            yield from evidence.read_page(source.start_ms, source.end_ms, marks_of([first]))
            yield from evidence.calibrate([source], marks_of([first]), final=False, most=_MOST_AT_ONCE)
    return evidence.kept


def settle(
    evidence: Evidence,
    targets_now: Callable[[], Sequence[Execution]],
    touching: Touching,
    in_doubt: Mapping[MessageRef, Doubt],
    *,
    wait_ms: int,
    offset_ms: float,
) -> Flow[Settled]:
    """
    Find out which messages in doubt were sent.

    ``targets_now`` returns their execution and those that it continues, as they are at that moment. ``offset_ms`` is
    how far the service's clock is ahead of ``api.monotonic``, as all times of our own POSTs assume.
    """
    api, pause_s, again = evidence.api, _FIRST_PAUSE_S, 0
    sent: set[MessageRef] = set()
    start_ms = floor(min(doubt.first_ms for doubt in in_doubt.values())) - MARGIN_MS
    posted_ms = max(doubt.last_ms for doubt in in_doubt.values())
    latest_ms = max(posted_ms + wait_ms, api.monotonic() * 1000 + offset_ms) + wait_ms
    while True:
        read_ms = api.monotonic() * 1000 + offset_ms
        last = read_ms >= posted_ms + wait_ms
        everybody = [*targets_now(), *(yield from _neighbours(targets_now(), touching))]
        # most copies that are there at all came at once; those that came late are read in the end
        end_ms = ceil(posted_ms) + _SOON_MS
        # not as far as now, where rows still move while others send
        wrong_ms = ceil(max(one.clock_ms for one in everybody)) + SLACK_MS
        end_ms = max(min(end_ms, ceil(posted_ms) + wait_ms + wrong_ms), api.earliest_ms()) if last else end_ms
        yield from evidence.read_rows((start_ms, end_ms), marks_of(everybody))
        if evidence.too_many:
            return Settled(partition_offsets.from_refs(sent))
        search = _Search(evidence, [*targets_now(), *(yield from _neighbours(targets_now(), touching))])
        yield from search.load()
        yield from search.calibrate(final=last)
        if evidence.kept is not None and evidence.kept.same_time:
            yield from search.read(start_ms, end_ms)
        left = {ref: doubt for ref, doubt in in_doubt.items() if ref not in sent}
        matching = yield from search.settle(left, wait_ms, thorough=last)
        sent |= {source.ref for source in matching.sent}
        due_ms = posted_ms + wait_ms
        if last or len(sent) == len(in_doubt):
            if last and evidence.why_incomplete and again < _MOST_CHANGES:
                again += 1
                yield Sleep(_FIRST_PAUSE_S, "rows of the topic still move")
                continue
            unsent, shown_ms = (
                (yield from search.surely_unsent(left, matching, read_ms, offset_ms)) if last else ([], 0)
            )
            # a copy that was there when we first looked became visible before that, and nothing says how long before
            if shown_ms <= read_ms or shown_ms > latest_ms:
                return Settled(partition_offsets.from_refs(sent), partition_offsets.from_refs(unsent))
            due_ms = shown_ms
        due_s = max((due_ms - offset_ms) / 1000 - api.monotonic(), 0.001)
        yield Sleep(min(pause_s, due_s), "copies may still become visible")
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


@dataclass(slots=True)
class _Search:
    """One matching of the topic's rows with the sources of some executions."""

    evidence: Evidence
    everybody: Sequence[Execution]
    narrow: bool = False
    """Whether the times of copies must fit as exactly as those of pairs."""
    executions: list[Execution] = field(init=False)
    """Those whose copies are not known yet."""

    def __post_init__(self) -> None:
        self.executions = [one for one in self.everybody if one.found is None]

    @property
    def span(self) -> tuple[int, int]:
        """The time in which copies can have been appended; what others send from now on is none of ours."""
        ended = [one for one in self.executions if not one.busy]
        return hull(self.executions)[0], hull(ended or self.executions)[1]

    def load(self) -> Flow[None]:
        """Find out what all sources look like."""
        wanted = partition_offsets.union(*(offsets for one in self.executions for offsets in (one.sent, one.open)))
        yield from self.evidence.sources.load(wanted, [one.span_ms for one in self.executions if one.span_ms])

    def read(self, start_ms: int, end_ms: int) -> Flow[None]:
        """Read the rows of a time; if copies keep the time of their source, those of the sources' time instead."""
        evidence = self.evidence
        partitions = {partition for one in self.executions for partition in (*one.sent, *one.open)}
        if evidence.kept is not None and evidence.kept.same_time:
            times = [evidence.sources.shown[source.ref].time_ms for source in self.sources()]
            start_ms, end_ms = min(times), max(times) + 1
        # nearly all rows are in the middle, which the reader cuts well if it gets it alone
        middle = (start_ms + MARGIN_MS, end_ms - MARGIN_MS) if sum(one.count for one in self.executions) > _MANY else ()
        edges_ms = sorted({start_ms, *(edge for edge in middle if start_ms < edge < end_ms), end_ms})
        yield from evidence.read_rows(edges_ms, marks_of(self.executions), partitions)

    def read_again(self, short: Sequence[Source]) -> Flow[None]:
        """Read what may have changed: the time in which missing copies must be, and what came since."""
        start_ms, end_ms = hull(self.executions)
        if short and not self.evidence.why_incomplete:
            start_ms = max(start_ms, min(source.start_ms for source in short))
        yield from self.read(start_ms, max(end_ms, self.evidence.api.latest_ms() + MARGIN_MS))

    def sources(self) -> list[Source]:
        """Return all sources; if copies keep the time of their source, each row may be a copy of any."""
        kept = self.evidence.kept
        sources = sources_of(self.executions, self.evidence.sources.shown, self._fit(narrow=self.narrow))
        if kept is not None and kept.same_time:
            return [source._replace(start_ms=_ANY_TIME[0], end_ms=_ANY_TIME[1]) for source in sources]
        return sources

    def _fit(self, *, narrow: bool) -> Fit:
        return fit_of(self.executions, self.evidence.pairs, narrow=narrow)

    def rows(self) -> tuple[list[Shown], list[Shown]]:
        """Return the rows that may be copies of somebody whose copies are not known, and those of the others."""
        known = partition_offsets.union(*(one.found for one in self.everybody if one.found is not None))
        taken = set(partition_offsets.expand(known))
        rows: list[Shown] = []
        others: list[Shown] = []
        for ref, row in self.evidence.rows.items():
            (others if ref in taken else rows).append(row)
        return rows, others

    def calibrate(self, *, final: bool) -> Flow[None]:
        """Learn what a copy looks like, if that is not known yet."""
        if self.evidence.pairs:
            return
        known = [source for source in self.sources() if source.known]
        yield from self.evidence.calibrate(known, marks_of(self.executions), final=final)
        kept = self.evidence.kept
        if kept is not None and kept.same_time:
            yield from self.read(*self.span)

    def match(self, *, final: bool) -> Flow[Matching]:
        """
        Match by counting; if nothing is late, or this is the last chance, also by contents.

        Times that do not fit exactly are a reason to compare contents, but if those are too many they need not.
        """
        self.narrow = True
        matching = yield from self._match(final=final)
        if matching.unclear and matching.wanted:
            self.narrow = False
            matching = yield from self._match(final=final)
        return matching

    def _match(self, *, final: bool) -> Flow[Matching]:
        evidence = self.evidence
        while True:
            yield from self.calibrate(final=final)
            kept = evidence.kept
            if kept is None:
                return Matching(unclear=self.sources())
            rows, others = self.rows()
            mixed = {kept.key_of_row(row) for row in others}
            matching = copy_matching.match(self.sources(), rows, kept, evidence.contents, mixed)
            if matching.short and (yield from evidence.recheck(matching.short, matching.strays)):
                continue
            if not final and matching.short:
                return matching
            if (yield from self._read_wanted(matching)):
                continue
            if not final or not (yield from self._compare_missing(matching)):
                return matching

    def settle(self, in_doubt: Mapping[MessageRef, Doubt], wait_ms: int, *, thorough: bool) -> Flow[Matching]:
        """Match messages in doubt."""
        shown = self.evidence.sources.shown
        while True:
            kept, fit = self.evidence.kept, self._fit(narrow=False)
            if kept is None:
                return Matching()
            mine = [
                Source(
                    shown[ref],
                    token="",
                    known=False,
                    start_ms=floor(doubt.first_ms + fit.earliest_ms),
                    end_ms=ceil(doubt.last_ms + fit.latest_ms) + wait_ms + MARGIN_MS,
                )
                for ref, doubt in in_doubt.items()
                if ref in shown
            ]
            if kept.same_time:
                mine = [source._replace(start_ms=_ANY_TIME[0], end_ms=_ANY_TIME[1]) for source in mine]
            # what others left in doubt of these messages is the same doubt
            key = self.everybody[0].consumer_key
            same = {one.token for one in self.everybody if one.consumer_key == key}
            others = [one for one in self.sources() if one.known or one.ref not in in_doubt or one.token not in same]
            matching = copy_matching.settle(
                mine, others, self.rows()[0], kept, self.evidence.contents, thorough=thorough
            )
            if not (yield from self._read_wanted(matching)):
                return matching

    def surely_unsent(
        self, in_doubt: Mapping[MessageRef, Doubt], matching: Matching, read_ms: float, offset_ms: float
    ) -> Flow[tuple[list[MessageRef], float]]:
        """
        Return the absent sources whose partitions were surely shown as far as their POST.

        Also return when that will be so for the others, if it will; 0 if waiting does not help.
        """
        kept = self.evidence.kept
        absent = [source.ref for source in matching.absent if source.ref in in_doubt]
        if not absent or kept is None or not kept.same_partition or self.evidence.why_incomplete:
            return [], 0.0
        shown_ms: dict[int, tuple[float, float]] = {}
        for partition in sorted({partition for partition, _ in absent}):
            shown_ms[partition] = yield from self._shown(partition, offset_ms)
        # by now what a copy looks like may have turned out to be something else
        if self.evidence.kept != kept:
            return [], 0.0
        later = [
            in_doubt[ref].last_ms + shown_ms[ref[0]][1] for ref in absent if in_doubt[ref].last_ms > shown_ms[ref[0]][0]
        ]
        unsent = [
            ref for ref in absent if max(shown_ms[ref[0]][0], read_ms - shown_ms[ref[0]][1]) >= in_doubt[ref].last_ms
        ]
        return unsent, max(later, default=0.0)

    def _shown(self, partition: int, offset_ms: float) -> Flow[tuple[float, float]]:
        """
        Return how far a partition is surely shown: until a time at least, and how long its rows take to become visible.

        What came before a copy that is there is shown as well. If the newest copy is there, rows take no longer than it
        did, at most; otherwise no longer than anything may be late.
        """
        evidence = self.evidence
        here = [source for source in self.sources() if source.known and source.ref[0] == partition]
        newest = sorted(here, key=lambda source: (source.end_ms, source.ref), reverse=True)[:_MOST_NEWEST]
        rows = [row for row in self.rows()[0] if row.ref[0] == partition]
        kept = evidence.kept
        short = copy_matching.match(here, rows, kept, evidence.contents).short if kept else []
        for source in newest:
            row = yield from evidence.find_copy(source, rows, _MOST_NEAR)
            if row is None:
                continue
            if source is not newest[0] or short or row.ref not in evidence.seen_s:
                return row.time_ms, LATE_MS
            return row.time_ms, evidence.seen_s[row.ref] * 1000 + offset_ms - self._posted_ms(source, row)
        return float("-inf"), LATE_MS

    def _posted_ms(self, source: Source, row: Shown) -> float:
        for one in self.executions:
            if one.token == source.token and source.ref in one.posted_ms:
                return one.posted_ms[source.ref][0]
        return row.time_ms

    def _read_wanted(self, matching: Matching) -> Flow[bool]:
        """Read the contents that tell more, as far as they may be read; return whether there were any."""
        affordable: dict[MessageRef, None] = {}
        left = self.evidence.most_contents
        for refs in matching.wanted:
            unread = [ref for ref in dict.fromkeys(refs) if ref not in self.evidence.contents and ref not in affordable]
            if len(unread) <= left:
                affordable |= dict.fromkeys(unread)
                left -= len(unread)
        yield from self.evidence.read_contents(affordable)
        return bool(affordable)

    def _compare_missing(self, matching: Matching) -> Flow[bool]:
        """
        Compare what is missing with all rows that came at its time; return whether that taught anything.

        If there are too many, it is not certain that anything is missing.
        """
        near = [row for row in matching.strays if any(source.covers(row) for source in matching.missing)]
        if not near:
            return False
        refs = [*(source.ref for source in matching.missing), *(row.ref for row in near)]
        if not (yield from self.evidence.read_contents(refs)):
            matching.unclear += matching.missing
            matching.missing = []
            return False
        contents, before = self.evidence.contents, len(self.evidence.pairs)
        known = set(self.evidence.pairs)
        by_content = {contents[row.ref]: row for row in near if contents[row.ref] is not None}
        for source in matching.missing:
            row = by_content.get(contents[source.ref])
            if row is not None and (source.shown, row) not in known:
                self.evidence.pairs.append((source.shown, row))
        return len(self.evidence.pairs) > before

    def finding(self, targets: Sequence[Execution], matching: Matching) -> Finding:
        """Say for each of some executions how it stands."""
        evidence, kept = self.evidence, self.evidence.kept
        finding = Finding(keep_time=kept.same_time if kept and kept.steady else None)
        finding.surely_copies = partition_offsets.from_refs(
            [*(row.ref for _, row in matching.copies), *(row.ref for row in matching.spare_copies)]
        )
        finding.of_open = partition_offsets.from_refs(row.ref for source, row in matching.copies if not source.known)
        now_ms = evidence.api.earliest_ms()
        for one in targets:
            if one.found is not None:
                finding.copies[one.token] = one.found
                finding.whole.add(one.token)
                continue
            copies = [(source, row) for source, row in matching.copies if source.token == one.token]
            sent = {source.ref for source, _ in copies if source.known}
            missing = [source.ref for source in matching.missing if source.token == one.token]
            left_open = [source for source in matching.unclear if source.token == one.token and not source.known]
            absent = any(source.token == one.token for source in matching.absent)
            if evidence.why_incomplete:
                finding.unproven[one.token] = evidence.why_incomplete[0]
            elif kept is None:
                finding.unproven[one.token] = (
                    "No copy of a message that was surely sent has been recognised, so it is not known what copies "
                    "look like."
                )
            elif missing:
                finding.partial[one.token] = partition_offsets.from_refs(row.ref for _, row in copies)
                finding.missing[one.token] = partition_offsets.from_refs(missing)
            elif len(sent) == one.count:
                finding.copies[one.token] = partition_offsets.from_refs(row.ref for _, row in copies)
                if not left_open and (not absent or now_ms > one.last_ms):
                    finding.whole.add(one.token)
            else:
                finding.partial[one.token] = partition_offsets.from_refs(row.ref for _, row in copies)
                finding.unproven[one.token] = _why_unclear(one, len(sent), matching)
        return finding


def _why_unclear(one: Execution, found: int, matching: Matching) -> str:
    unclear = [source.ref for source in (*matching.unclear, *matching.absent) if source.token == one.token]
    examples = ", ".join(f"{offset} of partition {partition}" for partition, offset in unclear[:5])
    named = f" (message_offset {examples})" if examples else ""
    return (
        f"{found} copies of {one.count} messages are certain; the others cannot be told from messages that look the "
        f"same{named}."
    )
