"""
Settle messages in doubt: find out which of them were sent. Flows.

=========  ============================================================================================================
sent       A row has its content, and no other message explains that row. This needs no wait.
not sent   No row has its content, the wait after its POST has passed, and its partition was surely shown as far as
           that: a copy that came later is visible there; or the newest copy of the partition is, and it took less
           time to become visible than has passed since the POST. A partition in which no copy is visible says
           nothing for a long time (``LATE_MS``), since all its rows may be late.
unknown    All else: nothing was surely sent, so nobody knows what a copy looks like; rows are missing; somebody
           writes the same contents; copies change their look; or it takes more requests than are allowed.
=========  ============================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.ledger.ledger import LATE_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify import copy_matching
from airflow_provider_mqs.core.verify.copy_matching import Matching, Source
from airflow_provider_mqs.core.verify.executions import MARGIN_MS, SLACK_MS, Execution, hull, marks_of
from airflow_provider_mqs.core.verify.search import ANY_TIME, EVER_MS, Search, Touching, neighbours

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.verify.evidence import Evidence

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_MOST_CHANGES = 3
"""How often rows are read once more because they still move."""
_MOST_NEWEST = 3
"""Newest known sources of a partition whose copies show how far it can be seen."""
_MOST_NEAR = 8
"""Rows that are compared with one of these."""
_LAG_MS = 30_000
"""How long an appended copy takes to become visible at most, if others of its partition are visible."""
_SOON_MS = 5_000
"""How soon after its POST a copy is appended, in nearly all cases."""


@dataclass(slots=True)
class Settled:
    """What became of messages in doubt; those in neither stay unknown."""

    sent: OffsetsByPartition = field(default_factory=dict)
    unsent: OffsetsByPartition = field(default_factory=dict)
    sent_by: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, what each execution turned out to have sent."""


class Doubt(NamedTuple):
    """When a message in doubt may have been posted, in the service's time, and by which executions."""

    first_ms: float
    last_ms: float
    tokens: frozenset[str]


