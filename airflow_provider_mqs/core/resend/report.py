"""What a resend did, as XCom (``mqs.replay/1``). The cloud keeps no audit of resends: this is the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan

SCHEMA = "mqs.replay/1"
MAX_FAILURES_LISTED = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """
    One message that was not surely sent.

    :param partition: partition of the topic
    :param message_offset: position in the partition
    :param error_code: the service's code, ``""`` where no answer came
    :param message: one safe sentence
    :param request_id: for the vendor's support, or ``""``
    :param unknown: whether the copy may be there all the same
    """

    partition: int
    message_offset: int
    error_code: str
    message: str
    request_id: str
    unknown: bool

    def to_xcom(self) -> dict[str, Any]:
        """
        Write it as JSON.

        :return: its fields; ``outcome`` tells ``failed`` from ``unknown``
        """
        return {
            "partition": self.partition,
            "message_offset": self.message_offset,
            "outcome": "unknown" if self.unknown else "failed",
            "error_code": self.error_code,
            "message": self.message,
            "request_id": self.request_id,
        }


@dataclass(slots=True)
class Report:
    """
    Counts what happens to a plan, and writes it down.

    ``requested == sent + already_sent + failed + unknown + not_attempted`` holds at any moment.

    :param requested: messages of the plan
    :param already: sent by other runs, and left out
    :param resumed: sent by earlier tries of the same task; they count as ``sent``
    :param possible_doubles: sent although an earlier send of theirs may have worked
    :param copies: offsets of the copies that were found
    :param missing: surely sent messages for which no copy was found, though others of their partition have theirs
    :param verified: whether every sent message has a copy; ``None`` for "could not tell", or not looked
    """

    requested: int
    already: OffsetsByPartition = field(default_factory=dict)
    resumed: OffsetsByPartition = field(default_factory=dict)
    failed: int = 0
    unknown: int = 0
    requests: int = 0
    now_sent: dict[int, list[int]] = field(default_factory=dict)
    now_sent_count: int = 0
    failures: list[Failure] = field(default_factory=list)
    possible_doubles: OffsetsByPartition = field(default_factory=dict)
    copies: OffsetsByPartition = field(default_factory=dict)
    missing: OffsetsByPartition = field(default_factory=dict)
    verified: bool | None = None

    @property
    def sent(self) -> int:
        """Messages that were surely sent, by this try and earlier ones."""
        return partition_offsets.count(self.resumed) + self.now_sent_count

    @property
    def already_sent(self) -> int:
        """Messages that other runs have sent."""
        return partition_offsets.count(self.already)

    @property
    def not_attempted(self) -> int:
        """Messages that were never posted, or whose outcome does not stand yet."""
        return self.requested - self.sent - self.already_sent - self.failed - self.unknown

    @property
    def attempted(self) -> int:
        """Messages whose outcome was found by this try, whichever it is."""
        return self.now_sent_count + self.failed + self.unknown

    def add_sent(self, partition: int, message_offset: int) -> None:
        """
        Count a success.

        :param partition: partition of the topic
        :param message_offset: position in the partition
        """
        self.now_sent_count += 1
        self.now_sent.setdefault(partition, []).append(message_offset)

    def add_failure(self, failure: Failure) -> None:
        """
        Count a message that failed or is in doubt; the first 100 are listed.

        :param failure: what happened
        """
        self.failed += not failure.unknown
        self.unknown += failure.unknown
        if len(self.failures) < MAX_FAILURES_LISTED:
            self.failures.append(failure)

    def sent_ranges(self) -> OffsetsByPartition:
        """
        Give what was sent, by this try and earlier ones.

        :return: offsets by partition
        """
        now = {partition: offset_ranges.from_offsets(offsets) for partition, offsets in self.now_sent.items()}
        return partition_offsets.union(self.resumed, now)

    def counts(self) -> str:
        """
        Say it in a line.

        :return: for logs and errors
        """
        return (
            f"{self.sent} of {self.requested} messages sent, {self.already_sent} already sent, {self.failed} failed, "
            f"{self.unknown} unknown, {self.not_attempted} not attempted"
        )

    def to_xcom(self) -> dict[str, Any]:
        """
        Write the counts as JSON.

        :return: the part of the report that this object knows
        """
        return {
            "requested": self.requested,
            "sent": self.sent,
            "already_sent": self.already_sent,
            "failed": self.failed,
            "unknown": self.unknown,
            "not_attempted": self.not_attempted,
            "verified": self.verified,
            "sent_ranges": offset_ranges.to_json(self.sent_ranges()),
            "copies": offset_ranges.to_json(self.copies),
            "missing_copies": offset_ranges.to_json(self.missing),
            "possible_doubles": offset_ranges.to_json(self.possible_doubles),
            "failures": [failure.to_xcom() for failure in self.failures],
            "failures_omitted": self.failed + self.unknown - len(self.failures),
            "requests": self.requests,
        }


def report_document(report: Report, plan: Plan, *, endpoint: str, instance_id: str) -> dict[str, Any]:
    """
    Write what was planned and what became of it.

    :param report: the counts
    :param plan: what was to be sent
    :param endpoint: host that was asked
    :param instance_id: instance that was asked
    :return: the document of DESIGN "Report, as XCom", without what only the task knows
    """
    windows = {source.window for source in plan.sources}
    return {
        "schema": SCHEMA,
        "endpoint": endpoint,
        "instance_id": instance_id,
        "topic": plan.topic,
        "window": windows.pop().to_xcom() if len(windows) == 1 else None,
        "digest": plan.digest,
        **report.to_xcom(),
    }
