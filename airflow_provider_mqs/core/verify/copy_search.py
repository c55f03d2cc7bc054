"""
Find the copies of messages in their topic, and so resolve which messages in doubt were sent. Flows.

A *candidate* is a row that may be a copy. Its offset is greater than every offset that its partition had before the
first message was sent. Its time lies between ``MARGIN_MS`` before that and ``MARGIN_MS`` from now, by the clock of the
service, since a copy gets the time of its append. And no other replay is known to have made it.

*Known-sent* messages, those that the service acknowledged, calibrate the search: they show what a copy keeps
(``copy_traits``). A search is calibrated if the rows are complete, each known-sent message has a candidate, and in the
end none of them is missing its copy. ``copy_matching`` decides, partition by partition, from counts and contents. The
service may show a message later than it appended it, so the search is repeated until nothing is left open, at most for
``verify_wait``.

=========  ============================================================================================================
sent       A copy was found, and it is known what a copy looks like. This needs no wait.
not sent   No copy, although the search is calibrated: the copies of the messages that were surely sent are visible. It
           is decided in the last search only, when the wait has passed, and only if up to three known-sent messages
           find their contents among their candidates: else look-alikes may have stood in for their copies.
unknown    All else. Nothing was surely sent, or not all of its copies are visible, so nobody knows what a copy looks
           like; the rows are incomplete; producers write messages of the same content; or there are more look-alikes
           than may be compared.
=========  ============================================================================================================

In partitions where others write, a look-alike of theirs may stand in for a copy that is not visible yet. So without
messages in doubt, copies count as found only if two searches in a row agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel, Sleep
from airflow_provider_mqs.core.ledger.ledger import MARGIN_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.verify import copy_matching, copy_traits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.message import Rows
    from airflow_provider_mqs.core.verify.copy_matching import MatchGroup, Matching
    from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, TraitsByOffset
    from airflow_provider_mqs.core.verify.source_messages import SourceMessages

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_CONFIRM_PAUSE_S = 2.0
"""Time between two searches that must agree, if others write into the topic."""
_MAX_COMPARED = 2_000
"""Contents that one search of a partition may ask for."""
_MAX_CHECKED, _FEW_CANDIDATES = 3, 20
"""Known-sent messages whose contents must be found before another counts as not sent, in groups where that is cheap."""


@dataclass(frozen=True, slots=True)
class CopySearch:
    """What to search for, and among which rows."""

    known_sent: OffsetsByPartition
    """Surely sent messages whose copies may be among the candidates."""
    in_doubt: OffsetsByPartition
    """Messages that may have been sent."""
    last_offsets: Mapping[int, int]
    """By partition, the last offset that was there before the first message was sent."""
    since_ms: int
    """The service's time before the first message was sent, epoch ms."""
    foreign_copies: OffsetsByPartition = field(default_factory=dict)
    """Copies that other replays are known to have made."""
    ordered: bool = False
    """Whether the messages of each partition were sent one by one, in the order of their offsets."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a search found; of the messages in doubt, each is in exactly one of the first three."""

    sent: OffsetsByPartition
    unsent: OffsetsByPartition
    unknown: OffsetsByPartition
    copies: OffsetsByPartition
    missing: OffsetsByPartition
    """Known-sent messages without a copy, in partitions where others have theirs."""
    calibrated: bool
    """Whether it is known what a copy looks like, and the copy of every known-sent message was found."""
    complete: bool
    """Whether ``copies`` holds every copy."""
    foreign_rows: bool = False
    """Whether there are candidates that no message explains."""

    @property
    def may_improve(self) -> bool:
        """Whether a later search may find more."""
        return not self.calibrated or bool(self.unsent or self.missing)


