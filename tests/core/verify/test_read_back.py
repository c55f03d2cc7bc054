"""Whole replays whose copies are hard to find: each message is sent once, and the report is right."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.emulator.faults import Rule
from tests.core.resend.test_replay import BOTH, RESEND, once, replayed, seeded

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.report import Report
    from airflow_provider_mqs.emulator.store import StoredMessage
    from airflow_provider_mqs.testing import MqsEmulator

NEVER_S = 3600.0
HIDES_TOTAL = pytest.mark.parametrize("hides_total", [False, True], ids=["total shown", "total hidden"])


def with_lost_answers(emulator: MqsEmulator, plan: Plan) -> Plan:
    """Lose two answers after the append, and one message before it."""
    emulator.faults.timeout_504 = Rule(next=2, skip=20, operations=RESEND)
    emulator.faults.lost_504 = Rule(next=1, skip=40, operations=RESEND)
    return plan


def assert_verified(emulator: MqsEmulator, plan: Plan, report: Report) -> None:
    """Each message is in the service's log once, and the report names its copy."""
    assert (report.counts.sent, report.counts.unknown, report.counts.failed, report.verified) == (
        plan.count,
        0,
        0,
        True,
    )
    assert emulator.resend_counts("orders") == dict.fromkeys(partition_offsets.expand(plan.partitions), 1)
    assert set(partition_offsets.expand(report.copies)) == {
        (one.partition, one.copy_offset) for one in emulator.resends("orders")
    }


@BOTH
async def test_copies_that_become_visible_late_are_waited_for(mqs_emulator: MqsEmulator, ordering: str) -> None:
    """The wait ends as soon as all are visible, long before its limit."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.timeout_504 = Rule(next=2, skip=20, operations=RESEND)
    mqs_emulator.faults.visible_after_s = 0.3
    started_s = time.monotonic()

    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=600)

    assert_verified(mqs_emulator, plan, replay.report)
    assert time.monotonic() - started_s < 300


@BOTH
async def test_what_is_not_visible_yet_is_not_sent_again(mqs_emulator: MqsEmulator, ordering: str) -> None:
    """Only the lost message is, once the wait is over."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.faults.visible_after_s = 0.2

    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=1)

    assert_verified(mqs_emulator, plan, replay.report)


@BOTH
async def test_copies_that_never_become_visible_leave_messages_unknown(
    mqs_emulator: MqsEmulator, ordering: str
) -> None:
    """What was acknowledged is sent, what is in doubt stays unknown, and nothing is reported about copies."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.faults.visible_after_s = NEVER_S

    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=0.1, max_failures=3)

    report = replay.report
    assert (report.counts.sent, report.counts.unknown, report.counts.not_attempted) == (117, 3, 0)
    assert (report.verified, report.copies, report.missing) == (None, {}, {})
    assert len(mqs_emulator.requests("resend")) == 120
    assert once(mqs_emulator)


@BOTH
async def test_a_copy_that_never_becomes_visible_is_missing(
    mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch, ordering: str
) -> None:
    """Its message was acknowledged, so it is not sent again."""
    plan, state = seeded(mqs_emulator), mqs_emulator.service.state
    append = state.append

    def hide_one(topic: str, partition: int, value: str, **fields: Any) -> StoredMessage:
        state.faults.visible_after_s = NEVER_S if (partition, fields["source_offset"]) == (1, 7) else 0.0
        return append(topic, partition, value, **fields)

    monkeypatch.setattr(state, "append", hide_one)
    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=0.1)

    report = replay.report
    assert (report.counts.sent, report.verified, report.missing) == (120, False, {1: ((7, 7),)})
    assert partition_offsets.count(report.copies) == 119
    assert len(mqs_emulator.requests("resend")) == 120


async def test_an_invisible_canary_stops_the_replay(mqs_emulator: MqsEmulator) -> None:
    """The others are not sent before its copies are verified."""
    plan = seeded(mqs_emulator)
    mqs_emulator.faults.visible_after_s = NEVER_S

    replay = await replayed(mqs_emulator, plan, canary=5, verify_wait_s=0.1)

    assert (replay.report.counts.sent, replay.report.counts.not_attempted, replay.report.verified) == (5, 115, None)
    assert "canary" in replay.stopped
    assert len(mqs_emulator.requests("resend")) == 5


@BOTH
async def test_copies_with_the_time_of_their_source_are_told_by_their_offsets(
    mqs_emulator: MqsEmulator, ordering: str
) -> None:
    """They come after everything that was there before the first POST."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.behave(copy_timestamp="source")

    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=0.1, max_failures=3)

    report = replay.report
    assert (report.counts.sent + report.counts.unknown, report.verified) == (120, True)
    assert set(mqs_emulator.resend_counts("orders").values()) == {1}


