"""What is proven and settled, on the local service, with a clock that only waiting moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mqs.core.verify.last_offsets import find_last_offsets
from airflow_provider_mqs.emulator.behaviour import Behaviour
from tests.core.verify.replays import Orders, expanded, refs
from tests.support import local


def looks(value: str, **more: Any) -> dict[str, Any]:
    """A message of equal look as the seeded ones, with another content."""
    return {"value": value, "key": "k", **more}


def test_last_offsets_are_those_of_the_plan_or_of_newer_rows() -> None:
    """Other partitions do not matter, and two or three requests are enough."""
    orders = Orders().seed(3, 3, 3)
    for number in range(70):
        orders.client.now_s[0] += 0.01
        orders.produce(1, f"new {number}")
        orders.produce(2, f"new {number}")

    found = orders.client.run(find_last_offsets(orders.client.api, "orders", {0: ((0, 2),), 1: ((1, 1),)}))

    assert found == {0: 2, 1: 72}
    assert len(orders.client.requests) <= 3


# proving


def test_each_message_has_its_copy() -> None:
    """Nobody waits, and the copies are named."""
    orders = Orders().seed(3, 2)
    run = orders.begin().post((0, 0), (0, 2), (1, 1))

    finding = run.finding()

    assert (expanded(finding.copies["A"]), finding.missing, finding.unproven) == (
        orders.copies_of(*expanded(run.execution.sent)),
        {},
        {},
    )
    assert finding.keep_time is False
    assert orders.waited_s == 0


@pytest.mark.parametrize(
    "live",
    [
        {"value": "another", "key": "other", "tag": "t"},
        looks("VALUE 0-0007"),
    ],
    ids=["of another look", "of equal look"],
)
@pytest.mark.parametrize("when", ["before", "there", "after"])
def test_a_lost_copy_is_missing_whatever_a_producer_writes(live: dict[str, Any], when: str) -> None:
    """No original stands in for it, and none is called a copy."""
    orders = Orders().seed(20, 20)
    run = orders.begin()
    for offset in range(20):
        if (when, offset) in {("before", 2), ("after", 15)} or (when == "there" and offset == 7 and live["key"] != "k"):
            orders.produce(0, **live)
        run.post((0, offset), sent=offset != 7, took_s=0.6).post((1, offset), took_s=0.6)

    finding = run.finding()

    assert (finding.copies, finding.missing) == ({}, {"A": {0: ((7, 7),)}})
    assert expanded(finding.surely_copies) == orders.copies_of(*expanded(run.execution.sent))


def test_a_copy_that_is_seen_late_is_waited_for() -> None:
    """A producer's message of equal look came meanwhile, and is not taken for it."""
    orders = Orders().seed(6)
    run = orders.begin().post(*refs(0, 0, 1, 2), took_s=0.6)
    orders.client.state.faults.visible_after_s = 2.0
    run.post((0, 3), took_s=0.6)
    orders.client.state.faults.visible_after_s = 0.0
    run.post((0, 4), took_s=0.6)
    orders.client.now_s[0] += 1
    orders.produce(0, **looks("VALUE 0-0003"))
    orders.client.now_s[0] += 1
    run.post((0, 5), took_s=0.6)

    finding = run.finding()

    assert expanded(finding.copies["A"]) == orders.copies_of(*refs(0, *range(6)))


def test_an_older_message_of_equal_content_is_not_the_copy() -> None:
    """Though it came after the plan's messages, and the copy is seen late."""
    orders = Orders().seed(2)
    orders.produce(0, "value 0-0000", key="k")
    orders.client.now_s[0] += 60
    orders.client.state.faults.visible_after_s = 2.0
    run = orders.begin().post((0, 0))

    assert expanded(run.finding().copies["A"]) == orders.copies_of((0, 0))


