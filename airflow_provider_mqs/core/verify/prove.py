"""
Prove the copies of executions: each message that was sent has a copy, or has none, or nobody can tell. Flows.

Copies that are not there yet are waited for, at most for the wait, and only the time in which they must be is read
again. So that not each of many executions reads everything, one of them proves for all (``core.resend.verifier``).
``copy_matching`` says what proves what; this module reads, waits and gives up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.ledger import findings
from airflow_provider_mqs.core.ledger.ledger import LATE_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.verify.copy_matching import Matching
from airflow_provider_mqs.core.verify.evidence import Evidence
from airflow_provider_mqs.core.verify.executions import MARGIN_MS, Execution, hull
from airflow_provider_mqs.core.verify.search import EVER_MS, Search, Touching, neighbours
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_STORE_PAUSE_S = 1.0
"""Between two readings of others' ledgers."""
SMALL = 50
"""So many messages are compared by content, each with its copy, even if counting would tell."""
_MOST_CHANGES = 3
"""How often everything is matched once more because ledgers have changed."""


@dataclass(slots=True)
class Finding:
    """What was found out about the copies of some executions."""

    copies: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, the copies of an execution, if each message that it sent has one."""
    whole: set[str] = field(default_factory=set)
    """Those whose rows are all in ``copies`` or ``partial``: nothing is unclear, and what is missing never comes."""
    missing: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, messages that were acknowledged and surely have no copy."""
    sent: dict[str, OffsetsByPartition] = field(default_factory=dict)
    """By token, messages that it left in doubt and that have their copies."""
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

    def for_ledgers(self) -> dict[str, findings.Finding]:
        """Return by token what the ledgers are to say."""
        return {
            token: findings.Finding(
                sent=self.sent.get(token, {}),
                copies=copies,
                missing=self.missing.get(token, {}),
                whole=token in self.whole,
            )
            for token, copies in {**self.partial, **self.copies}.items()
        }


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
        others = yield from neighbours(targets, touching)
        busy = next((one for one in others if one.busy), None)
        if busy is None or api.monotonic() >= until_s:
            return others
        yield Sleep(_STORE_PAUSE_S, f"another resend of the topic is still sending: {busy.name}")


def prove_with(
    evidence: Evidence, targets: Sequence[Execution], others: Sequence[Execution], touching: Touching, *, until_s: float
) -> Flow[Finding]:
    """Prove the copies of ``targets`` among those of ``others``; copies may be late until ``until_s``."""
    api, pause_s, widened, forgotten = evidence.api, _FIRST_PAUSE_S, 0, False
    counts = sum(one.count for one in targets) > SMALL
    search = Search(evidence, [*targets, *others])
    if all(one.found is not None for one in targets):
        return _finding(search, targets, Matching(), last=True)
    yield from search.load()
    # what comes from now on was not read yet, even if it is of this time
    (start_ms, end_ms), began_ms = search.span, api.earliest_ms() - MARGIN_MS
    yield from search.read(start_ms, end_ms)
    while True:
        others = yield from neighbours(targets, touching)
        search = Search(evidence, [*targets, *others], counts=counts)
        yield from search.load()
        wider = search.span
        if (wider[0] < start_ms or wider[1] > end_ms) and widened < _MOST_CHANGES:
            widened += 1
            first_ms = wider[0] if wider[0] < start_ms else min(end_ms, began_ms)
            (start_ms, end_ms), began_ms = wider, api.earliest_ms() - MARGIN_MS
            yield from search.read(first_ms, end_ms)
            continue
        if evidence.too_many:
            return _finding(search, targets, Matching(), last=True)
        last = api.monotonic() >= until_s
        if last and evidence.kept is None:
            yield from search.calibrate(final=last)
            # what a copy looks like does not depend on when it was sent
            yield from search.calibrate_by((yield from touching(0, EVER_MS)) if evidence.kept is None else ())
        matching = yield from search.match(final=last)
        busy = matching.unclear and any(one.busy for one in others)
        late = any(one.found is None and not _is_past(one, api.earliest_ms()) for one in targets)
        if last or not (matching.short or evidence.why_incomplete or evidence.kept is None or busy or late):
            silent = yield from _without_a_row(search, targets)
            known = [replace(one, found={}) if one.token in silent else one for one in targets]
            finding = _finding(search, known, matching, last=last)
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


