"""Whole replays on the local service, with everything that can make a copy hard to find."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.core.ledger.ledger import Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

SOON = RetryPolicy(max_retries=100, base_s=0.001, cap_s=0.002)
RESEND = frozenset({"resend"})
BOTH = pytest.mark.parametrize("ordering", ["partition", "none"])


def seeded(emulator: MqsEmulator, count: int = 120, partitions: int = 3) -> Plan:
    now_ms = time.time_ns() // 1_000_000
    emulator.seed("orders", count, now_ms - 3 * 3_600_000, now_ms - 2 * 3_600_000, partitions=partitions)
    held = Counter(partition for partition, _ in emulator.offsets("orders"))
    return Plan("orders", {partition: ((0, number - 1),) for partition, number in sorted(held.items())})


async def replayed(
    emulator: MqsEmulator, plan: Plan, store: MemoryStore | None = None, number: int = 1, **options: Any
) -> Replay:
    """Run one try of a replay."""
    connection = emulator.connection()
    connection.pop("conn_type")
    settings = ConnectionSettings.parse(**connection)
    run = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": number}
    session = session_for(
        plan,
        endpoint=settings.host,
        instance_id=str(settings.instance_id),
        consumer_key=None,
        owner=Owner(f"try {number}", run),
        stores=(store,) if store else (),
    )
    how = ResendOptions(**{"verify_wait_s": 0.4, **options})
    with AirflowThread() as airflow:
        async with AsyncMqsClient(settings, policy=SOON) as client:
            replay = Replay(client, plan, how, session, airflow)
            await replay.run()
    return replay


def once(emulator: MqsEmulator) -> bool:
    return set(emulator.resend_counts("orders").values()) <= {1}


@BOTH
async def test_every_kind_of_lost_answer_is_resolved(mqs_emulator: MqsEmulator, ordering: str) -> None:
    """Appended, appended late, not appended: each message is there once, and verified."""
    plan = seeded(mqs_emulator)
    faults = mqs_emulator.faults
    faults.timeout_504 = Rule(next=3, skip=10, operations=RESEND)
    faults.late_504 = Rule(next=2, skip=20, operations=RESEND)
    faults.drop_after = Rule(next=2, skip=30, operations=RESEND)
    faults.lost_504 = Rule(next=1, skip=40, operations=RESEND)
    faults.late_append_s = 0.2

    replay = await replayed(mqs_emulator, plan, MemoryStore(), ordering=ordering)

    assert (replay.report.counts.sent, replay.report.counts.unknown, replay.report.verified) == (120, 0, True)
    assert mqs_emulator.resend_counts("orders") == dict.fromkeys(((p, o) for p in range(3) for o in range(40)), 1)


@pytest.mark.parametrize(
    ("fault", "ordering"), [("timeout_504", "partition"), ("timeout_504", "none"), ("lost_504", "none")]
)
async def test_a_first_message_without_an_answer_is_resolved_in_the_same_try(
    mqs_emulator: MqsEmulator, fault: str, ordering: str
) -> None:
    """Another one is sent before it is resolved, so that there is a copy to compare with."""
    plan = seeded(mqs_emulator)
    setattr(mqs_emulator.faults, fault, Rule(next=2, operations=RESEND))

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert (replay.report.counts.sent, replay.report.counts.unknown, replay.report.verified) == (120, 0, True)
    assert len(mqs_emulator.resend_counts("orders")) == 120
    assert once(mqs_emulator)


async def test_where_order_is_kept_the_first_message_of_a_partition_is_not_sent_again_at_once(
    mqs_emulator: MqsEmulator,
) -> None:
    """Nothing of its partition is in sight, and all of it may be late."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.lost_504 = Rule(next=1, operations=RESEND)

    replay = await replayed(mqs_emulator, plan, on_failure="continue", max_failures=1)

    assert (replay.report.counts.sent, replay.report.counts.unknown) == (119, 1)


@BOTH
@pytest.mark.parametrize("canary", [0, 10])
async def test_a_first_message_that_is_refused_stays_failed(
    mqs_emulator: MqsEmulator, ordering: str, canary: int
) -> None:
    """It is posted once, and counted once."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.error_400 = Rule(next=1, operations=RESEND)

    report = (await replayed(mqs_emulator, plan, ordering=ordering, canary=canary, max_failures=1)).report

    assert (report.counts.sent, report.counts.failed, report.counts.not_attempted) == (119, 1, 0)
    assert len(mqs_emulator.requests("resend")) == 120


@pytest.mark.parametrize("fault", ["timeout_504", "lost_504"])
async def test_in_a_single_partition_order_keeps_the_first_message_in_doubt(
    mqs_emulator: MqsEmulator, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how to go on; without order a later try resolves it."""
    plan, store = seeded(mqs_emulator, 40, partitions=1), MemoryStore()
    setattr(mqs_emulator.faults, fault, Rule(next=1, operations=RESEND))

    first = await replayed(mqs_emulator, plan, store)
    second = await replayed(mqs_emulator, plan, store, 2, ordering="none")

    assert (first.report.counts.sent, first.report.counts.unknown) == (0, 1)
    assert "ordering='none' sends others first" in caplog.text
    assert (second.report.counts.sent, second.report.verified) == (40, True)
    assert once(mqs_emulator)