def find_last_offsets(api: MqsApi, topic: str, partitions: OffsetsByPartition) -> Flow[dict[int, int]]:
    """Find the last offset of each partition of a plan, before anything is sent: of the plan, or of the newest rows."""
    last_offsets = {partition: ranges[-1][1] for partition, ranges in partitions.items()}

    def note(rows: Rows) -> None:
        for row in rows:
            if row.partition in last_offsets:
                last_offsets[row.partition] = max(last_offsets[row.partition], row.message_offset)

    # rows outside this time are no candidates, so they need not be excluded by their offset
    now_ms = api.now_ms()
    reader = WindowReader(api, topic, note, partitions, total_may_lag=True)
    yield from reader.read(Slice(now_ms - MARGIN_MS, now_ms + MARGIN_MS, _single_partition(partitions)))
    return last_offsets


def find_copies(
    api: MqsApi, topic: str, search: CopySearch, sources: SourceMessages, *, until_s: float
) -> Flow[Finding]:
    """Search until nothing is left open, at most until ``until_s`` by ``monotonic``; only then a message is unsent."""
    yield from sources.load(partition_offsets.union(search.known_sent, search.in_doubt))
    pause_s, copies_before = _FIRST_PAUSE_S, None
    while True:
        began_s = api.monotonic()
        last = began_s >= until_s
        finding = yield from _search_once(api, topic, search, sources, last=last)
        confirmed = bool(search.in_doubt) or not finding.foreign_rows or finding.copies == copies_before
        if last or (confirmed and not finding.may_improve):
            return finding
        copies_before = None if finding.may_improve else finding.copies
        wait_s = pause_s if finding.may_improve else _CONFIRM_PAUSE_S
        yield Sleep(min(wait_s, max(until_s - api.monotonic(), 0.0)), "copies may still become visible")
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _search_once(api: MqsApi, topic: str, search: CopySearch, sources: SourceMessages, *, last: bool) -> Flow[Finding]:
    candidates, whole = yield from _read_candidates(api, topic, search)
    known_sent, in_doubt = sources.traits(search.known_sent), sources.traits(search.in_doubt)
    every_source_known = sum(map(len, known_sent.values())) == partition_offsets.count(search.known_sent)
    learned_from = {partition: list(found.values()) for partition, found in known_sent.items()}
    rows = {partition: list(found.values()) for partition, found in candidates.items()}
    calibration = copy_traits.traits_all_keep(learned_from, rows) if whole and every_source_known else None
    kept = calibration or copy_traits.traits_most_keep(learned_from, rows)

    matchings: dict[int, Matching] = {}
    checkable: list[tuple[int, MatchGroup]] = []
    foreign_rows = False
    for partition in sorted({*search.known_sent, *search.in_doubt}):
        groups = copy_matching.group_by_key(
            {offset: kept.key_of_source(traits) for offset, traits in known_sent.get(partition, {}).items()},
            {offset: kept.key_of_source(traits) for offset, traits in in_doubt.get(partition, {}).items()},
            {offset: kept.key_of_candidate(traits) for offset, traits in candidates.get(partition, {}).items()},
        )
        compare = calibration is not None
        matchings[partition] = yield from _match_partition(api, topic, partition, groups, search, compare=compare)
        foreign_rows = foreign_rows or any(group.unexplained > 0 for group in groups)
        checkable += [
            (partition, group) for group in groups if group.known_sent and len(group.candidates) <= _FEW_CANDIDATES
        ]
    decides_unsent = last and sources.by_offset and any(matching.unsent for matching in matchings.values())
    if decides_unsent and not (yield from _have_their_contents(api, topic, checkable)):
        calibration = None
    finding = replace(_finding(search, matchings, calibration), foreign_rows=foreign_rows)
    # a copy that incomplete rows do not show may be there all the same
    return finding if whole else replace(finding, missing={})