def _is_past(one: Execution, now_ms: int) -> bool:
    """Return whether all copies of possible doubles must have come."""
    return not one.doubles or now_ms > one.last_ms + LATE_MS


def _without_a_row(search: Search, targets: Sequence[Execution]) -> Flow[set[str]]:
    """Return the tokens of those that surely sent nothing and, as nothing came at that time, have no copy at all."""
    evidence, tokens = search.evidence, set()
    if evidence.kept is None and not evidence.too_many:
        for one in targets:
            open_ = list(partition_offsets.expand(one.open))
            silent = one.found is None and not one.count and evidence.api.earliest_ms() > one.last_ms
            if silent and (not open_ or (yield from search.nothing_came(open_, hull([one])))):
                tokens.add(one.token)
    return set() if evidence.why_incomplete else tokens


def _finding(
    search: Search,
    targets: Sequence[Execution],
    matching: Matching,
    *,
    last: bool,
) -> Finding:
    """Say for each of some executions how it stands."""
    evidence, kept = search.evidence, search.evidence.kept
    finding = Finding(keep_time=kept.same_time if kept and kept.steady else None)
    finding.surely_copies = partition_offsets.from_refs(
        [*(row.ref for _, row in matching.copies), *(row.ref for _, row in matching.spare_copies)]
    )
    finding.of_open = partition_offsets.from_refs(row.ref for source, row in matching.copies if not source.known)
    now_ms, whole = evidence.api.earliest_ms(), set[str]()
    for one in targets:
        known = one.found
        if known is not None:
            finding.copies[one.token] = known
            finding.whole.add(one.token)
            finding.missing |= {one.token: one.missing} if one.missing else {}
            continue
        copies = [(source, row) for source, row in matching.copies if source.token == one.token]
        sent = {source.ref for source, _ in copies if source.known}
        finding.sent[one.token] = partition_offsets.from_refs(source.ref for source, _ in copies if not source.known)
        missing = partition_offsets.union(
            partition_offsets.from_refs(source.ref for source in matching.missing if source.token == one.token),
            one.missing,
        )
        left_open = any(source.token == one.token and not source.known for source in matching.unclear)
        absent = any(source.token == one.token for source in matching.absent)
        # whether all its rows are among those that surely are copies
        owned = {row.ref for token, row in matching.spare_copies if token == one.token}
        rows = partition_offsets.from_refs(owned | {row.ref for _, row in copies})
        decided = partition_offsets.union(partition_offsets.from_refs(sent), missing)
        accounted = not left_open and (not absent or now_ms > one.last_ms) and (last or _is_past(one, now_ms))
        if accounted and partition_offsets.count(decided) == one.count:
            whole.add(one.token)
        if evidence.why_incomplete:
            finding.unproven[one.token] = evidence.why_incomplete[0]
        elif kept is None:
            finding.unproven[one.token] = (
                "No copy of a message that was surely sent has been recognised, so it is not known what copies "
                "look like."
            )
        elif missing:
            finding.partial[one.token] = rows
            finding.missing[one.token] = missing
        elif len(sent) == one.count:
            finding.copies[one.token] = rows
        else:
            finding.partial[one.token] = rows
            finding.unproven[one.token] = _why_unclear(one, len(sent), matching)
    finding.whole |= whole & {*finding.copies, *finding.missing}
    return finding


def _why_unclear(one: Execution, found: int, matching: Matching) -> str:
    unclear = [source.ref for source in (*matching.unclear, *matching.absent) if source.token == one.token]
    examples = ", ".join(f"{offset} of partition {partition}" for partition, offset in unclear[:5])
    named = f" (message_offset {examples})" if examples else ""
    return (
        f"{found} copies of {one.count} messages are certain; the others cannot be told from messages that look the "
        f"same{named}."
    )
