"""
How far a resend is, and what it did in the end, as XCom (``mqs.replay/1``).

The cloud keeps no audit of resends: this document and the log are the record. It renders the account of the resend, so
``requested == sent + already_sent + failed + unknown + not_attempted`` at any moment, also in the report of a task that
was killed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.account import Account, Counts
from airflow_provider_mqs.core.offsets import offset_ranges

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan

_log = logging.getLogger(__name__)
_LOG_EVERY_S = 5.0
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
            "sent_ranges": offset_ranges.to_json(account.done),
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


@dataclass(frozen=True)
class Progress(Counts):
    """
    How far a resend is, as a ``brake`` sees it.

    :param requested: messages of the plan
    :param sent: surely sent, by this try and earlier ones
    :param already_sent: sent by other runs
    :param failed: surely not sent
    :param unknown: may have been sent
    :param not_attempted: everything else
    :param elapsed_s: seconds since the first message began
    :param rate: messages a second, while messages were sent
    """

    elapsed_s: float
    rate: float


@dataclass(slots=True)
class Meter:
    """
    Measures a running resend, and logs its progress every five seconds at most.

    Only the time in which messages are sent counts. A resend may also wait a minute for copies, or for another run, and
    that says nothing about how long the rest will take.
    """

    report: Report
    monotonic: Callable[[], float]
    _posted: int = field(default=0, init=False)
    _sending: int = field(default=0, init=False)
    _sending_since: float = field(default=0.0, init=False)
    _sending_s: float = field(default=0.0, init=False)
    _began_at: float | None = field(default=None, init=False)
    _logged_at: float = field(default=0.0, init=False)

    def __enter__(self) -> None:
        """Begin to count the time in which a message is posted, or one is claimed; many may run side by side."""
        self._sending += 1
        if self._sending > 1:
            return
        self._sending_since = self.monotonic()
        if self._began_at is None:
            self._began_at = self._logged_at = self._sending_since

    def __exit__(self, *_: object) -> None:
        """Count no further, unless another one runs."""
        self._sending -= 1
        if not self._sending:
            self._sending_s += self.monotonic() - self._sending_since

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first message began."""
        return 0.0 if self._began_at is None else self.monotonic() - self._began_at

    @property
    def rate(self) -> float:
        """Messages a second that this try has posted, whatever became of them."""
        running_s = self.monotonic() - self._sending_since if self._sending else 0.0
        sending_s = self._sending_s + running_s
        return self._posted / sending_s if sending_s > 0 else 0.0

    def progress(self) -> Progress:
        """Return the progress at this moment."""
        return Progress(**asdict(self.report.counts), elapsed_s=self.elapsed_s, rate=self.rate)

    def tick(self, *, posted: bool) -> None:
        """Count a message, if it was posted, and log the progress, if the last line is old enough."""
        self._posted += posted
        if self.monotonic() - self._logged_at < _LOG_EVERY_S:
            return
        self._logged_at = self.monotonic()
        counts, rate = self.report.counts, self.rate
        _log.info("%s; %.1f messages/s, about %d s to go", counts, rate, counts.not_attempted / rate if rate else 0)
