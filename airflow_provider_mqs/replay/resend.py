"""
Send the messages of a plan again: one POST each, in order inside each partition, at a rate, until done or stopped.

What an answer means is decided here, once. *Sent*: the service said so. *Failed*: it surely did not run. *Unknown*: it
may have run; never sent again blindly, since a resend is not idempotent.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_mqs.client.client import side_by_side
from airflow_provider_mqs.client.retry import surely_not_run
from airflow_provider_mqs.exceptions import ApiError, AuthenticationError, MqsError, TransportError
from airflow_provider_mqs.models import ranges as runs
from airflow_provider_mqs.models.report import Failure
from airflow_provider_mqs.replay.pace import Pacer, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from airflow_provider_mqs.client.client import AsyncMqsClient
    from airflow_provider_mqs.models.plan import Plan
    from airflow_provider_mqs.models.report import Report

    Lane: TypeAlias = Iterator[tuple[int, int]]

_log = logging.getLogger(__name__)
_REFUSED = frozenset({400, 401, 403, 404, 405, 413})
"""Statuses with which the service turns a request away before it does anything."""


@dataclass(frozen=True, slots=True)
class Sending:
    """
    How to send.

    :param consumer_key: application key for the header of each copy
    :param ordering: ``partition`` keeps the order inside each partition, ``none`` keeps no order
    :param max_rate: messages a second, ``None`` for no limit
    :param on_failure: ``stop`` as soon as ``max_failures`` is passed, or ``continue`` to the end
    :param max_failures: how many messages may fail or stay unknown
    """

    consumer_key: str | None = None
    ordering: str = "partition"
    max_rate: float | None = None
    on_failure: str = "stop"
    max_failures: int = 0


class Resender:
    """
    One run over one plan.

    :param client: open; its ``concurrency`` says how many messages may be in flight
    :param plan: what to send
    :param sending: how
    :param report: counts what happens, and is right at any moment
    :param pacer: the rate limit, default that of ``sending``
    :param progress: the progress lines
    """

    def __init__(
        self,
        client: AsyncMqsClient,
        plan: Plan,
        sending: Sending,
        report: Report,
        *,
        pacer: Pacer | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._client = client
        self._plan = plan
        self._sending = sending
        self._report = report
        self._pacer = pacer or Pacer(sending.max_rate)
        self.progress = progress or Progress(report)
        self.stopped = ""

    def stop(self, reason: str) -> None:
        """
        Start no further message; those in flight are finished.

        :param reason: one sentence for the log and the error
        """
        self.stopped = self.stopped or reason

    async def run(self) -> None:
        """Send until the plan is done or the run is stopped; failures are in the report, not raised."""
        lanes = self._lanes()
        workers = min(self._client.concurrency, len(lanes))
        await side_by_side(self._work(lanes) for _ in range(workers))

    def _lanes(self) -> deque[Lane]:
        """Line the messages up: a lane a partition, each with one message in flight; or one lane, shared."""
        partitions = self._plan.partitions.items()
        if self._sending.ordering == "partition":
            return deque(_places(number, ranges) for number, ranges in partitions)
        shared = (place for number, ranges in partitions for place in _places(number, ranges))
        return deque([shared] * min(self._client.concurrency, self._plan.count))

    async def _work(self, lanes: deque[Lane]) -> None:
        """Take a lane, send its next message, put it back behind the others."""
        while lanes and not self.stopped:
            lane = lanes.popleft()
            place = next(lane, None)
            if place is None:
                continue
            await self._pacer.wait()
            if self.stopped:
                return
            await self._send(*place)
            lanes.append(lane)

    async def _send(self, partition: int, message_offset: int) -> None:
        api, sending = self._client.api, self._sending
        try:
            await self._client.run(api.resend(self._plan.topic, partition, message_offset, sending.consumer_key))
        except MqsError as error:
            self._failed(partition, message_offset, error)
        except BaseException:
            # cancelled in flight: the copy may be there all the same
            reason = "The sending was stopped before an answer came."
            self._report.add_failure(Failure(partition, message_offset, "", reason, "", unknown=True))
            raise
        else:
            self._report.add_sent(partition, message_offset)
        self.progress.tick()

    def _failed(self, partition: int, message_offset: int, error: MqsError) -> None:
        failure = failure_of(partition, message_offset, error)
        self._report.add_failure(failure)
        outcome = "may or may not have been resent" if failure.unknown else "was not resent"
        _log.warning("Partition %d, message_offset %d %s: %s", partition, message_offset, outcome, error)
        failures = self._report.failed + self._report.unknown
        if isinstance(error, AuthenticationError):
            self.stop("the credentials are not accepted any more")
        elif self._sending.on_failure == "stop" and failures > self._sending.max_failures:
            self.stop(f"more than max_failures={self._sending.max_failures} messages failed or are unknown")


def failure_of(partition: int, message_offset: int, error: MqsError) -> Failure:
    """
    Judge why a message was not acknowledged.

    :param partition: partition of the topic
    :param message_offset: position in the partition
    :param error: what the client raised
    :return: a failure; ``unknown`` unless the request surely did not run
    """
    api_error = error if isinstance(error, ApiError) else None
    return Failure(
        partition,
        message_offset,
        api_error.error_code if api_error else "",
        str(error),
        api_error.request_id if api_error else "",
        unknown=not _surely_refused(error),
    )


def _surely_refused(error: MqsError) -> bool:
    if error.at_login:
        return True
    if isinstance(error, ApiError):
        return error.status in _REFUSED or surely_not_run(error)
    return isinstance(error, TransportError) and surely_not_run(error)


def _places(partition: int, ranges: runs.Ranges) -> Lane:
    return ((partition, offset) for offset in runs.expand(ranges))