def test_an_earlier_copy_for_other_consumers_is_not_the_copy() -> None:
    """However late the own copy is."""
    orders = Orders().seed(2)
    orders.begin("A").post((0, 0))
    orders.client.now_s[0] += 28
    orders.client.state.faults.visible_after_s = 7.0
    run = orders.begin("B", consumer_key="second").post((0, 0))

    assert expanded(run.finding().copies["B"]) == {(0, 3)}


def test_a_message_that_was_found_missing_stays_missing() -> None:
    """Whatever a producer writes later, and even if the search begins anew."""
    orders = Orders().seed(3)
    run = orders.begin(missing={0: ((1, 1),)}).post((0, 0)).post((0, 1), sent=False).post((0, 2))
    orders.produce(0, **looks("VALUE 0-0001"))

    finding = run.finding()

    assert (finding.copies, finding.missing, finding.whole) == ({}, {"A": {0: ((1, 1),)}}, {"A"})
    assert expanded(finding.partial["A"]) == orders.copies_of(*refs(0, 0, 2))


@pytest.mark.parametrize("count", [20, 60])
def test_a_look_alike_that_comes_when_a_copy_is_lost_is_not_taken_for_it(count: int) -> None:
    """Of few messages contents are always compared; of many, the order of what was sent one by one must fit."""
    orders = Orders().seed(count)
    for offset in range(count):
        orders.produce(0, f"same size {offset:04}", key=f"k{offset % 7}")
    run = orders.begin(ordered=True, times=False)
    for offset in range(count, 2 * count):
        run.post((0, offset), sent=offset != count + 3)
        if offset == count + 5:
            orders.produce(0, "same size abcd", key="k3")

    finding = run.finding()

    assert (finding.copies, finding.missing) == ({}, {"A": {0: ((count + 3, count + 3),)}})
    assert expanded(finding.partial["A"]) == orders.copies_of(*refs(0, *range(count, 2 * count)))


@pytest.mark.parametrize("late_s", [0.0, 5.0])
def test_a_message_that_was_sent_again_blindly_may_have_two_copies(late_s: float) -> None:
    """Both are known before the execution's copies are called known."""
    orders = Orders().seed(4)
    run = orders.begin(doubles={0: ((1, 1),)}).post((0, 0))
    orders.client.state.faults.visible_after_s = late_s
    run.post((0, 1))
    orders.client.state.faults.visible_after_s = 0.0
    run.post((0, 1)).post((0, 2))

    finding = run.finding()

    assert (finding.missing, finding.unproven, finding.whole) == ({}, {}, {"A"})
    assert expanded(finding.copies["A"]) == orders.copies_of(*refs(0, 0, 1, 2))
    assert len(expanded(finding.copies["A"])) == 4


def test_a_copy_that_is_never_seen_is_missing_after_the_wait() -> None:
    """Not before."""
    orders = Orders().seed(3)
    run = orders.begin().post(*refs(0, 0, 1)).post((0, 2), sent=False)

    assert run.finding(wait_s=20).missing == {"A": {0: ((2, 2),)}}
    assert orders.waited_s == pytest.approx(20)


def test_without_any_copy_nothing_is_said() -> None:
    """Nobody knows what a copy looks like."""
    orders = Orders().seed(3)
    run = orders.begin().post(*refs(0, 0, 1, 2), sent=False)

    finding = run.finding()

    assert (finding.copies, finding.missing) == ({}, {})
    assert "not known what copies look like" in finding.unproven["A"]


@pytest.mark.parametrize(
    "behaviour",
    [
        {"copy_same_key": False},
        {"copy_same_size": False},
        {"copy_same_key": False, "copy_same_size": False, "copy_same_tag": False},
        {"copy_same_message_id": True},
        {"copy_timestamp": "source"},
        {"copy_partition": "next"},
        {"paging": "page1"},
        {"paging": "row"},
    ],
    ids=str,
)
def test_whatever_a_copy_keeps_is_learned(behaviour: dict[str, Any]) -> None:
    """From contents that were compared."""
    orders = Orders(local(Behaviour(**behaviour))).seed(40, 40, 40)
    run = orders.begin()
    for offset in range(40):
        run.post((0, offset), (1, offset), (2, offset))

    finding = run.finding()

    copies = {(one.copy_partition, one.copy_offset) for one in orders.client.state.store.resends("orders")}
    assert expanded(finding.copies["A"]) == copies
    assert finding.keep_time is (behaviour.get("copy_timestamp") == "source")