def _read_candidates(api: MqsApi, topic: str, search: CopySearch) -> Flow[tuple[TraitsByOffset, bool]]:
    """Read the candidates, and whether the rows are complete."""
    candidates: TraitsByOffset = {}
    partitions = partition_offsets.union(search.known_sent, search.in_doubt)

    def note(rows: Rows) -> None:
        for row in rows:
            if row.message_offset > search.last_offsets.get(row.partition, -1):
                candidates.setdefault(row.partition, {})[row.message_offset] = copy_traits.traits_of(row.message)

    now_ms = api.now_ms()
    reader = WindowReader(api, topic, note, partitions, total_may_lag=True)
    # in three parts, since nearly all candidates are in the middle one and the reader cuts what is too large
    edges = (search.since_ms - MARGIN_MS, min(search.since_ms, now_ms), now_ms, now_ms + MARGIN_MS)
    for start_ms, end_ms in pairwise(edges):
        if start_ms < end_ms:
            yield from reader.read(Slice(start_ms, end_ms, _single_partition(partitions)))
    found = partition_offsets.from_refs(
        (partition, offset) for partition in candidates for offset in candidates[partition]
    )
    for partition, offset in partition_offsets.expand(partition_offsets.intersection(search.foreign_copies, found)):
        del candidates[partition][offset]
    return candidates, not reader.why_incomplete


def _match_partition(
    api: MqsApi, topic: str, partition: int, groups: list[MatchGroup], search: CopySearch, *, compare: bool
) -> Flow[Matching]:
    """Match a partition, by contents if they may be compared and are affordable, else by counting."""
    matching = copy_matching.match_by_count(groups, ordered=search.ordered, by_content=compare)
    compared = copy_matching.groups_to_compare(matching, everything=not search.in_doubt)
    if not compare or not compared:
        return matching
    offsets = [offset for group in compared for offset in (*group.known_sent, *group.in_doubt, *group.candidates)]
    if len(offsets) > _MAX_COMPARED:
        counted = copy_matching.match_by_count(groups, ordered=search.ordered)
        counted.unknown += [offset for group in counted.unclear for offset in group.in_doubt]
        return counted
    messages = yield Parallel(api.get_message(topic, partition, offset, download=True) for offset in offsets)
    # a message that is gone has no content in common with another
    contents = {offset: message.value if message else offset for offset, message in zip(offsets, messages, strict=True)}
    split: list[MatchGroup] = []
    for group in compared:
        parts = (group.known_sent, group.in_doubt, group.candidates)
        split += copy_matching.group_by_key(*({offset: contents[offset] for offset in part} for part in parts))
    return copy_matching.match_by_content(matching, split)


def _have_their_contents(api: MqsApi, topic: str, groups: list[tuple[int, MatchGroup]]) -> Flow[bool]:
    """Return whether some known-sent messages, in the smallest groups, have their contents among their candidates."""
    for partition, group in sorted(groups, key=lambda pair: len(pair[1].candidates))[:_MAX_CHECKED]:
        offsets = [group.known_sent[-1], *group.candidates]
        messages = yield Parallel(api.get_message(topic, partition, offset, download=True) for offset in offsets)
        source, *candidates = (message and message.value for message in messages)
        if source not in candidates:
            return False
    return True


def _finding(search: CopySearch, matchings: Mapping[int, Matching], calibration: KeptTraits | None) -> Finding:
    def joined(choose: Callable[[Matching], list[int]]) -> OffsetsByPartition:
        return partition_offsets.from_refs(
            (partition, offset) for partition, matching in matchings.items() for offset in choose(matching)
        )

    # if the copy of a known-sent message is missing, its look-alikes were something else, and what was learned is wrong
    calibrated = calibration is not None and not any(matching.missing for matching in matchings.values())
    sent = joined(lambda matching: matching.sent) if calibration else {}
    unsent = joined(lambda matching: matching.unsent) if calibrated else {}
    return Finding(
        sent=sent,
        unsent=unsent,
        unknown=partition_offsets.difference(search.in_doubt, partition_offsets.union(sent, unsent)),
        copies=joined(lambda matching: matching.copies),
        missing=joined(lambda matching: matching.missing if matching.copies else []),
        calibrated=calibrated,
        complete=calibrated and not any(matching.unclear for matching in matchings.values()),
    )


def _single_partition(partitions: OffsetsByPartition) -> int | None:
    """Return the partition to ask for if there is only one; several are read together."""
    return next(iter(partitions)) if len(partitions) == 1 else None