@BOTH
async def test_messages_that_arrive_with_every_page_have_none_sent_twice(
    mqs_emulator: MqsEmulator, ordering: str
) -> None:
    """Rows that never stop to move are not complete, so that a message may stay unknown."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.faults.rows_between_pages = 1

    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=1, max_failures=3)

    assert replay.report.verified is not False
    assert replay.report.counts.sent + replay.report.counts.unknown == plan.count
    assert set(mqs_emulator.resend_counts("orders").values()) == {1}


@BOTH
@pytest.mark.parametrize("wobble", [3, 30])
async def test_totals_that_move_have_no_message_sent_twice(
    mqs_emulator: MqsEmulator, wobble: int, ordering: str
) -> None:
    """At worst a message stays unknown: nobody can tell whether the rows are complete."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.faults.total_wobble = wobble

    replay = await replayed(mqs_emulator, plan, ordering=ordering, max_failures=3)

    report, counts = replay.report, mqs_emulator.resend_counts("orders")
    assert (report.counts.sent + report.counts.unknown, report.counts.failed, report.missing) == (120, 0, {})
    assert set(counts.values()) == {1}
    assert set(partition_offsets.expand(report.account.done)) <= set(counts)


@BOTH
@HIDES_TOTAL
async def test_more_copies_than_a_query_shows_are_all_found(
    mqs_emulator: MqsEmulator, hides_total: bool, ordering: str
) -> None:
    """The time is cut until each part fits."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator, 700))
    mqs_emulator.behave(cap=500, cap_hides_total=hides_total)

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert_verified(mqs_emulator, plan, replay.report)


@BOTH
@pytest.mark.parametrize("paging", ["row", "page0", "page1"])
async def test_copies_are_found_whatever_offset_means(mqs_emulator: MqsEmulator, paging: str, ordering: str) -> None:
    """Each reading learns it again."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.behave(paging=paging)

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert_verified(mqs_emulator, plan, replay.report)


@BOTH
@pytest.mark.parametrize("refusal", ["query_timeout", "query_too_large"])
@pytest.mark.parametrize("limit", [{"query_max_ms": 60_000}, {"query_max_rows": 30}], ids=str)
async def test_ranges_that_are_refused_are_shortened(
    mqs_emulator: MqsEmulator, refusal: str, limit: dict[str, int], ordering: str
) -> None:
    """408 and 501 ask for a shorter time range, also during a search for copies."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.faults.update({"query_refusal": refusal, **limit})

    replay = await replayed(mqs_emulator, plan, ordering=ordering)

    assert_verified(mqs_emulator, plan, replay.report)


@BOTH
async def test_all_of_it_at_once_still_finds_each_copy(mqs_emulator: MqsEmulator, ordering: str) -> None:
    """Late, without their key, a few at a time, on pages that are numbered from one."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.behave(paging="page1", copy_same_key=False, end_inclusive=False)
    mqs_emulator.faults.update({"visible_after_s": 0.1, "query_max_rows": 100})

    replay = await replayed(mqs_emulator, plan, ordering=ordering, verify_wait_s=3)

    assert_verified(mqs_emulator, plan, replay.report)


async def test_a_look_alike_does_not_stand_in_for_a_copy_that_is_not_visible_yet(mqs_emulator: MqsEmulator) -> None:
    """If others write, two searches must agree on the copies, since a later query leaves them out."""
    plan = with_lost_answers(mqs_emulator, seeded(mqs_emulator))
    mqs_emulator.behave(paging="page1", copy_same_key=False, end_inclusive=False)
    mqs_emulator.faults.visible_after_s = 0.1
    mqs_emulator.faults.query_max_rows = 100
    mqs_emulator.faults.live_producers = 0.2

    replay = await replayed(mqs_emulator, plan, ordering="none", verify_wait_s=4)

    assert_verified(mqs_emulator, plan, replay.report)
