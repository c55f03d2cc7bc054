"""A resend as a task or a command runs it: one event loop, signals under control, and a report at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs._compat import AIRFLOW_VERSION, mask_secret
from airflow_provider_mqs.core.client.concurrency import run_to_end
from airflow_provider_mqs.core.ledger.account import Account, Counts
from airflow_provider_mqs.core.ledger.ledger import Owner
from airflow_provider_mqs.core.ledger.process_identity import this_process
from airflow_provider_mqs.core.ledger.session import LedgerSession, session_for
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan, plan_of, receivers_of
from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
from airflow_provider_mqs.core.resend.claims import CLAIM
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.core.resend.report import Progress, Report
from airflow_provider_mqs.core.resend.signals import interrupts
from airflow_provider_mqs.core.values.arguments import is_absent
from airflow_provider_mqs.core.values.time_window import iso

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.hooks.mqs import MqsHook

_log = logging.getLogger(__name__)
# on 3.0 and 3.1, the connection of a task to its supervisor has no lock
_MAY_TALK_AT_ONCE: Final = AIRFLOW_VERSION < (3, 0) or AIRFLOW_VERSION >= (3, 2)


@dataclass(slots=True)
class ResendJob:
    """A resend that is ready to run, and afterwards what it did."""

    hook: MqsHook
    plan: Plan
    options: ResendOptions
    session: LedgerSession
    dry_run: bool
    brake: Callable[[Progress], bool] | None = None
    report: Report = field(init=False)
    replay: Replay | None = field(init=False, default=None)
    signals: list[int] = field(init=False, default_factory=list)
    """Those that stopped it."""
    _remaining: OffsetsByPartition = field(init=False)
    _request_s: float = field(init=False, default=0.0)
    _stop_reason: str = field(init=False, default="")
    _started_ms: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.report = Report(Account(self.plan.partitions))
        self._remaining = self.plan.partitions

    def run(self, *more_signals: signal.Signals) -> Exception | None:
        """
        Send, or find out what would be sent. Return an error rather than raise it, so that the report is never lost.

        ``more_signals`` stop the work besides SIGTERM and SIGALRM.
        """
        self._started_ms = time.time_ns() // 1_000_000
        if self.plan.repeats:
            _log.warning("%d items are repeated; each message is sent once.", self.plan.repeats)
        if not self.plan.count:
            _log.info("There is nothing to send.")
            return None
        try:
            with ExitStack() as stack:
                airflow = stack.enter_context(AirflowThread())
                brake_thread = stack.enter_context(AirflowThread("mqs-brake")) if _MAY_TALK_AT_ONCE else airflow
                self.signals = stack.enter_context(interrupts(self.stop, *more_signals))
                run_to_end(self._run(airflow, brake_thread))
        except Exception as error:  # noqa: BLE001 - the caller raises it again, after the report is pushed
            return error
        finally:
            _log.info("%s.", self.counts)
            if self.unverified:
                _log.warning("It could not be told whether each message has its copy.")
        return None

    def stop(self, reason: str) -> None:
        """Begin no further message. Any thread or signal handler may call this, since it only sets a flag."""
        self._stop_reason = self._stop_reason or reason
        if self.replay is not None:
            self.replay.stop(reason)

    @property
    def counts(self) -> Counts:
        """How many messages are in which state."""
        return self.report.counts

    @property
    def nothing_left(self) -> bool:
        """Whether other runs had sent everything before this one began."""
        is_retry = self.replay is not None and self.replay.history.is_retry
        return not is_retry and 0 < self.counts.already_sent == self.plan.count

    @property
    def sent_by(self) -> Owner | None:
        """The last run that sent something of the plan before this one."""
        return self.replay.history.sent_by if self.replay else None

    @property
    def succeeded(self) -> bool:
        """Whether every message was sent, but for those that may fail, and its copy is as sure as the options want."""
        counts, stopped = self.counts, self.replay is not None and self.replay.stopped
        tolerable = counts.failed + counts.unknown <= self.options.max_failures
        in_sight = not self.unverified or self.options.on_unverified == "warn"
        return tolerable and in_sight and not counts.not_attempted and not stopped and self.report.verified is not False

    @property
    def unverified(self) -> bool:
        """Whether copies were looked for to the end, and nobody can tell whether each message has its own."""
        stopped = self.replay is None or self.replay.stopped
        return self.options.verify and not stopped and self.report.verified is None and self.counts.sent > 0

    def summary(self) -> str:
        """Return how it ended: the counts, why the sending stopped, what is in doubt, and what is known of copies."""
        parts = [str(self.counts), self.replay.stopped if self.replay else ""]
        unknown = [failure for failure in self.report.account.failures if failure.unknown][:5]
        if unknown:
            named = ", ".join(f"{one.message_offset} of partition {one.partition}" for one in unknown)
            parts.append(f"in doubt: message_offset {named}")
        missing = self.report.missing
        if missing:
            examples = partition_offsets.expand(partition_offsets.first(missing, 5))
            named = ", ".join(f"{offset} of partition {partition}" for partition, offset in examples)
            lost = partition_offsets.count(missing)
            parts.append(f"{lost} messages were sent, but have no copy (message_offset {named})")
        elif self.unverified:
            parts.append("it could not be told whether each message has its copy")
        return ": ".join(filter(None, parts))

    def document(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report as XCom (``mqs.replay/1``); ``run`` says who ran it."""
        return {
            **self.report.to_xcom(self.plan, endpoint=self.hook.settings.host, instance_id=self.hook.instance_id),
            "replay_id": self.session.ledger.replay_id,
            "consumer_key": self.options.consumer_key,
            "dry_run": self.dry_run,
            "plan": self._plan_document(),
            "started_at": iso(self._started_ms),
            "finished_at": iso(time.time_ns() // 1_000_000),
            "rate": round(self.replay.rate, 1) if self.replay else 0.0,
            "run": dict(run),
        }

    async def _run(self, airflow: AirflowThread, brake_thread: AirflowThread) -> None:
        async with self.hook as hook:
            client = await hook.aget_conn(
                concurrency=self.options.concurrency, on_secret=lambda secret: airflow.submit(mask_secret, secret)
            )
            self.replay = Replay(
                client,
                self.plan,
                self.options,
                self.session,
                airflow,
                brake=self.brake,
                brake_thread=brake_thread,
                # a command may outlive the shell that started it
                parent=(lambda: 0) if self.session.ledger.owner.task_instance is None else os.getppid,
            )
            self.report = self.replay.report
            if self._stop_reason:
                self.replay.stop(self._stop_reason)
            now_s = asyncio.get_running_loop().time
            began_s = now_s()
            await self.replay.prepare()
            self._remaining = self.report.account.remaining
            self._request_s = (now_s() - began_s) / max(1, client.requests)
            self._log_plan()
            if not self.dry_run:
                await self.replay.run()

    def _log_plan(self) -> None:
        plan, rate = self._plan_document(), self.options.max_rate
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
        for number, ranges in self._remaining.items():
            in_ranges = f"{len(ranges)} range{'s' if len(ranges) > 1 else ''}"
            _log.info("Partition %d: offsets %d to %d in %s.", number, ranges[0][0], ranges[-1][1], in_ranges)

    def _plan_document(self) -> dict[str, Any]:
        """Return what is sent, in which order and how fast; the same for a dry run and a real one."""
        count, options = partition_offsets.count(self._remaining), self.options
        side_by_side = min(options.concurrency, len(self._remaining) if options.ordering == "partition" else count)
        # measured with the requests that read the ends of the plan: a POST takes about as long
        fastest = side_by_side / self._request_s if self._request_s else float("inf")
        rate = min(fastest, options.max_rate or fastest)
        return {
            "count": count,
            "ranges": offset_ranges.to_json(self._remaining),
            "ordering": options.ordering,
            "concurrency": options.concurrency,
            "claim": CLAIM,
            "canary": options.canary,
            "max_rate": options.max_rate,
            "expected_s": round(count / rate, 1) if 0 < rate < float("inf") else 0.0,
            "receivers": receivers_of(options.consumer_key),
        }


def owner_of(run: Mapping[str, Any], max_tries: int | None = None) -> Owner:
    """Return a new execution, by this process; the arguments say which task runs it."""
    return Owner(uuid.uuid4().hex, run, max_tries, socket.gethostname(), this_process())


def resend_job(
    hook: MqsHook,
    *,
    messages: Any,
    topic: Any,
    options: ResendOptions,
    stores: Sequence[Store],
    run: Mapping[str, Any],
    dry_run: bool,
    max_tries: int | None = None,
    brake: Callable[[Progress], bool] | None = None,
) -> ResendJob:
    """
    Check what is to be sent against the connection, and return a job that is ready to run. Nothing is sent or written.

    ``run`` and ``max_tries`` say who runs it (see ``owner_of``), ``stores`` where it is recorded.
    """
    endpoint, instance_id = hook.settings.host, hook.instance_id
    plan = plan_of(messages, None if is_absent(topic) else topic, endpoint=endpoint, instance_id=instance_id)
    options = options.allowed_by(hook.settings, plan)
    session = session_for(
        plan,
        endpoint=endpoint,
        instance_id=instance_id,
        consumer_key=options.consumer_key,
        owner=owner_of(run, max_tries),
        stores=stores,
        ordering=options.ordering,
    )
    return ResendJob(hook, plan, options, session, dry_run, brake)
