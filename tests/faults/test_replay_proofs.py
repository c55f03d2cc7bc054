"""What counts as a copy, and what a report may call verified: never more than the rows of the topic show."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator.faults import Rule, Turn
from airflow_provider_mqs.emulator.store import Topic
from tests.faults.actors import (
    RESEND,
    attempt,
    copies,
    expanded,
    found,
    hidden_doubles,
    hours_ago,
    messages_of_an_hour,
    query,
    sent_by_key,
    side_by_side,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator
    from tests.faults.actors import Outcome, Ref
    from tests.faults.clocks import Clock

COUNT = 30


def messages_of(mqs: MqsEmulator, partitions: int = 2, count: int = COUNT) -> Any:
    return messages_of_an_hour(mqs, partitions, count)


def producer(mqs: MqsEmulator, look: str, partition: int = 0) -> dict[str, Any]:
    """Return a message that a producer writes: it looks like the fourth of its partition, or like none."""
    source = [one for one in mqs.messages("orders") if one.partition == partition][3]
    if look == "equal look":
        return {"topic": "orders", "partition": partition, "key": source.key, "value": source.value[::-1]}
    return {"topic": "orders", "partition": partition, "key": "live", "value": "a live message", "tag": "live"}


def check_later_query(mqs: MqsEmulator, start: datetime, originals: set[Ref], **arguments: Any) -> dict[str, Any]:
    """Query what came since: an answer that calls itself complete holds the originals, and nothing else."""
    document = query(start, on_incomplete="warn", **arguments)
    if document["complete"]:
        assert found(document) == originals
    return dict(document)


@pytest.mark.parametrize("verify_wait", [0.3, 1.5])
@pytest.mark.parametrize("look", ["equal look", "other look"])
@pytest.mark.parametrize(("lost", "ordering"), [((0, 3), "partition"), ((0, 0), "partition"), ((0, 14), "none")])
def test_a_live_message_is_no_proof_for_a_copy_that_was_lost(
    mqs: MqsEmulator, tmp_path: Path, lost: Ref, ordering: str, look: str, verify_wait: float
) -> None:
    """One append is acknowledged and lost, and a producer writes a message: as many rows as messages were sent."""
    messages, start = messages_of(mqs), hours_ago(0)
    before = {(one.partition, one.message_offset) for one in mqs.messages("orders")}
    mqs.faults.lost_after_ack = Rule(next=1, only=frozenset({lost}))
    mqs.faults.turns = [Turn(after=10, append=(producer(mqs, look),))]

    outcome = attempt(messages, ordering=ordering, verify_wait=verify_wait, ledger_path=str(tmp_path))

    live = {(one.partition, one.message_offset) for one in mqs.messages("orders")} - before - copies(mqs)
    assert len(live) == 1
    assert outcome.report["verified"] is not True
    assert outcome.copies <= copies(mqs)
    check_later_query(mqs, start, live, ledger_path=str(tmp_path))


@pytest.mark.parametrize("look", ["equal look", "other look"])
def test_a_copy_that_is_seen_late_is_waited_for_although_a_live_message_could_take_its_place(
    mqs: MqsEmulator, tmp_path: Path, look: str
) -> None:
    """The rows are as many as the messages that were sent, but one of them is no copy."""
    messages, start = messages_of(mqs), hours_ago(0)
    mqs.faults.turns = [
        Turn(after=9, faults={"visible_after_s": 1.0}),
        Turn(after=10, faults={"visible_after_s": 0.0}, append=(producer(mqs, look),)),
    ]

    outcome = attempt(messages, verify_wait=4, ledger_path=str(tmp_path))

    assert (outcome.error, outcome.report["verified"]) == ("", True)
    assert outcome.copies == copies(mqs)
    everything = {(one.partition, one.message_offset) for one in mqs.messages("orders")}
    document = check_later_query(mqs, start, everything - copies(mqs) - found(messages), ledger_path=str(tmp_path))
    assert document["complete"] is True


@pytest.mark.parametrize("lost", [(0, 0), (1, 7), (1, 14)])
def test_a_lost_copy_is_named(mqs: MqsEmulator, tmp_path: Path, lost: Ref) -> None:
    """Nobody else writes, so there is no doubt."""
    messages = messages_of(mqs)
    mqs.faults.lost_after_ack = Rule(next=1, only=frozenset({lost}))

    outcome = attempt(messages, verify_wait=0.3, ledger_path=str(tmp_path))

    assert outcome.report["verified"] is False
    assert expanded(outcome.report["missing_copies"]) == {lost}
    assert outcome.copies == copies(mqs)


def test_a_copy_that_was_lost_from_each_partition_is_named(mqs: MqsEmulator, tmp_path: Path) -> None:
    """Three at once, two of them side by side."""
    messages = messages_of(mqs)
    lost = {(0, 4), (0, 5), (1, 9)}
    mqs.faults.lost_after_ack = Rule(probability=1, only=frozenset(lost))

    outcome = attempt(messages, verify_wait=0.3, ledger_path=str(tmp_path))

    assert outcome.report["verified"] is False
    assert expanded(outcome.report["missing_copies"]) == lost


def test_one_plan_to_two_consumers_side_by_side_is_proven_for_both(mqs: MqsEmulator, tmp_path: Path) -> None:
    """Their copies lie among each other, and a later query leaves out all of them."""
    messages, start = messages_of(mqs), hours_ago(0)
    common = {"ledger_path": str(tmp_path), "verify_wait": 5}

    works = [lambda key=key: attempt(messages, key, consumer_key=key, **common) for key in "ab"]
    with side_by_side(*works) as workers:
        outcomes = [worker.result() for worker in workers]

    assert [(one.error, one.report["verified"]) for one in outcomes] == [("", True)] * 2
    once = dict.fromkeys(found(messages), 1)
    assert sent_by_key(mqs) == {"a": once, "b": once}
    assert check_later_query(mqs, start, set(), ledger_path=str(tmp_path))["complete"] is True


@pytest.mark.parametrize("windows", [2, 4])
def test_neighbouring_windows_with_equal_contents_side_by_side_are_all_proven(
    mqs: MqsEmulator, tmp_path: Path, windows: int
) -> None:
    """No row says whose copy it is, but there are as many as messages were sent."""
    begin, start = hours_ago(2), hours_ago(0)
    mqs.service.state.store.put_topic(Topic("orders", 2))
    for number in range(8 * windows):
        time_ms = round(begin.timestamp() * 1000) + number * 1000
        mqs.append("orders", number % 2, "the same", key="k", timestamp_ms=time_ms)
    parts = [query(_s(begin, 8 * number), _s(begin, 8 * number + 8)) for number in range(windows)]
    common = {"ledger_path": str(tmp_path), "verify_wait": 5}

    works = [lambda one=one, name=name: attempt(one, f"run {name}", **common) for name, one in enumerate(parts)]
    with side_by_side(*works) as workers:
        outcomes = [worker.result() for worker in workers]

    assert [(one.error, one.report["verified"]) for one in outcomes] == [("", True)] * windows
    assert check_later_query(mqs, start, set(), ledger_path=str(tmp_path))["complete"] is True


def _s(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)


@pytest.mark.parametrize("batch_size", [20, 7])
def test_batches_that_are_sent_four_at_a_time_are_all_proven(mqs: MqsEmulator, tmp_path: Path, batch_size: int) -> None:
    """Gaps in the offsets, few keys: the copies of different batches look alike."""
    begin, end, start = hours_ago(2), hours_ago(1), hours_ago(0)
    mqs.seed("orders", 12 * batch_size, begin, end, partitions=3, gap_every=9, missing_key_every=5)
    batches = query(begin, end, batch_size=batch_size)
    outcomes: list[Any] = []

    def work(turn: int) -> list[Outcome]:
        common = {"ledger_path": str(tmp_path), "verify_wait": 10}
        return [
            attempt(one, "run", map_index=number, **common) for number, one in enumerate(batches) if number % 4 == turn
        ]

    with side_by_side(*(lambda turn=turn: work(turn) for turn in range(4))) as workers:
        for worker in workers:
            outcomes += worker.result()

    assert [(one.error, one.report["verified"]) for one in outcomes] == [("", True)] * len(batches)
    assert set(mqs.resend_counts("orders").values()) == {1}
    assert check_later_query(mqs, start, set(), ledger_path=str(tmp_path))["complete"] is True


@pytest.mark.parametrize("count", [300])
def test_a_verified_resend_costs_little_more_than_one_request_a_message(
    mqs: MqsEmulator, tmp_path: Path, count: int
) -> None:
    """The query of the plan is not counted."""
    messages = messages_of(mqs, 3, count)
    before = len(mqs.requests())

    outcome = attempt(messages, ledger_path=str(tmp_path))

    assert outcome.report["verified"] is True
    assert len(mqs.requests()) - before <= 1.1 * count


@pytest.mark.parametrize("again", ["clear", "other run"])
def test_copies_that_keep_the_time_of_their_source_are_told_apart(mqs: MqsEmulator, tmp_path: Path, again: str) -> None:
    """They lie in the window of their sources, and a second query of it takes none of them for a message."""
    begin, end = hours_ago(2), hours_ago(1)
    mqs.seed("orders", COUNT, begin, end, partitions=2)
    mqs.behave(copy_timestamp="source")
    common = {"ledger_path": str(tmp_path)}
    first = query(begin, end, **common)
    attempt(first, "run", verify_wait=0.5, **common)

    second = query(begin, end, on_incomplete="warn", **common)
    assert not second["complete"] or found(second) == found(first)
    if second["complete"]:
        attempt(second, "run" if again == "clear" else "other", 2, verify_wait=0.5, **common)
    assert mqs.resend_counts("orders") == dict.fromkeys(found(first), 1)


@pytest.mark.parametrize("date", [True, False])
@pytest.mark.parametrize("ahead_s", [600, -600])
def test_copies_are_known_although_the_clock_of_the_service_is_wrong(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], ahead_s: float, date: bool
) -> None:
    """Its answers may even have no ``Date``: a later window leaves the copies out, or is not complete."""
    clock = hurry(1)
    mqs.faults.clock_offset_s = ahead_s
    mqs.behave(date_header=date)
    messages = messages_of(mqs)
    # where the copies will lie, and nothing of this machine's time
    start, end = _s(hours_ago(0), ahead_s - 60), _s(hours_ago(0), ahead_s + 120)

    outcome = attempt(messages, verify_wait=1, ledger_path=str(tmp_path))
    clock.jump(1200)
    check_later_query(mqs, start, set(), end=end, ledger_path=str(tmp_path))

    assert outcome.ended_well, outcome.error
    assert outcome.copies <= copies(mqs)


@pytest.mark.parametrize("step_s", [600, -600, 3])
def test_the_clock_of_the_service_may_be_set_in_the_midst(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], step_s: float
) -> None:
    """Whatever is not seen any more is not called missing, and no copy gets into a later window."""
    clock = hurry(1)
    messages = messages_of(mqs)
    windows = [(_s(hours_ago(0), moved - 60), _s(hours_ago(0), moved + 120)) for moved in (0, step_s)]
    mqs.faults.turns = [Turn(after=COUNT // 2, faults={"clock_offset_s": step_s})]

    outcome = attempt(messages, verify_wait=1, ledger_path=str(tmp_path))
    clock.jump(1200)
    for start, end in windows:
        check_later_query(mqs, start, set(), end=end, ledger_path=str(tmp_path))

    assert hidden_doubles(mqs, outcome) == set()
    assert expanded(outcome.report["missing_copies"]) == set()


def test_the_clocks_of_gateway_and_broker_may_differ(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock]
) -> None:
    """Two seconds, in either direction."""
    clock = hurry(1)
    messages = messages_of(mqs)
    start = hours_ago(0.5)
    mqs.faults.date_offset_s = 1.5

    outcome = attempt(messages, verify_wait=2, ledger_path=str(tmp_path))
    clock.jump(600)

    assert outcome.ended_well, outcome.error
    check_later_query(mqs, start, set(), ledger_path=str(tmp_path))


@pytest.mark.parametrize("where", ["next", "random"])
@pytest.mark.parametrize("ordering", ["partition", "none"])
def test_copies_that_land_in_another_partition_are_not_called_missing(
    mqs: MqsEmulator, tmp_path: Path, where: str, ordering: str
) -> None:
    """They are found, or nothing is said."""
    messages, start = messages_of(mqs, 3), hours_ago(0)
    mqs.behave(copy_partition=where)

    outcome = attempt(messages, ordering=ordering, verify_wait=0.5, ledger_path=str(tmp_path))

    assert outcome.report["verified"] is not False
    assert expanded(outcome.report["missing_copies"]) == set()
    assert outcome.copies <= copies(mqs)
    check_later_query(mqs, start, set(), ledger_path=str(tmp_path))


def test_a_message_in_doubt_whose_copy_lies_in_another_partition_is_not_sent_again(
    mqs: MqsEmulator, tmp_path: Path
) -> None:
    """It is not in the partition of its source, but it is there."""
    messages = messages_of(mqs, 3)
    mqs.behave(copy_partition="next")
    mqs.faults.drop_after = Rule(next=1, skip=6, operations=RESEND)

    outcome = attempt(messages, ordering="none", concurrency=4, verify_wait=0.5, ledger_path=str(tmp_path))

    assert hidden_doubles(mqs, outcome) == set()


@pytest.mark.parametrize(
    "look", [{"copy_same_key": False}, {"copy_same_size": False}, {"copy_same_tag": False}, {"copy_partition": "next"}]
)
@pytest.mark.parametrize("after", [1, 12])
def test_copies_that_change_their_look_in_the_midst_never_make_a_message_unsent(
    mqs: MqsEmulator, tmp_path: Path, look: dict[str, Any], after: int
) -> None:
    """The service was updated while a resend ran; a message in doubt has a copy, which looks otherwise."""
    start, end, now = hours_ago(2), hours_ago(1), hours_ago(0)
    mqs.seed("orders", COUNT, start, end, partitions=2, tags=("a", "b"))
    messages = query(start, end)
    mqs.faults.turns = [Turn(after=after, behaviour=look)]
    mqs.faults.drop_after = Rule(next=1, skip=18, operations=RESEND)

    outcome = attempt(messages, ordering="none", concurrency=2, verify_wait=0.5, ledger_path=str(tmp_path))

    assert hidden_doubles(mqs, outcome) == set()
    assert outcome.report["verified"] is not False
    assert outcome.copies <= copies(mqs)
    check_later_query(mqs, now, set(), ledger_path=str(tmp_path))


@pytest.mark.parametrize("look", ["equal look", "other look"])
def test_few_messages_into_a_busy_topic_cost_few_requests(mqs: MqsEmulator, tmp_path: Path, look: str) -> None:
    """Hundreds of live rows lie among ten copies; the bound is said in the log beforehand if contents are read."""
    messages = messages_of(mqs, 1, 10)
    live = producer(mqs, look)
    mqs.faults.turns = [Turn(after=number, append=(live,) * 60) for number in range(1, 11)]
    before = len(mqs.requests())

    outcome = attempt(messages, verify_wait=0.5, ledger_path=str(tmp_path))

    assert outcome.ended_well, outcome.error
    assert len(mqs.requests()) - before <= 10 + 100 + 200 + 40
    assert outcome.copies <= copies(mqs)


@pytest.mark.parametrize("equal_value", [False, True])
def test_producers_that_write_beside_each_copy_fool_nobody(mqs: MqsEmulator, tmp_path: Path, equal_value: bool) -> None:
    """With equal contents nobody can tell which row is whose, so none is called a copy by mistake and left out."""
    messages, start = messages_of(mqs), hours_ago(0)
    before = {(one.partition, one.message_offset) for one in mqs.messages("orders")}
    mqs.faults.update({"live_producers": 0.3, "live_equal_value": equal_value})

    outcome = attempt(messages, verify_wait=0.5, ledger_path=str(tmp_path))

    mqs.faults.clear()
    live = {(one.partition, one.message_offset) for one in mqs.messages("orders")} - before - copies(mqs)
    assert live
    if not equal_value:
        assert outcome.copies <= copies(mqs)
        check_later_query(mqs, start, live, ledger_path=str(tmp_path))
    else:
        document = query(start, on_incomplete="warn", ledger_path=str(tmp_path))
        assert not document["complete"] or len(found(document)) == len(live)


def test_a_topic_that_was_made_anew_is_not_resent_into(mqs: MqsEmulator, tmp_path: Path) -> None:
    """Its offsets stand for other messages now."""
    messages = messages_of(mqs)
    mqs.service.state.store.drop_messages("orders")
    mqs.seed("orders", COUNT, hours_ago(0.5), hours_ago(0.25), partitions=2)

    outcome = attempt(messages, ledger_path=str(tmp_path))

    assert not outcome.ended_well
    assert mqs.resends("orders") == []


def test_retention_that_passes_in_the_midst_fails_the_messages_that_are_gone(mqs: MqsEmulator, tmp_path: Path) -> None:
    """What was sent until then is reported, with its copies."""
    messages = messages_of(mqs)
    mqs.faults.turns = [Turn(after=10, faults={"retained_from_ms": round(hours_ago(0.5).timestamp() * 1000)})]

    outcome = attempt(messages, on_failure="continue", verify_wait=0.5, ledger_path=str(tmp_path))

    counts = mqs.resend_counts("orders")
    assert not outcome.ended_well
    assert (outcome.report["sent"], outcome.report["failed"]) == (len(counts), COUNT - len(counts))
    assert outcome.report["verified"] is not False
    assert outcome.copies <= copies(mqs)


@pytest.mark.parametrize("names", ["replays", "window"])
def test_resends_that_were_not_verified_can_be_proven_afterwards(mqs: MqsEmulator, tmp_path: Path, names: str) -> None:
    """Until then the window with their copies is not whole."""
    from airflow_provider_mqs.operators.mqs import VerifyReplayOperator  # type: ignore[attr-defined]

    begin, end, start = hours_ago(2), hours_ago(1), hours_ago(0)
    mqs.seed("orders", COUNT, begin, end, partitions=2)
    reports = [
        attempt(one, f"run {number}", verify=False, ledger_path=str(tmp_path)).report
        for number, one in enumerate(query(begin, end, batch_size=10))
    ]
    assert check_later_query(mqs, start, set(), ledger_path=str(tmp_path))["complete"] is False
    which: dict[str, Any] = (
        {"replays": reports} if names == "replays" else {"topic": "orders", "start": start, "end": hours_ago(0)}
    )

    VerifyReplayOperator(task_id="verify", ledger_path=str(tmp_path), verify_wait=2, **which).execute({})

    assert check_later_query(mqs, start, set(), ledger_path=str(tmp_path))["complete"] is True


def test_a_resend_that_was_not_verified_and_lost_a_copy_fails_its_proof(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The operator names what is missing."""
    from airflow_provider_mqs.operators.mqs import VerifyReplayOperator  # type: ignore[attr-defined]

    messages = messages_of(mqs)
    mqs.faults.lost_after_ack = Rule(next=1, only=frozenset({(1, 7)}))
    report = attempt(messages, verify=False, ledger_path=str(tmp_path)).report

    operator = VerifyReplayOperator(task_id="verify", replays=[report], ledger_path=str(tmp_path), verify_wait=0.3)
    with pytest.raises(Exception, match="7 of partition 1"):
        operator.execute({})


def test_live_messages_that_arrive_all_the_time_do_not_hold_a_small_resend(mqs: MqsEmulator, tmp_path: Path) -> None:
    """A producer writes 200 messages a second while ten are sent and verified."""
    messages, over = messages_of(mqs, 1, 10), threading.Event()

    def produce() -> None:
        while not over.wait(0.005):
            mqs.append("orders", 0, "a live message", key="key-3")

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        before = len(mqs.requests())
        outcome = attempt(messages, max_rate=20, verify_wait=1, ledger_path=str(tmp_path))
    finally:
        over.set()
        thread.join(60)

    assert outcome.ended_well, outcome.error
    assert len(mqs.requests()) - before <= 350