@pytest.mark.parametrize("change", [{"copy_same_key": False}, {"copy_same_size": False}], ids=str)
def test_copies_that_change_their_look_are_told_by_their_contents(change: dict[str, Any]) -> None:
    """Counting proves nothing any more."""
    orders = Orders().seed(60)
    run = orders.begin().post(*refs(0, *range(30)))
    orders.client.state.behaviour = Behaviour(**change)
    run.post(*refs(0, *range(30, 60)))

    finding = run.finding()

    assert expanded(finding.copies["A"]) == orders.copies_of(*refs(0, *range(60)))
    assert orders.contents_read >= 120


def test_contents_that_producers_repeat_prove_nothing() -> None:
    """Nobody can tell which of the rows is the copy, and neither is called one."""
    orders = Orders().seed(4)
    run = orders.begin().post((0, 0), took_s=0.6)
    orders.produce(0, "value 0-0001", key="k")
    run.post(*refs(0, 1, 2, 3), took_s=0.6)

    finding = run.finding()

    assert (finding.copies, finding.missing) == ({}, {})
    assert "message_offset 1 of partition 0" in finding.unproven["A"]
    assert expanded(finding.surely_copies) == orders.copies_of(*refs(0, 0, 2, 3))


def test_messages_of_equal_content_have_a_copy_each() -> None:
    """Or one of them has none."""
    orders = Orders().seed(10, value="ping")
    run = orders.begin().post(*refs(0, *range(9)))
    assert expanded(run.finding().copies["A"]) == orders.copies_of(*refs(0, *range(9)))

    run.post((0, 9), sent=False)

    assert len(expanded(run.finding().missing["A"])) == 1