@BOTH
@pytest.mark.parametrize(
    "behaviour",
    [
        {"copy_same_key": False},
        {"copy_same_size": False},
        {"copy_same_key": False, "copy_same_size": False, "copy_same_message_id": False},
    ],
)
async def test_copies_that_look_different_are_found_all_the_same(
    mqs_emulator: MqsEmulator, behaviour: dict[str, bool], ordering: str
) -> None:
    """What they have in common with their sources is learned."""
    plan = seeded(mqs_emulator)
    mqs_emulator.behave(**behaviour)
    mqs_emulator.faults.timeout_504 = Rule(next=2, skip=20, operations=RESEND)

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert (replay.report.counts.sent, replay.report.counts.unknown, replay.report.verified) == (120, 0, True)
    assert once(mqs_emulator)


@BOTH
@pytest.mark.parametrize("offset_s", [-600, 600])
async def test_a_clock_that_is_ten_minutes_off_does_not_hide_copies(
    mqs_emulator: MqsEmulator, offset_s: float, ordering: str
) -> None:
    """The service's clock is learned from its answers."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.clock_offset_s = offset_s
    mqs_emulator.faults.timeout_504 = Rule(next=2, skip=20, operations=RESEND)

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert (replay.report.counts.sent, replay.report.counts.unknown, replay.report.verified) == (120, 0, True)
    assert once(mqs_emulator)


@BOTH
async def test_look_alikes_of_other_contents_are_told_apart(mqs_emulator: MqsEmulator, ordering: str) -> None:
    """A producer writes a message of equal key and size next to every second copy."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.live_producers = 0.5
    mqs_emulator.faults.timeout_504 = Rule(next=2, skip=20, operations=RESEND)
    mqs_emulator.faults.lost_504 = Rule(next=1, skip=40, operations=RESEND)

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert (replay.report.counts.sent, replay.report.counts.unknown) == (120, 0)
    assert len(mqs_emulator.resend_counts("orders")) == 120
    assert once(mqs_emulator)


@BOTH
async def test_look_alikes_of_equal_contents_leave_a_message_unknown(mqs_emulator: MqsEmulator, ordering: str) -> None:
    """No message is sent on a guess: it is named, and the copies do not count as known."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.live_producers = 1.0
    mqs_emulator.faults.live_equal_value = True
    mqs_emulator.faults.timeout_504 = Rule(next=1, skip=20, operations=RESEND)

    replay = await replayed(mqs_emulator, plan, ordering=ordering, max_failures=1)

    report = replay.report
    assert (report.counts.sent, report.counts.unknown, report.verified) == (119, 1, None)
    assert [failure.unknown for failure in report.account.failures] == [True]
    assert once(mqs_emulator)


async def test_a_copy_that_is_nowhere_is_missing(mqs_emulator: MqsEmulator) -> None:
    """The service said that it was sent, and others of its partition have their copies."""
    plan = seeded(mqs_emulator)
    store, original = mqs_emulator.service.state.store, mqs_emulator.service.state.store.add

    def lose(messages: Any) -> None:
        original([one for one in messages if one.source_offset != 7 or one.partition])

    store.add = lose  # type: ignore[method-assign]
    replay = await replayed(mqs_emulator, plan)

    assert (replay.report.verified, replay.report.missing) == (False, {0: ((7, 7),)})


async def test_a_retry_sends_what_is_left(mqs_emulator: MqsEmulator) -> None:
    """A try that stopped at a failure is resumed; a third one sends nothing."""
    plan, store = seeded(mqs_emulator), MemoryStore()
    mqs_emulator.faults.error_400 = Rule(next=1, skip=50, operations=RESEND)

    first = await replayed(mqs_emulator, plan, store)
    second = await replayed(mqs_emulator, plan, store, 2)
    posts = len(mqs_emulator.requests("resend"))
    third = await replayed(mqs_emulator, plan, store, 3)

    assert (first.report.counts.failed, second.report.counts.sent, third.report.counts.sent) == (1, 120, 120)
    assert (second.report.verified, third.report.verified) == (True, True)
    assert len(mqs_emulator.requests("resend")) == posts
    assert once(mqs_emulator)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_the_first_failed_write_stops_the_sending(mqs_emulator: MqsEmulator, after: int) -> None:
    """No claim written, no message sent; what was claimed before is at most one claim."""

    class Filling(MemoryStore):
        writes = 0

        def set(self, key: str, value: Any) -> None:
            if key.startswith("x-"):
                self.writes += 1
                if self.writes > after + 2:
                    raise StoreError("full")
            super().set(key, value)

    plan = seeded(mqs_emulator, 900)

    with pytest.raises(StoreError, match="full"):
        await replayed(mqs_emulator, plan, Filling())

    assert len(mqs_emulator.resend_counts("orders")) <= after * 200
    assert once(mqs_emulator)


async def test_a_topic_that_was_recreated_is_refused(mqs_emulator: MqsEmulator) -> None:
    """A message of the plan no longer exists."""
    seeded(mqs_emulator, 30)

    with pytest.raises(ConfigurationError, match="no longer exists"):
        await replayed(mqs_emulator, Plan("orders", {0: ((0, 9),), 1: ((0, 10),)}))

    assert mqs_emulator.requests("resend") == []
