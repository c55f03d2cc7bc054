"""
Find the copies of messages, and settle what may have been sent. Flows; ``copy_matching`` decides.

A candidate for a copy is a row whose offset is greater than every one that was there before the sending began, in the
time in which copies could be made. Reading goes on until every copy is seen or the wait is over, since a service may
show a message later than it took it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from airflow_provider_mqs.core.client.flow import Flow, Parallel, Sleep
from airflow_provider_mqs.core.ledger.ledger import MARGIN_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.verify import copy_matching as judging
from airflow_provider_mqs.core.verify.copy_traits import Likeness, Traits, learn, learn_most, traits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.message import Rows
    from airflow_provider_mqs.core.verify.copy_matching import Group, Judgement
    from airflow_provider_mqs.core.verify.source_messages import Sources

    PollState: TypeAlias = dict[int, dict[int, Traits]]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_CONFIRM_S = 2.0
"""So long after a first look the second one is taken, where others write into the topic."""
_MOST_COMPARED = 2_000
"""So many contents are asked for at most in one look."""
_PROBES, _FEW_ROWS = 3, 20
"""So many messages must have a copy of their content before another one is called not sent, and where that is cheap."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    What to look for, and where.

    :param known: surely sent messages whose copies may be among the candidates
    :param doubts: messages that may have been sent
    :param marks: by partition, the last offset that was there before the first message was sent
    :param since_ms: the service's time before the first message was sent, epoch ms
    :param foreign: copies that other replays are known to have made
    :param ordered: whether messages were sent in the order of their offsets, one by one in each partition
    """

    known: OffsetsByPartition
    doubts: OffsetsByPartition
    marks: Mapping[int, int]
    since_ms: int
    foreign: OffsetsByPartition = field(default_factory=dict)
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What was found.

    :param sent: doubts that were sent
    :param unsent: doubts that were not
    :param unknown: doubts that cannot be told
    :param copies: offsets of copies
    :param missing: surely sent messages without a copy, in partitions where others have theirs
    :param calibrated: whether it is known what a copy looks like, and every copy of a known message was seen
    :param complete: whether ``copies`` holds each copy
    :param strangers: whether there are rows that no message of the plan explains
    """

    sent: OffsetsByPartition
    unsent: OffsetsByPartition
    unknown: OffsetsByPartition
    copies: OffsetsByPartition
    missing: OffsetsByPartition
    calibrated: bool
    complete: bool
    strangers: bool = False

    @property
    def open(self) -> bool:
        """Whether waiting may show more."""
        return not self.calibrated or bool(self.unsent or self.missing)


def find_marks(api: MqsApi, topic: str, partitions: OffsetsByPartition) -> Flow[dict[int, int]]:
    """
    Find the last offset of each partition, before anything is sent.

    :param api: the calls
    :param topic: topic name
    :param partitions: the plan
    :return: by partition: the greatest offset of the plan and of the rows in the time where copies will be looked for
    """
    marks = {partition: ranges[-1][1] for partition, ranges in partitions.items()}

    def note(found: Rows) -> None:
        for row in found:
            if row.partition in marks:
                marks[row.partition] = max(marks[row.partition], row.message_offset)

    now_ms = api.now_ms()
    reader = WindowReader(api, topic, note, partitions, total_may_lag=True)
    yield from reader.read(Slice(now_ms - MARGIN_MS, now_ms + MARGIN_MS, _only(partitions)))
    return marks


def settle(api: MqsApi, topic: str, evidence: Evidence, sources: Sources, *, until_s: float) -> Flow[Finding]:
    """
    Find out which messages were sent, and where their copies are.

    :param api: the calls
    :param topic: topic name
    :param evidence: what to look for
    :param sources: what the messages look like
    :param until_s: the moment (as ``api.clock`` tells it) from which a message without a copy was not sent
    :return: the verdict; a message is ``unsent`` only after that moment
    :raises ApiError: the service refused
    """
    yield from sources.load(partition_offsets.union(evidence.known, evidence.doubts))
    pause_s, before = _FIRST_PAUSE_S, None
    while True:
        asked_s = api.clock()
        last = asked_s >= until_s
        finding = yield from _look(api, topic, evidence, sources, last=last)
        # where others write, one of theirs may stand in for a copy that is not in sight yet; so look twice
        sure = bool(evidence.doubts) or not finding.strangers or finding.copies == before
        if last or (sure and not finding.open):
            return finding
        before = None if finding.open else finding.copies
        wait_s = pause_s if finding.open else _CONFIRM_S
        yield Sleep(min(wait_s, max(until_s - api.clock(), 0.0)), "copies may still come into sight")
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _look(api: MqsApi, topic: str, evidence: Evidence, sources: Sources, *, last: bool) -> Flow[Finding]:
    rows, whole = yield from _candidates(api, topic, evidence)
    known, doubts = _traits(evidence.known, sources), _traits(evidence.doubts, sources)
    all_there = sum(map(len, known.values())) == partition_offsets.count(evidence.known)
    likeness = learn(_values(known), _values(rows)) if whole and all_there else None
    kept = likeness or learn_most(_values(known), _values(rows))
    judged: dict[int, Judgement] = {}
    probes: list[tuple[int, Group]] = []
    strangers = False
    for partition in sorted({*evidence.known, *evidence.doubts}):
        looks = (_marks(kept, found.get(partition, {}), source=found is not rows) for found in (known, doubts, rows))
        groups = list(judging.groups_of(*looks).values())
        judged[partition] = yield from _judged(api, topic, partition, groups, evidence, likeness)
        strangers = strangers or any(group.surplus > 0 for group in groups)
        probes += [(partition, group) for group in groups if group.known and len(group.rows) <= _FEW_ROWS]
    doubtful = last and sources.by_offset and any(one.unsent for one in judged.values())
    if doubtful and not (yield from _have_copies(api, topic, probes)):
        likeness = None
    finding = replace(_verdict(evidence, judged, likeness), strangers=strangers)
    # what an incomplete reading does not show may be there all the same
    return finding if whole else replace(finding, missing={})


