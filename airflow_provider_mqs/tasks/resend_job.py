"""A replay as a task or a command runs it: one event loop, signals under control, and a report at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs._compat import mask_secret
from airflow_provider_mqs.core.ledger.ledger import Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.offsets.plan import plan_of, receivers_of
from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
from airflow_provider_mqs.core.resend.claims import CLAIM
from airflow_provider_mqs.core.resend.options import resend_options
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.core.resend.report import Report, report_document
from airflow_provider_mqs.core.resend.signals import interrupts
from airflow_provider_mqs.core.values.arguments import is_absent, whole_number
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.ledger.session import LedgerSession
    from airflow_provider_mqs.core.ledger.stores import ReplayStores
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.pacing import Progress
    from airflow_provider_mqs.hooks.mqs import MqsHook

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ReplayJob:
    """
    A replay that is ready to run.

    :param hook: the connection
    :param plan: what to send
    :param sending: how
    :param journal: its ledger
    :param concurrency: requests in flight
    :param dry_run: whether to send nothing
    :param brake: called at most once a second; true stops
    """

    hook: MqsHook
    plan: Plan
    sending: ResendOptions
    session: LedgerSession
    concurrency: int
    dry_run: bool
    brake: Callable[[Progress], bool] | None = None
    report: Report = field(init=False)
    replay: Replay | None = field(init=False, default=None)
    signals: list[int] = field(init=False, default_factory=list)
    left: OffsetsByPartition = field(init=False, default_factory=dict)
    request_s: float = field(init=False, default=0.0)
    told: str = field(init=False, default="")
    started_ms: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.report = Report(self.plan.count)
        self.left = self.plan.partitions

    def run(self, *more_signals: signal.Signals) -> Exception | None:
        """
        Send, or with ``dry_run`` see what would be sent.

        :param more_signals: signals that stop the work besides SIGTERM and SIGALRM
        :return: what broke in, since nothing must lose the report; ``None`` where the replay came to its own end
        """
        self.started_ms = _now_ms()
        if self.plan.repeats:
            _log.warning("%d items were given more than once; each message is sent once.", self.plan.repeats)
        if not self.plan.count:
            _log.info("There is nothing to send.")
            return None
        try:
            with AirflowThread() as desk, interrupts(self.stop, *more_signals) as self.signals:
                asyncio.run(self._run(desk))
        except Exception as error:  # noqa: BLE001 - the caller raises it again, after the report is pushed
            return error
        finally:
            _log.info("%s.", self.report.counts())
        return None

    def stop(self, reason: str) -> None:
        """
        Start no further message. May be called in a thread or signal handler, since it only sets a flag.

        :param reason: half a sentence for the log and the error
        """
        self.told = self.told or reason
        if self.replay is not None:
            self.replay.stop(reason)

    @property
    def stopped(self) -> str:
        """Why the sending stopped before its end; ``""`` where it did not."""
        return self.replay.stopped if self.replay else ""

    @property
    def nothing_left(self) -> bool:
        """Whether other runs had sent everything before this one began."""
        retried = self.replay is not None and self.replay.opening.retried
        return not retried and 0 < self.report.already_sent == self.plan.count

    @property
    def succeeded(self) -> bool:
        """Whether every message was sent, but for those that may fail, and no copy is missing."""
        report = self.report
        tolerable = report.failed + report.unknown <= self.sending.max_failures
        return tolerable and not report.not_attempted and not self.stopped and report.verified is not False

    def why(self) -> str:
        """
        Say how it ended.

        :return: the counts, why the sending stopped, and which copies are missing
        """
        missing = partition_offsets.count(self.report.missing)
        examples = ", ".join(
            f"{offset} of partition {p}"
            for p, offset in partition_offsets.expand(partition_offsets.first(self.report.missing, 5))
        )
        lost = f"{missing} messages were sent, but have no copy (message_offset {examples})" if missing else ""
        doubts = [failure for failure in self.report.failures if failure.unknown][:5]
        named = ", ".join(f"{one.message_offset} of partition {one.partition}" for one in doubts)
        unknown = f"in doubt: message_offset {named}" if named else ""
        return ": ".join(filter(None, [self.report.counts(), self.stopped, unknown, lost]))

    def document(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """
        Write the report.

        :param run: who ran it
        :return: the report as XCom (``mqs.replay/1``)
        """
        settings = self.hook.settings
        return {
            **report_document(self.report, self.plan, endpoint=settings.host, instance_id=self.hook.instance_id),
            "replay_id": self.session.ledger.replay_id,
            "consumer_key": self.sending.consumer_key,
            "dry_run": self.dry_run,
            "plan": self._plan_document(),
            "started_at": iso(self.started_ms),
            "finished_at": iso(_now_ms()),
            "rate": round(self.replay.rate, 1) if self.replay else 0.0,
            "run": dict(run),
        }

    async def _run(self, desk: AirflowThread) -> None:
        async with self.hook as hook:
            client = await hook.aget_conn(
                concurrency=self.concurrency, on_secret=lambda secret: desk.submit(mask_secret, secret)
            )
            self.replay = Replay(client, self.plan, self.sending, self.session, desk, brake=self.brake)
            self.report = self.replay.report
            if self.told:
                self.replay.stop(self.told)
            began_s = time.monotonic()
            self.left = await self.replay.prepare()
            self.request_s = (time.monotonic() - began_s) / max(1, client.requests)
            self._announce()
            if not self.dry_run:
                await self.replay.run()

    def _announce(self) -> None:
        plan, rate = self._plan_document(), self.sending.max_rate
        _log.info(
            "%s %d messages of topic %r, ordering %s, %s, about %s s. Who receives the copies: %s.",
            "Would resend" if self.dry_run else "Resending",
            plan["count"],
            self.plan.topic,
            plan["ordering"],
            f"at most {rate:g} a second" if rate else "no rate limit",
            plan["expected_s"],
            plan["receivers"],
        )
        for number, ranges in self.left.items():
            _log.info("Partition %d: offsets %d to %d in %d runs.", number, ranges[0][0], ranges[-1][1], len(ranges))

    def _plan_document(self) -> dict[str, Any]:
        """Say what a run sends, in which order and how fast; the same for a dry run and a real one."""
        count, sending = partition_offsets.count(self.left), self.sending
        side_by_side = min(self.concurrency, len(self.left) if sending.ordering == "partition" else count)
        fastest = side_by_side / self.request_s if self.request_s else float("inf")
        rate = min(fastest, sending.max_rate or fastest)
        return {
            "count": count,
            "ranges": offset_ranges.to_json(self.left),
            "ordering": sending.ordering,
            "concurrency": self.concurrency,
            "claim": CLAIM,
            "canary": sending.canary,
            "max_rate": sending.max_rate,
            "expected_s": round(count / rate, 1) if 0 < rate < float("inf") else 0.0,
            "receivers": receivers_of(sending.consumer_key),
        }


SENDING_NAMES = (
    "consumer_key",
    "ordering",
    "max_rate",
    "on_failure",
    "max_failures",
    "on_unknown",
    "on_replayed",
    "verify",
    "verify_wait",
    "canary",
)
"""The arguments that say how to send, for ``resend_options``."""


def job_of(
    hook: MqsHook,
    arguments: Mapping[str, Any],
    *,
    run: Mapping[str, Any],
    memory: ReplayStores,
    dry_run: bool,
    max_tries: int | None = None,
    brake: Callable[[Progress], bool] | None = None,
) -> ReplayJob:
    """
    Check the arguments of a resend, and make it ready to run. Nothing is asked and nothing is written.

    :param hook: the connection
    :param arguments: ``messages``, ``topic``, ``max_messages``, ``concurrency`` and ``SENDING_NAMES``, perhaps others
    :param run: who runs it, see ``Owner``
    :param memory: where it is remembered
    :param dry_run: whether to send nothing
    :param max_tries: Airflow's
    :param brake: called at most once a second; true stops
    :return: the replay
    :raises ConfigurationError: an argument is wrong, or the connection does not allow this resend
    """
    plan = _plan_of(hook, arguments)
    sending = resend_options(hook.settings, plan, **{name: arguments[name] for name in SENDING_NAMES})
    session = session_for(
        plan,
        endpoint=hook.settings.host,
        instance_id=hook.instance_id,
        consumer_key=sending.consumer_key,
        owner=Owner(uuid.uuid4().hex, run, max_tries, socket.gethostname(), os.getpid()),
        stores=memory,
    )
    concurrency = whole_number(arguments["concurrency"], "concurrency", minimum=1, maximum=256)
    return ReplayJob(hook, plan, sending, session, concurrency, dry_run, brake)


def _plan_of(hook: MqsHook, arguments: Mapping[str, Any]) -> Plan:
    topic = None if is_absent(arguments["topic"]) else arguments["topic"]
    plan = plan_of(arguments["messages"], topic, endpoint=hook.settings.host, instance_id=hook.instance_id)
    most = whole_number(arguments["max_messages"], "max_messages", minimum=1)
    if plan.count > most:
        raise ConfigurationError(
            f"messages holds {plan.count} messages, more than max_messages={most}: "
            "send a shorter window, or raise the limit."
        )
    return plan


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
