"""
The search for the copies of many replays as a task runs it, from checked arguments to the result (``mqs.proof/1``).

Only executions that have ended are searched: one that still sends looks for its copies itself. What is found is written
as a ledger of its own, which names the copies of each execution; a second search finds them there and makes no request.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs._compat import mask_secret
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, Ledger
from airflow_provider_mqs.core.ledger.session import LedgerSession, session_for
from airflow_provider_mqs.core.ledger.topic_ledgers import executions_of
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
from airflow_provider_mqs.core.resend.options import ON_UNVERIFIED, verify_wait_s
from airflow_provider_mqs.core.resend.report import SCHEMA as REPORT_SCHEMA
from airflow_provider_mqs.core.resend.signals import interrupts
from airflow_provider_mqs.core.resend.stopping import Stop, StoppableClient
from airflow_provider_mqs.core.values import arguments as read
from airflow_provider_mqs.core.values.time_window import WindowArguments, iso
from airflow_provider_mqs.core.verify.executions import Execution, execution_of
from airflow_provider_mqs.core.verify.prove import most_requests, prove
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.tasks.dag_run import topic_ref_of
from airflow_provider_mqs.tasks.resend_job import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.hooks.mqs import MqsHook

SCHEMA: Final = "mqs.proof/1"
_FOREVER_MS: Final = 1 << 53
_MOST_NAMED: Final = 100
_NEEDED: Final = {"replay_id", "dry_run", "requested", "sent", "unknown"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyArguments:
    """Which replays are to be verified, and how."""

    topic: str
    """``""`` only if there is nothing to verify."""
    replay_ids: frozenset[str] | None
    """Those of the reports; ``None`` means all of the topic."""
    sent_ids: frozenset[str]
    """Those of the reports that have sent something, and must be in the record."""
    sending: WindowArguments
    """Only replays that sent something in this time; either end may be absent."""
    verify_wait_s: float
    on_unverified: str
    max_requests: int | None
    concurrency: int

    @classmethod
    def read(
        cls,
        settings: ConnectionSettings,
        instance_id: str,
        *,
        replays: Any = None,
        topic: Any = None,
        start: Any = None,
        end: Any = None,
        verify_wait: Any = None,
        on_unverified: Any = "fail",
        max_requests: Any = None,
        concurrency: Any = 16,
    ) -> VerifyArguments:
        """Read the arguments of the operator, also as the text of a template."""
        name = "" if read.is_absent(topic) else read.topic_name(topic)
        replay_ids, sent_ids = None, frozenset[str]()
        if not read.is_absent(replays):
            reports = [
                _checked(one) for one in read.documents(replays, "replays", "resend.output, or a list of reports")
            ]
            name = _agreed_topic(reports, settings.host, instance_id, name)
            # a report that left everything out has the id of those that have sent the same plan before
            replay_ids = frozenset(str(one["replay_id"]) for one in reports if one["requested"] and not one["dry_run"])
            sent_ids = frozenset(str(one["replay_id"]) for one in reports if one["sent"] or one["unknown"])
        elif not name:
            raise ConfigurationError("replays and topic are both missing: pass replays=resend.output, or a topic.")
        return cls(
            topic=name,
            replay_ids=replay_ids,
            sent_ids=sent_ids,
            sending=WindowArguments.read(start=start, end=end),
            verify_wait_s=verify_wait_s(verify_wait, settings),
            on_unverified=read.choice(on_unverified, "on_unverified", ON_UNVERIFIED),
            max_requests=read.optional_number(max_requests, "max_requests", minimum=1),
            concurrency=read.whole_number(concurrency, "concurrency", minimum=1, maximum=256),
        )

    def chooses(self, ledger: Ledger) -> bool:
        """Return whether the copies of an execution are wanted."""
        return ledger.has_copies and (self.replay_ids is None or ledger.replay_id in self.replay_ids)


@dataclass(slots=True)
class VerifyJob:
    """A search that is ready to run, and afterwards what it found."""

    hook: MqsHook
    arguments: VerifyArguments
    stores: tuple[Store, ...]
    run_names: Mapping[str, Any]
    """Who runs it, for the ledger and the result."""
    signals: list[int] = field(init=False, default_factory=list)
    """Those that stopped it."""
    _chosen: list[Ledger] = field(init=False, default_factory=list)
    _copies: dict[str, OffsetsByPartition] = field(init=False, default_factory=dict)
    """By token, of executions that know all of theirs."""
    _partial: dict[str, OffsetsByPartition] = field(init=False, default_factory=dict)
    """Of the others, those copies that are certain."""
    _missing: dict[str, OffsetsByPartition] = field(init=False, default_factory=dict)
    _unproven: dict[str, str] = field(init=False, default_factory=dict)
    """By token, why it is not known."""
    _requests: int = field(init=False, default=0)
    _started_ms: int = field(init=False, default=0)
    _error: Exception | None = field(init=False, default=None)
    _stop_reason: str = field(init=False, default="")
    _stop: Callable[[str], object] | None = field(init=False, default=None)

    def run(self) -> Exception | None:
        """Search. Return an error rather than raise it, so that the result is never lost."""
        self._started_ms = time.time_ns() // 1_000_000
        try:
            if self.arguments.replay_ids != frozenset():
                self._check_stores()
                with AirflowThread() as airflow, interrupts(self.stop) as self.signals:
                    asyncio.run(self._run(airflow))
        except Exception as error:  # noqa: BLE001 - the caller raises it again, after the result is pushed
            self._error = error
        _log.log(logging.INFO if self.succeeded else logging.WARNING, "%s", self.summary())
        return self._error

    def stop(self, reason: str) -> None:
        """End at once. Any thread or signal handler may call this, since it only sets a flag."""
        self._stop_reason = self._stop_reason or reason
        if self._stop is not None:
            with suppress(RuntimeError):  # the loop is closed, and all is over
                self._stop(reason)

    @property
    def timed_out(self) -> bool:
        """Whether ``execution_timeout`` has passed."""
        return signal.SIGALRM in self.signals

    @property
    def verified(self) -> bool | None:
        """Whether each message that was sent has its copy; ``None`` if that is not known of all."""
        if any(self._missing.values()):
            return False
        return None if self._error or self._unproven else True

    @property
    def succeeded(self) -> bool:
        """Whether nothing is missing, and all is as sure as the arguments want."""
        sure = not self._unproven or self.arguments.on_unverified == "warn"
        return self._error is None and self.verified is not False and sure

    def summary(self) -> str:
        """Return one line in plain words."""
        replays = {one.replay_id for one in self._chosen}
        if self._error is not None:
            return f"The copies were not looked for to the end: {self._error}"
        if not replays:
            return "There is nothing to do: no replay has sent anything that could have a copy."
        parts = [f"All copies of {len(replays) - len(self._replays_left())} of {len(replays)} replays are known"]
        if not self._requests:
            parts.append("there was nothing to do")
        missing = partition_offsets.union(*self._missing.values())
        if missing:
            examples = partition_offsets.expand(partition_offsets.first(missing, 5))
            named = ", ".join(f"{offset} of partition {partition}" for partition, offset in examples)
            count = partition_offsets.count(missing)
            parts.append(f"{count} messages were sent, but have no copy (message_offset {named})")
        if self._unproven:
            parts.append(next(iter(self._unproven.values())).rstrip("."))
        return f"{'; '.join(parts)}."

    def document(self) -> dict[str, Any]:
        """Return the result as XCom (``mqs.proof/1``)."""
        replays, left = {one.replay_id for one in self._chosen}, self._replays_left()
        sent = partition_offsets.union(*(one.done for one in self._chosen))
        by_token = {one.token: one for one in self._chosen}
        return {
            "summary": self.summary(),
            "schema": SCHEMA,
            "endpoint": self.hook.settings.host,
            "instance_id": self.hook.instance_id,
            "topic": self.arguments.topic,
            "verified": self.verified,
            "replays": {"proven": len(replays) - len(left), "unproven": len(left)},
            "sent": partition_offsets.count(sent),
            "copies": offset_ranges.to_json(partition_offsets.union(*self._copies.values(), *self._partial.values())),
            "missing_copies": offset_ranges.to_json(partition_offsets.union(*self._missing.values())),
            "unproven": [
                {"replay_id": by_token[token].replay_id, "run": dict(by_token[token].owner.run), "reason": reason}
                for token, reason in list(self._unproven.items())[:_MOST_NAMED]
            ],
            "requests": self._requests,
            "started_at": iso(self._started_ms),
            "finished_at": iso(time.time_ns() // 1_000_000),
            "run": dict(self.run_names),
        }

    def _replays_left(self) -> set[str]:
        """Return the ids of replays of which not every execution is proven."""
        return {one.replay_id for one in self._chosen if one.token not in self._copies or one.token in self._missing}

    def _check_stores(self) -> None:
        if not self.stores:
            raise ConfigurationError(
                "There is no record of replays, so nobody knows what was sent when: "
                "set ledger_path to that of the resends, or run in Airflow."
            )

    async def _run(self, airflow: AirflowThread) -> None:
        stop, loop = Stop(), asyncio.get_running_loop()

        def stop_soon(reason: str) -> None:
            loop.call_soon_threadsafe(stop.stop, reason)

        async with self.hook as hook:
            client = StoppableClient(
                await hook.aget_conn(
                    concurrency=self.arguments.concurrency, on_secret=lambda one: airflow.submit(mask_secret, one)
                ),
                airflow,
                stop,
            )
            self._stop = stop_soon
            if self._stop_reason:
                stop.stop(self._stop_reason)
            try:
                await client.run(self._search(client.api))
            finally:
                self._requests = client.requests

    def _search(self, api: MqsApi) -> Flow[None]:
        """Find the copies of all chosen executions that do not know theirs, and record them."""
        ref, sending = topic_ref_of(self.hook, self.arguments.topic), self.arguments.sending
        ledgers = yield from executions_of(self.stores, ref, sending.start_ms or 0, sending.end_ms or _FOREVER_MS)
        self._chosen = [one for one in ledgers if self.arguments.chooses(one)]
        self._check_record()
        self._copies = {one.token: one.copies for one in self._chosen if one.copies_known}
        self._missing = {one.token: one.missing for one in self._chosen if one.missing}
        unknown = [one for one in self._chosen if not one.copies_known]
        if not unknown:
            return
        session = self._session(api)
        if any(one.is_open for one in unknown) and not api.service_clock.known:
            # any answer says what time it is at the service; without it, who lives takes a minute to see
            yield from api.query_page(ref.topic, unknown[0].first_ms, unknown[0].first_ms, limit=1, offset=0)
        stopped, alive = yield from session.judge(unknown)
        self._unproven = {
            one.token: f"A replay is still sending ({one.owner}); it looks for its copies itself." for one in alive
        }

        def touching(start_ms: int, end_ms: int) -> Flow[list[Execution]]:
            return [execution_of(one, api.service_clock) for one in (yield from session.touching(start_ms, end_ms))]

        targets = [execution_of(one, api.service_clock) for one in stopped]
        if not targets:
            return
        _log.info(
            "Looking for the copies of %d messages; that takes at most %d requests.",
            sum(one.count for one in targets),
            most_requests(targets),
        )
        found = yield from prove(
            api,
            ref.topic,
            targets,
            touching,
            wait_s=self.arguments.verify_wait_s,
            max_requests=self.arguments.max_requests,
        )
        self._copies.update(found.copies)
        self._partial = found.partial
        self._missing.update(found.missing)
        self._unproven.update(found.unproven)
        yield from session.write(state=COMPLETE, findings=found.for_ledgers(), copies_keep_time=found.keep_time)

    def _session(self, api: MqsApi) -> LedgerSession:
        """Return a session for a ledger that names copies and sends nothing."""
        session = session_for(
            Plan(self.arguments.topic, {}),
            endpoint=self.hook.settings.host,
            instance_id=self.hook.instance_id,
            consumer_key=None,
            owner=owner_of(self.run_names),
            stores=self.stores,
        )
        session.clock = api.service_clock
        return session

    def _check_record(self) -> None:
        """Refuse a record that does not know a replay which has sent something, since it must be another one."""
        lacking = self.arguments.sent_ids - {one.replay_id for one in self._chosen}
        if lacking:
            raise ConfigurationError(
                f"The record knows nothing of {len(lacking)} of the replays: set ledger_path to that of their resends."
            )


def _checked(report: Mapping[str, Any]) -> Mapping[str, Any]:
    if report.get("schema") != REPORT_SCHEMA or _NEEDED - set(report):
        raise ConfigurationError(
            f"replays has an item that is no report of a resend ({REPORT_SCHEMA}): pass resend.output."
        )
    return report


def _agreed_topic(reports: list[Mapping[str, Any]], endpoint: str, instance_id: str, topic: str) -> str:
    """Return the topic that all reports are of, and refuse those of another service; an empty plan has no topic."""
    for report in (one for one in reports if one.get("topic")):
        topic = topic or read.topic_name(report["topic"])
        for name, ours in (("endpoint", endpoint), ("instance_id", instance_id), ("topic", topic)):
            if report.get(name) != ours:
                raise ConfigurationError(
                    f"replays has a report of {name} {report.get(name)!r:.80}, not of {ours!r:.80}."
                )
    return topic
