"""What is done about messages whose outcome is unknown: look for the copy, send again, or leave them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.resend.report import Report
    from airflow_provider_mqs.core.verify.copy_search import Finding

Settle: TypeAlias = "Callable[[OffsetsByPartition, OffsetsByPartition], Awaitable[Finding]]"
"""Finds out about messages in doubt, given what was surely sent."""
_log = logging.getLogger(__name__)
_MOST_BLIND = 5
"""How often a message is posted again at most, where that is done although it may have been sent."""


class Doubting:
    """
    Decides about messages in doubt.

    :param on_unknown: ``verify``, ``fail`` or ``resend``
    :param report: names what is perhaps sent twice
    :param settle: finds out
    """

    def __init__(self, on_unknown: str, report: Report, settle: Settle) -> None:
        self._on_unknown = on_unknown
        self._report = report
        self._settle = settle
        self._repeats: Counter[MessageRef] = Counter()

    async def decide(
        self, doubts: OffsetsByPartition, known: OffsetsByPartition
    ) -> tuple[OffsetsByPartition, OffsetsByPartition]:
        """
        Tell which messages in doubt were sent, and which may be sent again; the others stay unknown.

        :param doubts: what is in doubt
        :param known: what was surely sent
        :return: what was sent, and what is to be sent again: once after it was found not to be sent
        """
        if self._on_unknown == "fail":
            return {}, {}
        if self._on_unknown == "resend":
            again = self._allowed(doubts, _MOST_BLIND)
            self._report.possible_doubles = partition_offsets.union(self._report.possible_doubles, again)
            return {}, again
        try:
            finding = await self._settle(doubts, known)
        except MqsError as error:
            _log.warning("What became of messages in doubt could not be found out: %s", error)
            return {}, {}
        return finding.sent, self._allowed(finding.unsent, 1)

    def _allowed(self, places: OffsetsByPartition, most: int) -> OffsetsByPartition:
        """Leave out what was already sent again as often as it may be."""
        allowed = [place for place in partition_offsets.expand(places) if self._repeats[place] < most]
        self._repeats.update(allowed)
        return partition_offsets.from_refs(allowed)
