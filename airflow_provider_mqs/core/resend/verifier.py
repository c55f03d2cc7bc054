"""
What a resend finds out about its copies: which messages in doubt were sent, and whether each sent one has its copy.

A message is in doubt if it was posted, and no answer says whether it was executed. ``on_unknown`` decides about it:

========  ==============================================================================================================
verify    Look for the copy. If it is found, the message was sent; if it surely is not there after ``verify_wait``, the
          message was not sent, and is sent again, once. Otherwise it stays unknown.
fail      It stays unknown.
resend    Send it again at once. The report names it as a possible double.
========  ==============================================================================================================

How a copy is recognised is the business of ``core.verify``. The ``Verifier`` turns ledgers and the account into what it
works on: the executions of the topic whose sending touches this one's.

One proves for all
------------------
Replays that send side by side have their copies among each other, so none can count its own before the others have
stopped. Each says in its ledger that it is ``verifying`` and waits until no other is sending, at most for
``verify_wait``. Then all see the same set, and the one with the greatest token reads the topic once and proves for
everybody. The others wait for what it has found out about them (see ``core.ledger.findings``). If it ends without, or
dies, each looks alone. That two read at once costs requests, and nothing else.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.ledger.findings import Finding as LedgerFinding
from airflow_provider_mqs.core.ledger.findings import union
from airflow_provider_mqs.core.ledger.ledger import LATE_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify.evidence import Evidence
from airflow_provider_mqs.core.verify.executions import Execution, execution_of, hull
from airflow_provider_mqs.core.verify.prove import (
    Finding,
    find_neighbours,
    most_contents,
    most_pages,
    most_requests,
    prove_with,
)
from airflow_provider_mqs.core.verify.search import calibrate
from airflow_provider_mqs.core.verify.settle import Doubt, Settled, settle
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.ledger import Ledger
    from airflow_provider_mqs.core.ledger.resume import History
    from airflow_provider_mqs.core.ledger.session import LedgerChanges, LedgerSession
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.report import Report
    from airflow_provider_mqs.core.resend.stopping import StoppableClient

FindCopies: TypeAlias = "Callable[[OffsetsByPartition], Awaitable[Settled]]"
"""Looks for the copies of messages in doubt."""
PostTimes: TypeAlias = "Mapping[MessageRef, tuple[float, float]]"
_log = logging.getLogger(__name__)
# a second finding of "not sent" contradicts the first: better a message in doubt than a copy too many
_MOST_AFTER_VERIFYING = 1
# a service that loses every answer must not get the same message without end
_MOST_BLIND = 5
_POLL_S = 1.0
_LONGER_S = 30.0
"""How much longer than its own wait an execution waits for another that proves for all."""


class Resolver:
    """Decides about messages in doubt, and writes the decision into the account of ``report``."""

    def __init__(self, on_unknown: str, report: Report, find_copies: FindCopies) -> None:
        self._on_unknown = on_unknown
        self._report = report
        self._find_copies = find_copies
        self._repeats: Counter[MessageRef] = Counter()

    async def resolve(self, refs: Collection[MessageRef]) -> OffsetsByPartition:
        """Decide about messages in doubt, and return those that are to be sent again; the rest is sent or unknown."""
        account, in_doubt = self._report.account, partition_offsets.from_refs(refs)
        sent: OffsetsByPartition = {}
        again: OffsetsByPartition = {}
        if self._on_unknown == "resend":
            again = self._allowed(in_doubt, _MOST_BLIND)
            account.note_possible_doubles(again)
        elif self._on_unknown == "verify":
            try:
                settled = await self._find_copies(in_doubt)
            except MqsError as error:
                _log.warning("Could not find out what became of messages in doubt: %s", error)
            else:
                sent, again = settled.sent, self._allowed(settled.unsent, _MOST_AFTER_VERIFYING)
        for ref in partition_offsets.expand(sent):
            account.mark_sent(ref)
        for ref in partition_offsets.expand(again):
            account.send_again(ref)
        account.give_up([ref for ref in refs if ref in account.in_doubt])
        return again

    def _allowed(self, wanted: OffsetsByPartition, most: int) -> OffsetsByPartition:
        """Leave out what was already sent again as often as allowed."""
        allowed = [ref for ref in partition_offsets.expand(wanted) if self._repeats[ref] < most]
        self._repeats.update(allowed)
        return partition_offsets.from_refs(allowed)


class Verifier:
    """Looks for the copies of one replay. What was sent it reads from the account of ``report``."""

    def __init__(
        self,
        client: StoppableClient,
        plan: Plan,
        options: ResendOptions,
        session: LedgerSession,
        report: Report,
    ) -> None:
        api = client.api
        self.sources = SourceMessages(api, plan)
        self._client = client
        self._options = options
        self._session = session
        self._report = report
        self.post_times: PostTimes = {}
        """When each message was posted and answered, on the monotonic clock."""
        whole = Execution("", plan.partitions, 0, 0)
        self._evidence = Evidence(api, plan.topic, self.sources, most_pages([whole]), most_contents([whole]))
        self._history: History | None = None
        self.settled: OffsetsByPartition = {}
        """What earlier executions had left in doubt, and turned out to be sent."""
        self.findings: dict[str, LedgerFinding] = {}
        """What was found out about other executions, for the next write of the ledger."""
        self._seen_s: dict[MessageRef, float] = {}  # when the copy of a message that was in doubt was there
        self._found: dict[str, OffsetsByPartition] = {}  # by token, all copies, as others found them

    def begin(self, history: History) -> None:
        """Note what earlier executions left."""
        self._history = history

    async def calibrate(self) -> LedgerChanges:
        """Find out from the first copies what copies look like, if they are in sight; ``{}`` if they are not."""
        own = self._own(self._service_time())
        if not own.sent:
            return {}
        try:
            kept = await self._client.run(calibrate(self._evidence, own))
        except MqsError as error:
            _log.debug("The first copy could not be read: %s", error)
            return {}
        return {} if kept is None else {"copies_keep_time": kept.same_time}

    async def verify(self, *, share: bool = True) -> LedgerChanges:
        """
        Look for the copy of everything that was sent, report it, and return what the ledger is to say about it.

        With ``share`` one of several replays that verify at the same time does it for all.
        """
        targets = self._targets(self._service_time())
        if not any(one.sent for one in targets):
            return {}
        try:
            return await self._client.run(self._verified(targets, share=share))
        except MqsError as error:
            _log.warning("The copies could not be read back: %s", error)
            return {}

    async def find_copies(self, in_doubt: OffsetsByPartition) -> Settled:
        """Find out which messages in doubt were sent, and which were not."""
        service = self._service_time()
        posts = {ref: self._doubt(ref, service) for ref in partition_offsets.expand(in_doubt)}
        # a message in doubt takes more contents than one that was acknowledged
        self._evidence.most_contents += 4 * len(posts)
        wait_ms = round(self._options.verify_wait_s * 1000)
        inherited = partition_offsets.intersection(in_doubt, self._report.account.inherited)
        flow = settle(
            self._evidence,
            lambda: self._targets(service, in_doubt),
            self._touching,
            posts,
            wait_ms=wait_ms,
            offset_ms=service.offset_ms,
            # what an earlier try left stays in doubt for ever if nobody waits long enough
            longer_ms=max(wait_ms, LATE_MS) if inherited else wait_ms,
        )
        settled = await self._client.run(flow)
        self._note_settled(settled)
        now_s = self._client.api.monotonic()
        own = settled.sent_by.get(self._session.ledger.token, {})
        self._seen_s |= dict.fromkeys(partition_offsets.expand(own), now_s)
        if self._evidence.kept is None:
            _log.warning(
                "No copy of a message that was surely sent is in sight, so it is not known what copies look like, and "
                "%d messages in doubt cannot be resolved. If the next try ends in the same way, change an option: "
                "ordering='none' sends others first; on_unknown='resend' sends those in doubt again, perhaps twice.",
                len(posts),
            )
        return settled

    def _note_settled(self, settled: Settled) -> None:
        """Note what became of the messages that earlier executions left in doubt, for the next write of the ledger."""
        token = self._session.ledger.token
        decided = partition_offsets.union(settled.sent, settled.unsent)
        for one in self._lefts(decided):
            sent = settled.sent_by.get(one.token, {})
            unsent = partition_offsets.intersection(one.claimed, settled.unsent)
            if sent or unsent:
                self._note_finding(one.token, LedgerFinding(sent=sent, unsent=unsent))
        theirs = partition_offsets.union(*(sent for one, sent in settled.sent_by.items() if one != token))
        self.settled = partition_offsets.union(self.settled, theirs)

    def _note_finding(self, token: str, finding: LedgerFinding) -> None:
        self.findings[token] = union((self.findings.get(token, LedgerFinding()), finding))

    def _lefts(self, refs: OffsetsByPartition) -> list[Ledger]:
        """Return the ledgers of earlier executions that left some of these messages in doubt."""
        if self._history is None:
            return []
        ledgers = self._history.lineage if self._options.on_replayed == "resend" else self._history.ledgers
        ledgers = tuple(one.with_finding(self.findings.get(one.token, LedgerFinding())) for one in ledgers)
        return [one for one in ledgers if partition_offsets.intersection(one.claimed, refs)]

    def _verified(self, targets: list[Execution], *, share: bool) -> Flow[LedgerChanges]:
        api, report, token = self._client.api, self._report, self._session.ledger.token
        until_s = api.monotonic() + self._options.verify_wait_s
        others = yield from find_neighbours(api, targets, self._touching, until_s=until_s)
        group = list(targets)
        if share:
            peers = [one for one in others if one.searching and one.found is None]
            first = max([token, *(one.token for one in peers)])
            if self._are_proven(targets) or (
                first != token and (yield from self._wait_for(first, targets, until_s + _LONGER_S))
            ):
                targets = [replace(one, found=self._found.get(one.token, one.found)) for one in targets]
                group = targets
            else:
                group += [one for one in others if one.found is None and not one.busy and one.sent]
        left = [one for one in group if one.found is None]
        if left:
            count = sum(one.count for one in left)
            self._evidence.most_pages = most_pages(left)
            self._evidence.most_contents = max(self._evidence.most_contents, most_contents(left))
            most = most_requests(left)
            _log.info("Looking for the copies of %d messages; that takes at most %d requests.", count, most)
        finding = yield from prove_with(
            self._evidence,
            group,
            [one for one in others if one.token not in {each.token for each in group}],
            self._touching,
            until_s=until_s,
        )
        copies, missing = (
            partition_offsets.union(*(found.get(one.token, {}) for one in targets))
            for found in ({**finding.partial, **finding.copies}, finding.missing)
        )
        report.copies, report.missing = partition_offsets.difference(copies, finding.of_open), missing
        report.verified = False if missing else True if all(one.token in finding.copies for one in targets) else None
        found, wanted = partition_offsets.count(report.copies), sum(one.count for one in targets)
        _log.info("Found %d copies of %d messages.", found, wanted)
        for one in targets:
            if one.token in finding.unproven:
                _log.warning("Not verified: %s", finding.unproven[one.token])
        return self._changes(token, finding)

    def _changes(self, token: str, finding: Finding) -> LedgerChanges:
        """Return what the ledger is to say: all rows that surely are copies, and what was proven for others."""
        found = {**finding.partial, **finding.copies}
        changes: LedgerChanges = {"copies": found.get(token, {}), "missing": finding.missing.get(token, {})}
        for one, about in finding.for_ledgers().items():
            if one != token and one not in self._found:
                self._note_finding(one, about)
        if token in finding.whole:
            changes["copies_known"] = True
            changes["other_copies"] = partition_offsets.difference(finding.surely_copies, found[token])
        if finding.keep_time is not None:
            changes["copies_keep_time"] = finding.keep_time
        return changes

    def _wait_for(self, token: str, targets: list[Execution], until_s: float) -> Flow[bool]:
        """Wait until another execution has proven this one; return whether it has."""
        api = self._client.api
        start_ms, end_ms = hull(targets)
        while True:
            others = yield from self._touching(start_ms, end_ms)
            if self._are_proven(targets):
                return True
            if not any(one.token == token and one.searching for one in others) or api.monotonic() >= until_s:
                return False
            yield Sleep(_POLL_S, "another resend of the topic finds the copies of both")

    def _are_proven(self, targets: list[Execution]) -> bool:
        return all(one.token in self._found or one.found is not None for one in targets)

    def _touching(self, start_ms: int, end_ms: int) -> Flow[list[Execution]]:
        ledgers = yield from self._session.touching(start_ms, end_ms)
        mine = yield from self._session.found_by_others()
        if mine.whole:
            self._found[self._session.ledger.token] = mine.copies
        touching = [self._execution(ledger) for ledger in ledgers]
        self._found |= {one.token: one.found for one in touching if one.found is not None}
        return touching

    def _targets(self, service: _ServiceTime, in_doubt: OffsetsByPartition | None = None) -> list[Execution]:
        """Return this execution and those that it continues, or that left messages in doubt."""
        ledgers = {one.token: one for one in (self._history.lineage if self._history else ())}
        ledgers |= {one.token: one for one in self._lefts(in_doubt or {})}
        own, past = self._own(service), [self._execution(ledger) for ledger in ledgers.values()]
        return [one for one in (own, *past) if one.sent or one.open]

    def _execution(self, ledger: Ledger) -> Execution:
        """Return what another execution did, by its ledger and what this one found out about it."""
        finding = self.findings.get(ledger.token, LedgerFinding())
        return execution_of(ledger.with_finding(finding), self._client.api.service_clock)

    def _own(self, service: _ServiceTime) -> Execution:
        account, ledger, api = self._report.account, self._session.ledger, self._client.api
        lineage = self._history.lineage if self._history else ()
        open_ = partition_offsets.difference(account.maybe_sent, account.inherited)
        earlier = partition_offsets.union(*(one.done for one in lineage), self.settled)
        sent = partition_offsets.difference(account.done, earlier)
        return Execution(
            token=ledger.token,
            sent=sent,
            first_ms=ledger.first_ms,
            # what is in doubt may still be appended
            last_ms=max(ledger.until_ms, api.latest_ms() + api.service_clock.set_ms) + (LATE_MS if open_ else 0),
            open=open_,
            last_offsets=ledger.last_offsets,
            span_ms=ledger.span_ms,
            posted_ms=_PostedMs(self.post_times, self._seen_s, service),
            clock_ms=service.wrong_ms,
            doubles=partition_offsets.intersection(account.possible_doubles, sent),
            ordered=ledger.ordering == "partition",
            consumer_key=ledger.scope["consumer_key"],
            after=frozenset(ledger.after),
            name="this one",
        )

    def _doubt(self, ref: MessageRef, service: _ServiceTime) -> Doubt:
        """Return when a message in doubt may have been posted."""
        token = self._session.ledger.token
        left = self._lefts(partition_offsets.from_refs([ref]))
        tokens = frozenset([token, *(one.token for one in left)])
        if ref in self.post_times:
            asked_s, answered_s = self.post_times[ref]
            return Doubt(service.at_ms(asked_s), service.at_ms(answered_s), frozenset([token]))
        now_ms, first_ms = service.at_ms(self._client.api.monotonic()), self._session.ledger.first_ms
        if self._history is None or not left:
            return Doubt(first_ms, now_ms, tokens)
        posts_until_ms = self._history.posts_until_ms
        return Doubt(
            min([one.first_ms for one in left], default=first_ms),
            max([posts_until_ms[one.token] for one in left], default=now_ms) + service.wrong_ms,
            tokens,
        )

    def _service_time(self) -> _ServiceTime:
        api = self._client.api
        now_ms = api.now_ms()
        # a POST may have been dated before the service's clock was set
        wrong_ms = api.latest_ms() - now_ms + api.service_clock.set_ms
        return _ServiceTime(now_ms - api.monotonic() * 1000, wrong_ms)


class _ServiceTime(NamedTuple):
    """The service's time by our monotonic clock, as far as it is known at a moment; fixed while times are compared."""

    offset_ms: float
    """How far it is ahead of the monotonic clock."""
    wrong_ms: float
    """By how much that may be wrong."""

    def at_ms(self, seconds: float) -> float:
        """Return the service's time at a moment of the monotonic clock."""
        return seconds * 1000 + self.offset_ms


class _PostedMs(Mapping["MessageRef", "tuple[float, float]"]):
    """The intervals of POSTs in the service's time; one is converted when it is asked for."""

    def __init__(self, times: PostTimes, seen_s: Mapping[MessageRef, float], service: _ServiceTime) -> None:
        self._times = times
        self._seen_s = seen_s
        self._service = service

    def __getitem__(self, ref: MessageRef) -> tuple[float, float]:
        asked_s, answered_s = self._times[ref]
        # the copy of a message that was in doubt may have been appended after we gave up
        return self._service.at_ms(asked_s), self._service.at_ms(self._seen_s.get(ref, answered_s))

    def __iter__(self) -> Iterator[MessageRef]:
        return iter(self._times)

    def __len__(self) -> int:
        return len(self._times)
