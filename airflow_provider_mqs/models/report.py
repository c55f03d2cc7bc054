"""What a resend did, as XCom (``mqs.replay/1``). The cloud keeps no audit of resends: this is the record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.models import ranges as runs

if TYPE_CHECKING:
    from airflow_provider_mqs.models.plan import Plan
    from airflow_provider_mqs.models.ranges import Ranges

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

    ``requested == sent + failed + unknown + not_attempted`` holds at any moment.

    :param requested: messages of the plan
    """

    requested: int
    sent: int = 0
    failed: int = 0
    unknown: int = 0
    requests: int = 0
    sent_offsets: dict[int, list[int]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def not_attempted(self) -> int:
        """Messages that were never posted."""
        return self.requested - self.sent - self.failed - self.unknown

    @property
    def attempted(self) -> int:
        """Messages whose outcome stands, whichever it is."""
        return self.sent + self.failed + self.unknown

    def add_sent(self, partition: int, message_offset: int) -> None:
        """
        Count a success.

        :param partition: partition of the topic
        :param message_offset: position in the partition
        """
        self.sent += 1
        self.sent_offsets.setdefault(partition, []).append(message_offset)

    def add_failure(self, failure: Failure) -> None:
        """
        Count a message that failed or is in doubt; the first 100 are listed.

        :param failure: what happened
        """
        self.failed += not failure.unknown
        self.unknown += failure.unknown
        if len(self.failures) < MAX_FAILURES_LISTED:
            self.failures.append(failure)

    def sent_ranges(self) -> dict[int, Ranges]:
        """
        Give what was sent.

        :return: offsets by partition
        """
        return {partition: runs.ranges_of(offsets) for partition, offsets in sorted(self.sent_offsets.items())}

    def to_xcom(self) -> dict[str, Any]:
        """
        Write the counts as JSON.

        :return: the part of the report that this object knows
        """
        return {
            "requested": self.requested,
            "sent": self.sent,
            "already_sent": 0,
            "failed": self.failed,
            "unknown": self.unknown,
            "not_attempted": self.not_attempted,
            "verified": None,
            "sent_ranges": runs.to_json(self.sent_ranges()),
            "copies": {},
            "failures": [failure.to_xcom() for failure in self.failures],
            "failures_omitted": self.failed + self.unknown - len(self.failures),
            "requests": self.requests,
        }


def replay_id_of(endpoint: str, instance_id: str, plan: Plan, consumer_key: str | None) -> str:
    """
    Name a replay after what it sends, so that the same replay has the same name in every try and run.

    :param endpoint: host that is asked
    :param instance_id: instance that is asked
    :param plan: what is sent
    :param consumer_key: to whom
    :return: SHA-256 as hex
    """
    exact = {str(number): ranges for number, ranges in sorted(plan.partitions.items())}
    text = json.dumps([endpoint, instance_id, plan.topic, consumer_key, exact], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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
