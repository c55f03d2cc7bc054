"""Engine, ledger and verification against the service's log, with a crash between any two steps of any try."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, Owner
from airflow_provider_mqs.core.ledger.ledger_reader import head_key
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.testing import running_emulator
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Step

SOON = RetryPolicy(max_retries=100, base_s=0.001, cap_s=0.002)
RESEND = frozenset({"resend"})
COUNT, PARTITIONS = 24, 3
LAST_TRIES = 6


class CrashError(Exception):
    """The process is gone."""


class Life:
    """
    Counts the steps of a try.

    :param steps: so many, then nothing more happens; ``None`` for no end
    :param halfway: whether the last step still happens, and only its outcome is lost
    """

    def __init__(self, steps: int | None, *, halfway: bool) -> None:
        self.left, self.halfway = steps, halfway

    def step(self) -> bool:
        """Return whether the step that comes is the last one, which still happens."""
        if self.left is None:
            return False
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.halfway):
            raise CrashError
        return self.left == 0


class MortalStore(MemoryStore):
    """A store that a dead process neither reads nor writes."""

    life = Life(None, halfway=False)

    def get(self, key: str) -> Any | None:
        last, value = self.life.step(), super().get(key)
        if last:
            raise CrashError
        return value

    def set(self, key: str, value: Any) -> None:
        last = self.life.step()
        super().set(key, value)
        if last:
            raise CrashError


class MortalClient(AsyncMqsClient):
    """A client whose process dies before a request, or right after it."""

    life = Life(None, halfway=False)

    async def perform(self, step: Step) -> Any:
        last, answer = self.life.step(), await super().perform(step)
        if last:
            raise CrashError
        return answer


class Crashes(RuleBasedStateMachine):
    """Tries of one task, each on a bad day of the service, each with a life of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.emulator = self.stack.enter_context(running_emulator())
        self.store, self.tries = MortalStore(), 0

    @initialize(ordering=st.sampled_from(["partition", "none"]), verify=st.booleans())
    def begin(self, ordering: str, *, verify: bool) -> None:
        now_ms = time.time_ns() // 1_000_000
        self.emulator.seed("orders", COUNT, now_ms - 7_200_000, now_ms - 3_600_000, partitions=PARTITIONS)
        connection = self.emulator.connection()
        connection.pop("conn_type")
        self.settings = ConnectionSettings.parse(**connection)
        self.options = ResendOptions(ordering=ordering, verify=verify, verify_wait_s=0.15)
        self.plan = Plan("orders", dict.fromkeys(range(PARTITIONS), ((0, COUNT // PARTITIONS - 1),)))

    @rule(
        steps=st.integers(1, 120),
        halfway=st.booleans(),
        fault=st.sampled_from(["timeout_504", "late_504", "lost_504", "drop_after", "throttle_429"]),
        skip=st.integers(0, 12),
    )
    def crash(self, steps: int, fault: str, skip: int, *, halfway: bool) -> None:
        """Let a try die at some step, or end before it."""
        self.emulator.faults.late_append_s, self.emulator.faults.retry_after_s = 0.05, 0
        setattr(self.emulator.faults, fault, Rule(next=1, skip=skip, operations=RESEND))
        self.attempt(Life(steps, halfway=halfway))

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        """At any time."""
        assert set(self.emulator.resend_counts("orders").values()) <= {1}

    def teardown(self) -> None:
        """Without further crashes each message is sent in the end."""
        try:
            if self.tries:
                self.end()
        finally:
            self.stack.close()

    def end(self) -> None:
        self.emulator.faults.clear()
        for _ in range(LAST_TRIES):
            replay = self.attempt(Life(None, halfway=False))
            if replay is not None and replay.report.counts.sent == COUNT:
                break
        self.nothing_is_sent_twice()
        assert len(self.emulator.resend_counts("orders")) == COUNT
        ledger = self.store.get(head_key(f"try {self.tries}")) or {}
        assert (ledger["state"], ledger["claimed"]) == (COMPLETE, {})

    def attempt(self, life: Life) -> Replay | None:
        self.tries += 1
        self.store.life = life
        try:
            return asyncio.run(self._attempt(life))
        except CrashError:
            return None

    async def _attempt(self, life: Life) -> Replay:
        run = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": self.tries}
        session = session_for(
            self.plan,
            endpoint=self.settings.host,
            instance_id=str(self.settings.instance_id),
            consumer_key=None,
            owner=Owner(f"try {self.tries}", run),
            stores=(self.store,),
        )
        with AirflowThread() as airflow:
            async with MortalClient(self.settings, concurrency=6, policy=SOON) as client:
                client.life = life
                replay = Replay(client, self.plan, self.options, session, airflow)
                await replay.run()
        return replay


Crashes.TestCase.settings = settings(max_examples=15, stateful_step_count=5, deadline=None, derandomize=True)
test_crashes = Crashes.TestCase