def settle(
    evidence: Evidence,
    targets_now: Callable[[], Sequence[Execution]],
    touching: Touching,
    in_doubt: Mapping[MessageRef, Doubt],
    *,
    wait_ms: int,
    offset_ms: float,
    longer_ms: int,
) -> Flow[Settled]:
    """
    Find out which messages in doubt were sent.

    ``targets_now`` returns their execution and those that it continues, as they are at that moment. ``offset_ms`` is
    how far the service's clock is ahead of ``api.monotonic``, as all times of our own POSTs assume. If the wait is over
    and a message could be settled later, go on for ``longer_ms`` at most.
    """
    api, pause_s, again = evidence.api, _FIRST_PAUSE_S, 0
    sent: dict[MessageRef, str] = {}
    refs = partition_offsets.from_refs(in_doubt)
    start_ms = floor(min(doubt.first_ms for doubt in in_doubt.values())) - MARGIN_MS
    posted_ms = max(doubt.last_ms for doubt in in_doubt.values())
    latest_ms = max(posted_ms + wait_ms, api.monotonic() * 1000 + offset_ms) + longer_ms
    while True:
        read_ms = api.monotonic() * 1000 + offset_ms
        last = read_ms >= posted_ms + wait_ms
        everybody = yield from _everybody(targets_now(), touching, refs)
        # a copy that another made of the same message may have come before ours, and then needs no row of ours
        same = [one.first_ms - MARGIN_MS for one in everybody if not one.posted_ms and one.has_any(refs)]
        start_ms = min([start_ms, *same])
        # most copies that are there at all came at once; those that came late are read in the end
        end_ms = ceil(posted_ms) + _SOON_MS
        # not as far as now, where rows still move while others send
        wrong_ms = ceil(max(one.clock_ms for one in everybody)) + SLACK_MS
        end_ms = max(min(end_ms, ceil(posted_ms) + wait_ms + wrong_ms), api.earliest_ms()) if last else end_ms
        yield from evidence.read_rows((start_ms, end_ms), marks_of(everybody))
        if evidence.too_many:
            return _settled(sent, [])
        search = Search(evidence, (yield from _everybody(targets_now(), touching, refs)))
        yield from search.load()
        yield from search.calibrate(final=last)
        if evidence.kept is None and last and any(one.sent for one in search.executions):
            # what was surely sent was sent at another time
            yield from search.read(*hull(one for one in search.executions if one.sent))
            yield from search.calibrate(final=last)
        if evidence.kept is None and last:
            # what a copy looks like does not depend on when it was sent
            yield from search.calibrate_by((yield from touching(0, EVER_MS)))
        if evidence.kept is not None and evidence.kept.same_time:
            yield from search.read(start_ms, end_ms)
        matching = yield from _match(search, in_doubt, wait_ms, thorough=last)
        sent |= {source.ref: source.token for source in matching.sent}
        due_ms = posted_ms + wait_ms
        if last or len(sent) == len(in_doubt):
            if last and evidence.why_incomplete and again < _MOST_CHANGES:
                again += 1
                yield Sleep(_FIRST_PAUSE_S, "rows of the topic still move")
                continue
            left = {ref: doubt for ref, doubt in in_doubt.items() if ref not in sent}
            unsent, shown_ms = (
                (yield from _surely_unsent(search, left, matching, read_ms, offset_ms, wait_ms)) if last else ([], 0)
            )
            # a copy that was there when we first looked became visible before that, and nothing says how long before
            if shown_ms <= read_ms or shown_ms > latest_ms:
                return _settled(sent, unsent)
            due_ms = shown_ms
        due_s = max((due_ms - offset_ms) / 1000 - api.monotonic(), 0.001)
        yield Sleep(min(pause_s, due_s), "copies may still become visible")
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _settled(sent: Mapping[MessageRef, str], unsent: Iterable[MessageRef]) -> Settled:
    sent_by = {
        token: partition_offsets.from_refs(ref for ref, sender in sent.items() if sender == token)
        for token in set(sent.values())
    }
    return Settled(partition_offsets.from_refs(sent), partition_offsets.from_refs(unsent), sent_by)


def _everybody(targets: Sequence[Execution], touching: Touching, refs: OffsetsByPartition) -> Flow[list[Execution]]:
    """Return all executions that may have made a row; whoever has posted a message in doubt is matched again."""
    everybody = [*targets, *(yield from neighbours(targets, touching))]
    return [replace(one, found=None) if one.has_any(refs) else one for one in everybody]


def _match(search: Search, in_doubt: Mapping[MessageRef, Doubt], wait_ms: int, *, thorough: bool) -> Flow[Matching]:
    """Match messages in doubt: each POST that may have been executed is a source of its own."""
    shown = search.evidence.sources.shown
    while True:
        kept, fit = search.evidence.kept, search.fit(narrow=False)
        if kept is None:
            return Matching()
        mine: list[Source] = []
        others: list[Source] = []
        for one in search.executions:
            for source in one.sources(shown, fit):
                doubt = in_doubt.get(source.ref)
                if source.known or doubt is None or one.token not in doubt.tokens:
                    others.append(source)
                    continue
                end_ms = ceil(doubt.last_ms + fit.latest_ms) + wait_ms + MARGIN_MS
                mine.append(
                    source._replace(end_ms=end_ms if source.ref in one.posted_ms else min(source.end_ms, end_ms))
                )
        if kept.same_time:
            mine, others = (
                [source._replace(start_ms=ANY_TIME[0], end_ms=ANY_TIME[1]) for source in sources]
                for sources in (mine, others)
            )
        matching = copy_matching.settle(
            mine, others, search.rows()[0], kept, search.evidence.contents, thorough=thorough
        )
        if not (yield from search.read_wanted(matching)):
            return matching


