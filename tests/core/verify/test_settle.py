"""Which messages in doubt were sent, on the local service, with a clock that only waiting moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.ledger import LATE_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.emulator.behaviour import Behaviour
from tests.core.verify.replays import WAIT_S, Orders, expanded, refs
from tests.support import local


def sent_and_unsent(settled: Any) -> tuple[set[Any], set[Any]]:
    return expanded(settled.sent), expanded(settled.unsent)


def test_a_message_that_has_a_copy_was_sent() -> None:
    """As soon as it is seen."""
    orders = Orders().seed(3)
    run = orders.begin().post((0, 0)).post((0, 1), known=False)

    assert sent_and_unsent(run.settled((0, 1))) == ({(0, 1)}, set())
    assert orders.waited_s == 0


def test_a_message_without_a_copy_was_not_sent_when_the_wait_is_over() -> None:
    """The copy of the message before it was visible long ago."""
    orders = Orders().seed(3)
    run = orders.begin().post((0, 0)).post((0, 1), known=False, sent=False)
    began_s = orders.client.now_s[0]

    assert sent_and_unsent(run.settled((0, 1))) == (set(), {(0, 1)})
    assert orders.client.now_s[0] == pytest.approx(began_s + WAIT_S, abs=0.1)


def test_an_old_doubt_takes_no_long_wait() -> None:
    """The copy before it is there, and the one in doubt would have followed as soon as it did."""
    orders = Orders().seed(3)
    run = orders.begin().post((0, 0), took_s=0.5).post((0, 1), known=False, sent=False, took_s=0.5)
    orders.client.now_s[0] += 10 * WAIT_S

    assert sent_and_unsent(run.settled((0, 1))) == (set(), {(0, 1)})
    assert 0.5 <= orders.waited_s < 2


def test_a_copy_that_becomes_visible_late_is_waited_for() -> None:
    """No longer than it takes."""
    orders = Orders().seed(3)
    orders.client.state.faults.visible_after_s = 7
    run = orders.begin().post((0, 0)).post((0, 1), known=False)

    assert sent_and_unsent(run.settled((0, 1))) == ({(0, 1)}, set())
    assert 7 <= orders.waited_s < 20


@pytest.mark.parametrize("wait_s", [3.0, 5.9, 6.1])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_partition_that_is_read_late_makes_no_message_unsent(wait_s: float, before: int) -> None:
    """Its copies are as late as the one that is looked for; the other partition says nothing about it."""
    orders = Orders().seed(9, 9)
    run = orders.begin().post((0, 0))
    orders.client.state.faults.visible_after_s = 6
    run.post(*refs(1, *range(before)), took_s=0.5).post((1, 8), known=False)

    assert sent_and_unsent(run.settled((1, 8), wait_s=wait_s))[1] == set()


def test_a_partition_without_a_copy_says_nothing() -> None:
    """Its first message is in doubt, and it may be that all of it is late; but nothing is late for ever."""
    orders = Orders().seed(3, 3)
    run = orders.begin().post((0, 0), (0, 1)).post((1, 0), known=False, sent=False)

    assert sent_and_unsent(run.settled((1, 0), wait_s=20)) == (set(), set())
    orders.client.now_s[0] += LATE_MS / 1000
    assert sent_and_unsent(run.settled((1, 0))) == (set(), {(1, 0)})


def test_nothing_was_sent_if_nothing_came_for_long() -> None:
    """Whatever copies look like; nobody has to know that, since there is no row at all."""
    orders = Orders().seed(3)
    run = orders.begin().post((0, 1), known=False, sent=False)

    assert sent_and_unsent(run.settled((0, 1))) == (set(), set())
    orders.client.now_s[0] += LATE_MS / 1000
    assert sent_and_unsent(run.settled((0, 1))) == (set(), {(0, 1)})


def test_the_copy_of_another_consumer_leaves_no_row_for_a_message_in_doubt() -> None:
    """The other one needs it."""
    orders = Orders().seed(10)
    ours = orders.begin("B", consumer_key="b").post(*refs(0, 0, 1, 2))
    theirs = orders.begin("A", consumer_key="a", times=False).post(*refs(0, 0, 1, 2))
    ours.post((0, 3), known=False, sent=False)
    theirs.post((0, 3), (0, 4))

    assert sent_and_unsent(ours.settled((0, 3))) == (set(), {(0, 3)})


def test_the_copy_of_another_consumer_that_came_long_before_leaves_the_row_to_ours() -> None:
    """The other one does not say when it sent each message, and has not ended when ours is sent."""
    orders = Orders().seed(10)
    theirs = orders.begin("A", consumer_key="a", times=False).post((0, 3))
    orders.client.now_s[0] += 20
    ours = orders.begin("B", consumer_key="b").post(*refs(0, 0, 1, 2)).post((0, 3), known=False)
    theirs.post((0, 5))

    assert sent_and_unsent(ours.settled((0, 3))) == ({(0, 3)}, set())


def test_a_message_that_two_tries_may_have_sent_was_sent_by_one_of_them() -> None:
    """One row is left, and it came when the second try was sending."""
    orders = Orders().seed(3)
    first = orders.begin("A", times=False).post((0, 0)).post((0, 1), known=False, sent=False)
    orders.client.now_s[0] += 60
    second = orders.begin("B").post((0, 1), known=False)
    second.continues = [first]

    settled = second.settled((0, 1))

    assert {token: expanded(sent) for token, sent in settled.sent_by.items()} == {"B": {(0, 1)}}


@pytest.mark.parametrize("known", [True, False])
def test_copies_that_are_known_show_what_a_copy_looks_like(known: bool) -> None:
    """They were found by an earlier try."""
    orders = Orders().seed(9)
    first = orders.begin("A").post(*refs(0, 0, 1, 2))
    copies = partition_offsets.from_refs(orders.copies_of(*refs(0, 0, 1, 2)))
    first.execution = replace(first.execution, found=copies if known else None)
    second = orders.begin("B").post((0, 3), known=False, sent=False)

    assert sent_and_unsent(second.settled((0, 3))) == (set(), {(0, 3)})


def test_a_later_copy_shows_that_a_message_was_not_sent() -> None:
    """If order is not kept, others of the partition went on; then one reading is enough."""
    orders = Orders().seed(5)
    run = orders.begin().post((0, 0), known=False, sent=False)
    orders.client.now_s[0] += WAIT_S
    run.post(*refs(0, 1, 2, 3))

    assert sent_and_unsent(run.settled((0, 0))) == (set(), {(0, 0)})
    assert orders.waited_s == 0


def test_without_a_known_sent_message_nothing_is_settled() -> None:
    """There is nothing to learn from what a copy looks like."""
    orders = Orders().seed(3)
    run = orders.begin().post((0, 1), known=False)

    assert sent_and_unsent(run.settled((0, 1))) == (set(), set())


@pytest.mark.parametrize("sent", [True, False])
def test_look_alikes_of_producers_are_told_by_their_contents(sent: bool) -> None:
    """Whether the copy is there or not."""
    orders = Orders().seed(3)
    run = orders.begin().post((0, 0))
    orders.produce(0, "VALUE 0-0001", key="k")
    run.post((0, 1), known=False, sent=sent)
    orders.produce(0, "VALUE 0-0001", key="k")

    assert sent_and_unsent(run.settled((0, 1))) == (({(0, 1)}, set()) if sent else (set(), {(0, 1)}))


def test_a_message_of_equal_content_beside_it_leaves_it_unknown() -> None:
    """Nobody can tell whose copy the row is."""
    orders = Orders().seed(4, value="ping")
    run = orders.begin().post((0, 0), (0, 1)).post((0, 2), known=False, sent=False).post((0, 3))

    assert sent_and_unsent(run.settled((0, 2))) == (set(), set())


def test_messages_of_equal_content_that_all_have_a_copy_were_sent() -> None:
    """As many rows as messages."""
    orders = Orders().seed(4, value="ping")
    run = orders.begin().post((0, 0), (0, 1)).post((0, 2), (0, 3), known=False)

    assert sent_and_unsent(run.settled((0, 2), (0, 3)))[0] == {(0, 2), (0, 3)}


def test_anothers_copy_of_the_same_message_does_not_count() -> None:
    """The other made it for other consumers, and its ledger says so."""
    orders = Orders().seed(10)
    ours = orders.begin("B", consumer_key="b").post(*refs(0, 0, 1, 2))
    theirs = orders.begin("A", consumer_key="a", times=False).post(*refs(0, 0, 1, 2, 3))
    ours.post((0, 3), known=False, sent=False)
    theirs.post((0, 4))
    ours.execution = ours.execution

    settled = ours.settled((0, 3))

    assert expanded(settled.sent) == set()


@pytest.mark.parametrize(
    "change", [{"copy_same_key": False}, {"copy_same_size": False}, {"copy_partition": "next"}], ids=str
)
@pytest.mark.parametrize("later", [0, 3])
@pytest.mark.parametrize("key", ["k", None])
def test_a_copy_of_another_look_makes_no_message_unsent(change: dict[str, Any], later: int, key: str | None) -> None:
    """Copies change their look just when the message in doubt is posted."""
    orders = Orders().seed(30, 30, key=key)  # type: ignore[arg-type]
    run = orders.begin()
    for offset in range(10):
        run.post((0, offset), (1, offset))
    orders.client.state.behaviour = Behaviour(**change)
    run.post((0, 20), known=False)
    for offset in range(10, 10 + later):
        run.post((0, offset), (1, offset))

    assert expanded(run.settled((0, 20)).unsent) == set()


def test_a_crash_leaves_many_in_doubt_and_all_are_settled() -> None:
    """With two contents for each; nothing is known of when they were posted."""
    orders = Orders().seed(100, 100)
    run = orders.begin(times=False).post(*refs(0, *range(10)), *refs(1, *range(10)))
    run.post(*refs(0, *range(10, 40)), *refs(1, *range(10, 40)), known=False)
    run.post(*refs(0, *range(40, 70)), *refs(1, *range(40, 70)), known=False, sent=False)
    there, absent = ([(p, o) for p in (0, 1) for o in range(*part)] for part in ((10, 40), (40, 70)))

    settled = run.settled(*there, *absent)

    assert sent_and_unsent(settled) == (set(there), set(absent))


@given(
    messages=st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abc")), min_size=1, max_size=8),
    fates=st.lists(st.sampled_from(["known", "known", "lost", "sent", "unsent", "left"]), min_size=8, max_size=8),
    live=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1), st.sampled_from("xyz")), max_size=3),
    late_s=st.sampled_from([0.0, 0.0, 3.0, 40.0]),
    same_key=st.booleans(),
    flip=st.integers(0, 12),
    times=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_no_answer_is_wrong(
    messages: list[tuple[int, str]],
    fates: list[str],
    live: list[tuple[int, int, str]],
    late_s: float,
    same_key: bool,
    flip: int,
    times: bool,
) -> None:
    """Whatever was sent, lost or never tried, what producers wrote beside it, and whenever copies change their look."""
    orders = Orders(local(Behaviour(copy_same_key=same_key))).seed(1, 1)
    for key, value in messages:
        orders.produce(0, value, key=f"key {key}", timestamp_ms=1_700_000_000_000)
    orders.counts = (1 + len(messages), 1)
    run = orders.begin(times=times)
    orders.client.state.faults.visible_after_s = late_s
    fate = {(0, 1 + number): fates[number] for number in range(len(messages))}
    for number, (ref, what) in enumerate(fate.items()):
        if number == flip:
            orders.client.state.behaviour = Behaviour(copy_same_key=not same_key)
        for _, key, value in [one for one in live if one[0] == number]:
            orders.produce(0, value, key=f"key {key}")
        if what != "left":
            run.post(ref, known=what in ("known", "lost"), sent=what in ("known", "sent"))
    doubts = [ref for ref, what in fate.items() if what in ("sent", "unsent")]
    if not doubts:
        return

    settled = run.settled(*doubts)

    assert not expanded(settled.sent) & expanded(settled.unsent)
    for each in set(messages):
        # of messages that are equal in everything nobody can say which one was sent, only how many
        alike = {ref for ref in doubts if messages[ref[1] - 1] == each}
        sent = sum(fate[ref] == "sent" for ref in alike)
        assert len(expanded(settled.sent) & alike) <= sent
        assert len(expanded(settled.unsent) & alike) <= len(alike) - sent