def _candidates(api: MqsApi, topic: str, evidence: Evidence) -> Flow[tuple[PollState, bool]]:
    """Read the rows that can be copies; before, during and behind the sending apart, since most are in between."""
    rows: PollState = {}
    partitions = partition_offsets.union(evidence.known, evidence.doubts)

    def note(found: Rows) -> None:
        for row in found:
            if row.message_offset > evidence.marks.get(row.partition, -1):
                rows.setdefault(row.partition, {})[row.message_offset] = traits_of(row.message)

    now_ms = api.now_ms()
    reader = WindowReader(api, topic, note, partitions, total_may_lag=True)
    edges = (evidence.since_ms - MARGIN_MS, min(evidence.since_ms, now_ms), now_ms, now_ms + MARGIN_MS)
    for start_ms, end_ms in pairwise(edges):
        if start_ms < end_ms:
            yield from reader.read(Slice(start_ms, end_ms, _only(partitions)))
    for place in partition_offsets.expand(
        partition_offsets.intersection(
            evidence.foreign, partition_offsets.from_refs((p, o) for p in rows for o in rows[p])
        )
    ):
        del rows[place[0]][place[1]]
    return rows, not reader.why_incomplete


def _judged(
    api: MqsApi, topic: str, partition: int, groups: list[Group], evidence: Evidence, likeness: Likeness | None
) -> Flow[Judgement]:
    """Judge a partition by contents where that is affordable, else by counting."""
    judgement = judging.judge(groups, ordered=evidence.ordered, by_content=likeness is not None)
    compared = judging.to_compare(judgement, everything=not evidence.doubts)
    if likeness is None or not compared:
        return judgement
    offsets = [offset for group in compared for offset in (*group.known, *group.doubts, *group.rows)]
    if len(offsets) > _MOST_COMPARED:
        counted = judging.judge(groups, ordered=evidence.ordered)
        counted.unknown += [offset for group in counted.unclear for offset in group.doubts]
        return counted
    found = yield Parallel(api.get_message(topic, partition, offset, download=True) for offset in offsets)
    values = {offset: message.value if message else offset for offset, message in zip(offsets, found, strict=True)}
    split: list[Group] = []
    for group in compared:
        named = [{offset: values[offset] for offset in part} for part in (group.known, group.doubts, group.rows)]
        split += judging.groups_of(*named).values()
    return judging.judge_by_content(judgement, split)


def _have_copies(api: MqsApi, topic: str, probes: list[tuple[int, Group]]) -> Flow[bool]:
    """Tell whether messages that were surely sent have their contents among the rows that look like their copies."""
    for partition, group in sorted(probes, key=lambda probe: len(probe[1].rows))[:_PROBES]:
        offsets = [group.known[-1], *group.rows]
        found = yield Parallel(api.get_message(topic, partition, offset, download=True) for offset in offsets)
        source, *rows = (message and message.value for message in found)
        if source not in rows:
            return False
    return True


def _verdict(evidence: Evidence, judged: Mapping[int, Judgement], likeness: Likeness | None) -> Finding:
    def gathered(name: str) -> OffsetsByPartition:
        return partition_offsets.from_refs(
            (partition, offset) for partition in judged for offset in getattr(judged[partition], name)
        )

    missing = partition_offsets.from_refs(
        (partition, offset) for partition, one in judged.items() if one.copies for offset in one.missing
    )
    # without a row of its content, what looked like the copy of a message that was surely sent is something else
    calibrated = likeness is not None and not any(one.missing for one in judged.values())
    sent, unsent = gathered("sent") if likeness else {}, gathered("unsent") if calibrated else {}
    unclear = any(one.unclear for one in judged.values())
    return Finding(
        sent=sent,
        unsent=unsent,
        unknown=partition_offsets.difference(evidence.doubts, partition_offsets.union(sent, unsent)),
        copies=gathered("copies"),
        missing=missing,
        calibrated=calibrated,
        complete=calibrated and not unclear,
    )


def _only(partitions: OffsetsByPartition) -> int | None:
    """Give the partition to ask for, where a plan has one; several are read together."""
    return next(iter(partitions)) if len(partitions) == 1 else None


def _traits(places: OffsetsByPartition, sources: Sources) -> PollState:
    found: PollState = {}
    for partition, offset in partition_offsets.expand(places):
        traits = sources.traits(partition, offset)
        if traits is not None:
            found.setdefault(partition, {})[offset] = traits
    return found


def _values(rows: PollState) -> dict[int, list[Traits]]:
    return {partition: list(found.values()) for partition, found in rows.items()}


def _marks(likeness: Likeness, found: Mapping[int, Traits], *, source: bool) -> dict[int, tuple[object, ...]]:
    look = likeness.of_source if source else likeness.of_row
    return {offset: look(traits) for offset, traits in found.items()}