def _surely_unsent(
    search: Search,
    in_doubt: Mapping[MessageRef, Doubt],
    matching: Matching,
    read_ms: float,
    offset_ms: float,
    wait_ms: int,
) -> Flow[tuple[list[MessageRef], float]]:
    """
    Return the absent messages whose partitions were surely shown as far as their POST.

    Also return when that will be so for the others, if it will; 0 if waiting does not help.
    """
    evidence, kept = search.evidence, search.evidence.kept
    absent = [ref for ref in dict.fromkeys(source.ref for source in matching.absent) if ref in in_doubt]
    if kept is None:
        span = (
            floor(min(doubt.first_ms for doubt in in_doubt.values())) - MARGIN_MS,
            ceil(max(doubt.last_ms for doubt in in_doubt.values())) + wait_ms + MARGIN_MS,
        )
        absent = list(in_doubt) if (yield from search.nothing_came(in_doubt, span)) else []
    if not absent or (kept is not None and not kept.same_partition) or evidence.why_incomplete:
        return [], 0.0
    shown: dict[int, tuple[float, float]] = {}
    for partition in sorted({partition for partition, _ in absent}):
        shown[partition] = yield from _shown(search, partition, matching, offset_ms, wait_ms)
    # by now what a copy looks like may have turned out to be something else
    if evidence.kept != kept:
        return [], 0.0
    later = [in_doubt[ref].last_ms + shown[ref[0]][1] for ref in absent if in_doubt[ref].last_ms > shown[ref[0]][0]]
    unsent = [ref for ref in absent if max(shown[ref[0]][0], read_ms - shown[ref[0]][1]) >= in_doubt[ref].last_ms]
    return unsent, max(later, default=0.0)


def _shown(
    search: Search, partition: int, matching: Matching, offset_ms: float, wait_ms: int
) -> Flow[tuple[float, float]]:
    """
    Return how far a partition is surely shown: until a time at least, and how long its rows take to become visible.

    What came before a copy that is there is shown as well. If the newest copy is there, rows take no longer than it
    did, at most; otherwise no longer than anything may be late. One that was there at the first look came at an unknown
    moment before it; then others take no longer than the wait, and ``_LAG_MS`` at least. Where there can be none, since
    nothing was surely sent there, both together are enough, for copies of other partitions are there.
    """
    evidence, kept = search.evidence, search.evidence.kept
    mine, others = search.rows()
    lag_ms = max(wait_ms, _LAG_MS)
    here = [source for source in search.sources() if source.known and source.ref[0] == partition]
    newest = sorted(here, key=lambda source: (source.end_ms, source.ref), reverse=True)[:_MOST_NEWEST]
    rows = [row for row in mine if row.ref[0] == partition]
    short = copy_matching.match(here, rows, kept, evidence.contents).short if kept else []
    for source in newest:
        row = yield from evidence.find_copy(source, rows, _MOST_NEAR)
        if row is None:
            continue
        if source is not newest[0] or short or row.ref not in evidence.seen_s:
            return row.time_ms, LATE_MS
        posted_ms = _posted_ms(search, source)
        seen_ms = evidence.seen_s[row.ref] * 1000 + offset_ms
        return row.time_ms, min(seen_ms - row.time_ms, lag_ms) if posted_ms is None else seen_ms - posted_ms
    if here:
        return float("-inf"), LATE_MS
    known = [row for row in others if row.ref[0] == partition]
    known += [row for _, row in matching.copies if row.ref[0] == partition]
    if not known:
        return float("-inf"), LATE_MS if kept is None else min(wait_ms + _LAG_MS, LATE_MS)
    last = max(known, key=lambda row: row.time_ms)
    return last.time_ms, min(evidence.seen_s[last.ref] * 1000 + offset_ms - last.time_ms, lag_ms)


def _posted_ms(search: Search, source: Source) -> float | None:
    """Return when a message was posted, if this execution did it."""
    for one in search.executions:
        if one.token == source.token and source.ref in one.posted_ms:
            return one.posted_ms[source.ref][0]
    return None
