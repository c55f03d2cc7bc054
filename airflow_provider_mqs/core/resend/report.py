"""
What a resend did, as XCom (``mqs.replay/1``).

The cloud keeps no audit of resends: this document and the log are the record. It renders the account of the resend, so
``requested == sent + already_sent + failed + unknown + not_attempted`` at any moment, also in the report of a task that
was killed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.offsets import offset_ranges

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.account import Account, Counts
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan

SCHEMA = "mqs.replay/1"


@dataclass(slots=True)
class Report:
    """The account of a resend, and what was found out about its copies."""

    account: Account
    """Replaced when it is known what earlier tries and runs have sent."""
    copies: OffsetsByPartition = field(default_factory=dict)
    """Offsets of the copies that were found."""
    missing: OffsetsByPartition = field(default_factory=dict)
    """Sent messages for which no copy was found, though others of their partition have theirs."""
    verified: bool | None = None
    """Whether every sent message has a copy; ``None`` if that is not known, or was not checked."""
    requests: int = 0

    @property
    def counts(self) -> Counts:
        """How many messages are in which state."""
        return self.account.counts

    def to_xcom(self, plan: Plan, *, endpoint: str, instance_id: str) -> dict[str, Any]:
        """Return the report, without what only the task knows."""
        windows = {source.window for source in plan.sources}
        account, counts = self.account, self.counts
        return {
            "schema": SCHEMA,
            "endpoint": endpoint,
            "instance_id": instance_id,
            "topic": plan.topic,
            # several windows are not merged: what lies between them was not sent
            "window": windows.pop().to_xcom() if len(windows) == 1 else None,
            "digest": plan.digest,
            **asdict(counts),
            "verified": self.verified,
            "sent_ranges": offset_ranges.to_json(account.sent),
            "copies": offset_ranges.to_json(self.copies),
            "missing_copies": offset_ranges.to_json(self.missing),
            "possible_doubles": offset_ranges.to_json(account.possible_doubles),
            "failures": [
                {
                    "partition": failure.partition,
                    "message_offset": failure.message_offset,
                    "outcome": "unknown" if failure.unknown else "failed",
                    "error_code": failure.error_code,
                    "message": failure.message,
                    "request_id": failure.request_id,
                }
                for failure in account.failures
            ],
            "failures_omitted": counts.failed + counts.unknown - len(account.failures),
            "requests": self.requests,
        }
