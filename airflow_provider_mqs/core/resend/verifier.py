"""
What a resend finds out about its copies: which messages in doubt were sent, and whether each sent one has its copy.

A message is in doubt if it was posted, and no answer says whether it was executed. ``on_unknown`` decides about it:

========  ==============================================================================================================
verify    Look for the copy. If it is found, the message was sent; if it is not there after ``verify_wait``, the message
          was not sent, and is sent again, once. Otherwise it stays unknown.
fail      It stays unknown.
resend    Send it again at once. The report names it as a possible double.
========  ==============================================================================================================

How a copy is recognised is the business of ``core.verify``. The ``Verifier`` gathers what it needs to know: which
messages were surely sent, by this replay and by those whose messages in doubt it resolves; after which offsets and time
their copies come; and which rows are copies of other replays.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, TypeAlias

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify.copy_search import CopySearch, Finding, find_copies
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.ledger import Ledger
    from airflow_provider_mqs.core.ledger.resume import History
    from airflow_provider_mqs.core.ledger.session import LedgerSession
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.report import Report
    from airflow_provider_mqs.core.resend.stopping import StoppableClient

FindCopies: TypeAlias = "Callable[[OffsetsByPartition], Awaitable[Finding]]"
"""Looks for the copies of messages in doubt."""
_log = logging.getLogger(__name__)
# a second finding of "not sent" contradicts the first: better a message in doubt than a copy too many
_MOST_AFTER_VERIFYING = 1
# a service that loses every answer must not get the same message without end
_MOST_BLIND = 5


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
                finding = await self._find_copies(in_doubt)
            except MqsError as error:
                _log.warning("Could not find out what became of messages in doubt: %s", error)
            else:
                sent, again = finding.sent, self._allowed(finding.unsent, _MOST_AFTER_VERIFYING)
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
        self, client: StoppableClient, plan: Plan, options: ResendOptions, session: LedgerSession, report: Report
    ) -> None:
        self.sources = SourceMessages(client.api, plan)
        self._client = client
        self._plan = plan
        self._options = options
        self._session = session
        self._report = report
        self._past: tuple[Ledger, ...] = ()
        self._foreign: OffsetsByPartition = {}

    def begin(self, history: History, foreign: OffsetsByPartition) -> None:
        """Note what earlier tries and runs left, and the copies of other replays since the first message."""
        self._past, self._foreign = history.ledgers, foreign

    async def verify(self) -> None:
        """Look for the copy of everything that was sent, and report it; if that is not possible, report nothing."""
        report, ledger, sent = self._report, self._session.ledger, self._report.account.done
        if not sent:
            return
        if ledger.copies_known and ledger.done == sent:
            report.copies, report.verified = ledger.copies, True
            return
        try:
            finding = await self.find_copies({})
        except MqsError as error:
            _log.warning("The copies could not be read back: %s", error)
            return
        report.copies, report.missing = finding.copies, finding.missing
        report.verified = False if finding.missing else True if finding.complete else None
        found, wanted = map(partition_offsets.count, (finding.copies, sent))
        _log.info("Found %d copies of %d messages.", found, wanted)

    async def find_copies(self, in_doubt: OffsetsByPartition) -> Finding:
        """Find out which messages in doubt were sent, and the offsets of all other copies."""
        search = self._search(in_doubt)
        until_s = self._client.api.monotonic() + self._options.verify_wait_s
        flow = find_copies(self._client.api, self._plan.topic, search, self.sources, until_s=until_s)
        finding = await self._client.run(flow)
        if in_doubt and not search.known_sent:
            _log.warning(
                "No message was surely sent yet, so it is not known what a copy looks like, and %d messages in doubt "
                "cannot be resolved. If the next try ends in the same way, change an option: ordering='none' sends "
                "others first; on_unknown='resend' sends those in doubt again, perhaps twice.",
                partition_offsets.count(in_doubt),
            )
        return finding

    def _search(self, in_doubt: OffsetsByPartition) -> CopySearch:
        """Join what this replay knows with what the replays know whose messages in doubt it resolves."""
        mine = self._session.ledger
        past = [
            one
            for one in self._past
            if one.replay_id != mine.replay_id and partition_offsets.intersection(one.claimed, in_doubt)
        ]
        known = partition_offsets.union(self._report.account.done, *(one.done for one in past))
        # messages of the same partition are enough to learn from, and cheaper to read
        near = {partition: ranges for partition, ranges in known.items() if partition in in_doubt}
        return CopySearch(
            known_sent=near or known,
            in_doubt=in_doubt,
            last_offsets={
                p: min([last, *(one.last_offsets.get(p, last) for one in past)])
                for p, last in mine.last_offsets.items()
            },
            since_ms=min([mine.since_ms, *(one.since_ms for one in past)]),
            foreign_copies=self._foreign,
            ordered=self._options.ordering == "partition",
        )
