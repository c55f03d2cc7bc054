"""What a replay finds out about its copies: which doubtful messages were sent, and whether each sent one is there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.resume import Opening
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.verify.copy_search import CopySearch, find_copies
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.ledger.session import LedgerSession
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.report import Report
    from airflow_provider_mqs.core.verify.copy_search import Finding

_log = logging.getLogger(__name__)


class Proof:
    """
    Looks for the copies of one replay.

    :param client: open
    :param plan: what is sent
    :param sending: how
    :param journal: its ledger
    """

    def __init__(self, client: AsyncMqsClient, plan: Plan, sending: ResendOptions, session: LedgerSession) -> None:
        self.sources = SourceMessages(client.api, plan)
        self.base: OffsetsByPartition = {}
        self._client = client
        self._plan = plan
        self._sending = sending
        self._session = session
        self._opening = Opening({}, {}, {})
        self._foreign: OffsetsByPartition = {}

    def begin(self, opening: Opening, foreign: OffsetsByPartition) -> None:
        """
        Take in what is known when the ledger has been taken over.

        :param opening: what earlier tries and runs left
        :param foreign: copies of other replays since the first message of this one
        """
        self._opening, self._foreign, self.base = opening, foreign, self._session.ledger.done

    async def verify(self, sent: OffsetsByPartition, report: Report) -> None:
        """
        Look for the copy of everything that this replay has sent.

        :param sent: what this try has sent
        :param report: told the copies, what is missing, and whether all are there; untouched where it cannot be told
        """
        known, ledger = partition_offsets.union(self.base, sent), self._session.ledger
        if not known:
            return
        if ledger.copies_known and ledger.done == known:
            report.copies, report.verified = ledger.copies, True
            return
        try:
            finding = await self.settle({}, known)
        except MqsError as error:
            _log.warning("The copies could not be read back: %s", error)
            return
        report.copies, report.missing = finding.copies, finding.missing
        report.verified = False if finding.missing else True if finding.complete else None
        _log.info(
            "Found %d copies of %d messages.", partition_offsets.count(finding.copies), partition_offsets.count(known)
        )

    async def settle(self, doubts: OffsetsByPartition, known: OffsetsByPartition) -> Finding:
        """
        Find out about messages in doubt.

        :param doubts: what is in doubt
        :param known: what this try has surely sent
        :return: what was found
        :raises MqsError: the service did not answer
        """
        search = self._search(doubts, known)
        until_s = self._client.api.clock() + self._sending.verify_wait_s
        flow = find_copies(self._client.api, self._plan.topic, search, self.sources, until_s=until_s)
        finding = await self._client.run(flow)
        if doubts and not search.known_sent:
            _log.warning(
                "There is no message that was surely sent, so it is not known what a copy looks like, and %d in doubt "
                "cannot be told. If that does not change when the task is tried again, order costs it: "
                "ordering='none' sends others first; on_unknown='resend' sends it again, perhaps twice.",
                partition_offsets.count(doubts),
            )
        return finding

    def _search(self, doubts: OffsetsByPartition, known: OffsetsByPartition) -> CopySearch:
        """Join what this replay knows with what the replays know whose doubts it settles."""
        mine = self._session.ledger
        past = [
            one
            for one in self._opening.past
            if one.replay_id != mine.replay_id and partition_offsets.intersection(one.claimed, doubts)
        ]
        marks = {p: min([mark, *(one.marks.get(p, mark) for one in past)]) for p, mark in mine.marks.items()}
        known = partition_offsets.union(self.base, known, *(one.done for one in past))
        here = {partition: ranges for partition, ranges in known.items() if partition in doubts}
        return CopySearch(
            known_sent=here or known,
            in_doubt=doubts,
            last_offsets=marks,
            since_ms=min([mine.since_ms, *(one.since_ms for one in past)]),
            foreign_copies=self._foreign,
            ordered=self._sending.ordering == "partition",
        )
