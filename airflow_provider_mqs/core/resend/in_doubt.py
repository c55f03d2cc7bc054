"""
Resolve messages in doubt: those that were posted, and no answer says whether they were executed.

``on_unknown="verify"`` looks for the copy: found means sent; not there after ``verify_wait`` means not sent, and the
message goes out once more; all else stays unknown. ``"fail"`` does not look. ``"resend"`` does not look either, and
sends again at once: such messages are named as possible doubles.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, TypeAlias

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.resend.report import Report
    from airflow_provider_mqs.core.verify.copy_search import Finding

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
        account = self._report.account
        sent, again = await self._decide(partition_offsets.from_refs(refs))
        for ref in partition_offsets.expand(sent):
            account.mark_sent(ref)
        for ref in partition_offsets.expand(again):
            account.send_again(ref)
        account.give_up([ref for ref in refs if ref in account.in_doubt])
        return again

    async def _decide(self, in_doubt: OffsetsByPartition) -> tuple[OffsetsByPartition, OffsetsByPartition]:
        if self._on_unknown == "fail":
            return {}, {}
        if self._on_unknown == "resend":
            again = self._allowed(in_doubt, _MOST_BLIND)
            self._report.account.note_possible_doubles(again)
            return {}, again
        try:
            finding = await self._find_copies(in_doubt)
        except MqsError as error:
            _log.warning("Could not find out what became of messages in doubt: %s", error)
            return {}, {}
        return finding.sent, self._allowed(finding.unsent, _MOST_AFTER_VERIFYING)

    def _allowed(self, wanted: OffsetsByPartition, most: int) -> OffsetsByPartition:
        """Leave out what was already sent again as often as allowed."""
        allowed = [ref for ref in partition_offsets.expand(wanted) if self._repeats[ref] < most]
        self._repeats.update(allowed)
        return partition_offsets.from_refs(allowed)
