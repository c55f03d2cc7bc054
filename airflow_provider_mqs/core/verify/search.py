"""
One look at a topic: which rows may be copies of the sources of some executions, and what follows from them. Flows.

Rows are read first and ledgers last: a message is claimed in a ledger before it is posted, so whoever made a row is
named in what is read after it. If the ledgers have changed, everything is matched once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify import copy_matching
from airflow_provider_mqs.core.verify.copy_matching import Matching, Source
from airflow_provider_mqs.core.verify.executions import MARGIN_MS, Execution, Fit, fit_of, hull, marks_of, sources_of

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Shown
    from airflow_provider_mqs.core.verify.evidence import Evidence

_MOST_ROUNDS = 20
"""How often the time of sending is widened for executions that touch those that touch ours."""
_MOST_AT_ONCE = 1
"""Rows that are compared with the first message that was sent, right after that."""
_MOST_FIRST = 8
"""Known copies of a partition that are compared with the first message that was sent there."""
_MANY = 400
"""So many rows in a few seconds are read by themselves, without the margins before and after."""
EVER_MS = 2**62
"""After every message."""
ANY_TIME = (-(2**63), 2**63)
"""The span of a source whose copy may have any time."""

Touching: TypeAlias = Callable[[int, int], "Flow[list[Execution]]"]
"""Reads which executions may have sent within a time, from the ledgers of the topic."""


def neighbours(targets: Sequence[Execution], touching: Touching) -> Flow[list[Execution]]:
    """Return the other executions whose copies may lie among those of ``targets``."""
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


def calibrate(evidence: Evidence, target: Execution) -> Flow[KeptTraits | None]:
    """Learn what copies look like from those that are in sight, without waiting for any."""
    if not evidence.pairs:
        first = replace(target, sent=partition_offsets.first(target.sent, 1), open={})
        search = Search(evidence, [first])
        yield from search.load()
        for source in search.sources():
            yield from evidence.read_page(source.start_ms, source.end_ms, marks_of([first]))
            yield from evidence.calibrate([source], marks_of([first]), (), final=False, most=_MOST_AT_ONCE)
    return evidence.kept


@dataclass(slots=True)
class Search:
    """One matching of the topic's rows with the sources of some executions."""

    evidence: Evidence
    everybody: Sequence[Execution]
    counts: bool = True
    """Whether counting may tell, or only contents."""
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
        held = [(one.span_ms, partition_offsets.union(one.sent, one.open)) for one in self.executions]
        wanted = partition_offsets.union(*(offsets for _, offsets in held))
        yield from self.evidence.sources.load(wanted, [(span, offsets) for span, offsets in held if span])

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
        sources = sources_of(self.executions, self.evidence.sources.shown, self.fit(narrow=self.narrow))
        if kept is not None and kept.same_time:
            return [source._replace(start_ms=ANY_TIME[0], end_ms=ANY_TIME[1]) for source in sources]
        return sources

    def fit(self, *, narrow: bool) -> Fit:
        """Return how exactly the times of copies fit."""
        return fit_of(self.executions, self.evidence.pairs, narrow=narrow)

    def rows(self) -> tuple[list[Shown], list[Shown]]:
        """Return the rows that may be copies of somebody whose copies are not known, and those of the others."""
        taken = self._taken()
        rows: list[Shown] = []
        others: list[Shown] = []
        for ref, row in self.evidence.rows.items():
            (others if ref in taken else rows).append(row)
        return rows, others

    def _taken(self) -> set[MessageRef]:
        known = partition_offsets.union(*(one.found for one in self.everybody if one.found is not None))
        return set(partition_offsets.expand(known))

    def calibrate(self, *, final: bool) -> Flow[None]:
        """Learn what a copy looks like, if that is not known yet."""
        if self.evidence.pairs:
            return
        known = [source for source in self.sources() if source.known]
        yield from self.evidence.calibrate(known, marks_of(self.executions), self._taken(), final=final)
        yield from self.calibrate_by(self.everybody)
        kept = self.evidence.kept
        if kept is not None and kept.same_time:
            yield from self.read(*self.span)

    def calibrate_by(self, executions: Iterable[Execution]) -> Flow[None]:
        """Learn what a copy looks like from executions whose copies are known, if that is not known yet."""
        for one in executions:
            if one.found and not self.evidence.pairs:
                yield from self._calibrate_by(one, one.found)

    def _calibrate_by(self, one: Execution, found: OffsetsByPartition) -> Flow[None]:
        """Learn from an execution whose copies are known: its first copy is among the first of them."""
        evidence = self.evidence
        first = partition_offsets.first(one.sent, 1)
        yield from evidence.sources.load(first)
        for ref in partition_offsets.expand(first):
            near = partition_offsets.first({ref[0]: found.get(ref[0], ())}, _MOST_FIRST)
            yield from evidence.read_contents(partition_offsets.expand(near))
            rows = [evidence.rows[row] for row in partition_offsets.expand(near) if row in evidence.rows]
            if ref in evidence.sources.shown:
                (start_ms, end_ms), source = ANY_TIME, evidence.sources.shown[ref]
                yield from evidence.find_copy(Source(source, one.token, True, start_ms, end_ms), rows)  # noqa: FBT003

    def nothing_came(self, refs: Iterable[MessageRef], span: tuple[int, int]) -> Flow[bool]:
        """Return whether no row came within a time, nor any after the marks that has the time of these messages."""
        evidence, shown = self.evidence, self.evidence.sources.shown
        refs = list(refs)
        times_ms = {shown[ref].time_ms for ref in refs if ref in shown}
        if any(ref not in shown for ref in refs) or any(
            span[0] <= row.time_ms <= span[1] for row in evidence.rows.values()
        ):
            return False
        yield from evidence.read_rows((min(times_ms), max(times_ms) + 1), marks_of(self.executions))
        return not any(row.time_ms in times_ms for row in evidence.rows.values())

    def match(self, *, final: bool) -> Flow[Matching]:
        """
        Match by counting; if nothing is late, or this is the last chance, also by contents.

        Times that do not fit exactly are a reason to compare contents, but if those are too many they need not.
        """
        self.narrow = True
        matching = yield from self._match(final=final)
        if matching.unclear and matching.wanted and (final or not matching.short):
            self.narrow, self.counts = False, True
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
            narrow, wide = self.fit(narrow=self.narrow), self.fit(narrow=False)
            matching = copy_matching.match(
                self.sources(),
                rows,
                kept,
                evidence.contents,
                mixed,
                ordered={one.token for one in self.executions if one.ordered},
                counts=self.counts,
                slack_ms=ceil(max(narrow.earliest_ms - wide.earliest_ms, wide.latest_ms - narrow.latest_ms, 0)),
            )
            if matching.short and (yield from evidence.recheck(matching.short, matching.strays)):
                continue
            if not final and matching.short:
                return matching
            if (yield from self.read_wanted(matching)):
                continue
            if not final or not (yield from self._compare_missing(matching)):
                return matching

    def read_wanted(self, matching: Matching) -> Flow[bool]:
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