@pytest.mark.parametrize("hides_total", [False, True], ids=["total shown", "total hidden"])
@pytest.mark.parametrize("partitions", [1, 3])
def test_more_copies_in_one_millisecond_than_a_query_shows_are_all_found(partitions: int, hides_total: bool) -> None:
    """They are read by partition, else offset by offset."""
    behaviour = Behaviour(cap=500, cap_hides_total=hides_total)
    orders = Orders(local(behaviour)).seed(*[560 // partitions] * partitions)
    sent = [(partition, offset) for offset in range(560 // partitions) for partition in range(partitions)]
    run = orders.begin().post(*sent, took_s=0)

    assert expanded(run.finding().copies["A"]) == orders.copies_of(*sent)


# several executions


def test_replays_side_by_side_are_proven_together() -> None:
    """Neighbouring windows with equal contents: each has as many copies as it sent, and none is named twice."""
    orders = Orders().seed(40, 40, value="ping")
    runs = [orders.begin(token) for token in "ABCD"]
    for offset in range(10):
        for number, run in enumerate(runs):
            run.post((0, 10 * number + offset), (1, 10 * number + offset))

    finding = orders.proven(*runs)

    assert {token: len(expanded(copies)) for token, copies in finding.copies.items()} == dict.fromkeys("ABCD", 20)
    assert set().union(*map(expanded, finding.copies.values())) == orders.copies_of(
        *((p, o) for p in (0, 1) for o in range(40))
    )


def test_the_same_plan_for_two_consumers_is_proven_for_both() -> None:
    """Each message has two copies."""
    orders = Orders().seed(10)
    first, second = orders.begin("A", consumer_key="a"), orders.begin("B", consumer_key="b")
    for offset in range(10):
        first.post((0, offset))
        second.post((0, offset))

    finding = orders.proven(first, second)

    assert [len(expanded(finding.copies[token])) for token in "AB"] == [10, 10]
    assert not expanded(finding.copies["A"]) & expanded(finding.copies["B"])


def test_a_copy_for_another_consumer_does_not_count() -> None:
    """The other's copy of the same message is no copy of this one's, which was lost."""
    orders = Orders().seed(10)
    first = orders.begin("A", consumer_key="a", times=False)
    second = orders.begin("B", consumer_key="b")
    for offset in range(10):
        first.post((0, offset))
        orders.client.now_s[0] += 1
        second.post((0, offset), sent=offset != 5)

    assert second.finding().missing == {"B": {0: ((5, 5),)}}


def test_one_that_is_still_sending_is_waited_for() -> None:
    """Its messages would explain too many rows; only the ledgers are read meanwhile."""
    orders = Orders().seed(10, value="ping")
    first, second = orders.begin("A").post(*refs(0, 0, 1)), orders.begin("B").post(*refs(0, 5, 6))
    second.execution = replace(second.execution, busy=True, name="run B")

    def touching(start_ms: int, end_ms: int) -> Any:
        if orders.client.sleeps[4:]:
            second.execution = replace(second.execution, busy=False)
        yield from ()
        return [second.execution]

    orders.touching = touching  # type: ignore[method-assign]
    finding = first.finding()

    assert len(expanded(finding.copies["A"])) == 2
    assert {sleep.reason for sleep in orders.client.sleeps} == {"another resend of the topic is still sending: run B"}


def test_copies_of_one_that_is_proven_are_left_out() -> None:
    """Its messages are not read again."""
    orders = Orders().seed(10, value="ping")
    first = orders.begin("A").post(*refs(0, *range(5)))
    first.execution = replace(first.execution, found=first.finding().copies["A"])
    second = orders.begin("B").post(*refs(0, *range(5, 10)))

    finding = second.finding()

    assert expanded(finding.copies["B"]) == orders.copies_of(*refs(0, *range(5, 10)))


def test_what_a_crash_left_open_and_a_retry_sent_counts_once() -> None:
    """Whether the copy was made by the first or by the second."""
    orders = Orders().seed(6)
    first = orders.begin("A", times=False).post(*refs(0, 0, 1)).post((0, 2), known=False)
    first.post((0, 3), known=False, sent=False)
    second = orders.begin("B", after=frozenset("A"), times=False).post((0, 3), (0, 4))
    second.execution = replace(second.execution, sent={0: ((2, 4),)})

    finding = orders.proven(first, second)

    assert len(expanded(finding.copies["A"])) == 2
    assert len(expanded(finding.copies["B"])) == 3


# bounds


def test_a_busy_topic_costs_no_more_than_is_allowed() -> None:
    """Ten messages beside two hundred a second; the sentence says what it would take."""
    orders = Orders().seed(10)
    run = orders.begin()
    for offset in range(10):
        run.post((0, offset))
        for number in range(1000):
            orders.client.now_s[0] += 0.005
            orders.produce(0, f"live {offset} {number}", key="live")

    finding = run.finding()

    assert (finding.copies, finding.missing) == ({}, {})
    assert "takes" in finding.unproven["A"]
    assert len(orders.client.requests) < 150


@pytest.mark.parametrize(("count", "partitions"), [(300, 3), (1000, 4), (4000, 4)])
def test_requests_of_a_proof_are_few(count: int, partitions: int) -> None:
    """Two for fifty messages, and some more; with a cap a little more."""
    orders = Orders(local(Behaviour(cap=500))).seed(*[count // partitions] * partitions)
    runs = [orders.begin(token) for token in "ABCD"]
    for offset in range(count // partitions):
        for partition in range(partitions):
            runs[offset * 4 * partitions // count].post((partition, offset))

    finding = orders.proven(*runs)

    assert set(finding.copies) == set("ABCD")
    assert len(orders.client.requests) <= 0.09 * count
