"""Which messages were sent, read from the local service, with a clock that only waiting moves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Parallel, Request, Response, Step, drive
from airflow_provider_mqs.core.ledger.ledger import MARGIN_MS
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.verify import copy_search
from airflow_provider_mqs.core.verify.copy_search import CopySearch, Finding, find_copies, find_last_offsets
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.store import Topic
from tests.support import START_MS, Local, local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

WAIT_S = 30.0


@dataclass
class Case:
    """A topic with messages, some of them sent again, and what a replay would know of that."""

    client: Local = field(default_factory=local)
    known_sent: list[MessageRef] = field(default_factory=list)
    in_doubt: list[MessageRef] = field(default_factory=list)
    foreign_copies: OffsetsByPartition = field(default_factory=dict)

    def seed(self, *counts: int, key: str = "k") -> Case:
        """Write that many messages into each partition, and note their last offsets."""
        self.client.state.store.put_topic(Topic("orders", len(counts), 10_000))
        for partition, count in enumerate(counts):
            for offset in range(count):
                self.produce(partition, f"value {offset:04}", key=key, timestamp_ms=START_MS + offset)
        self.plan = Plan("orders", {partition: ((0, count - 1),) for partition, count in enumerate(counts)})
        return self.note()

    def note(self) -> Case:
        """Note the last offsets of the topic, as a replay does before it sends."""
        self.last_offsets = self.client.run(find_last_offsets(self.client.api, "orders", self.plan.partitions))
        self.since_ms = self.client.state.now_ms()
        return self

    def produce(self, partition: int, value: str, **more: Any) -> None:
        self.client.state.append("orders", partition, value, **more)

    def sent(self, *refs: MessageRef) -> Case:
        """Send messages, and get the answer."""
        self.append(refs)
        self.known_sent += refs
        return self

    def unanswered(self, *refs: MessageRef, sent: bool) -> Case:
        """Post messages and get no answer, whether they were sent or not."""
        self.append(refs if sent else ())
        self.in_doubt += refs
        return self

    def append(self, refs: Iterable[MessageRef]) -> None:
        for ref in refs:
            self.client.run(self.client.api.resend("orders", *ref))

    def found(self, wait_s: float = WAIT_S, perform: Callable[[Step], Any] | None = None) -> Finding:
        client = self.client
        known_sent, in_doubt = map(partition_offsets.from_refs, (self.known_sent, self.in_doubt))
        search = CopySearch(known_sent, in_doubt, self.last_offsets, self.since_ms, self.foreign_copies)
        client.requests.clear()
        until_s = client.now_s[0] + wait_s
        sources = SourceMessages(client.api, self.plan)
        return drive(find_copies(client.api, "orders", search, sources, until_s=until_s), perform or client.perform)

    @property
    def waited_s(self) -> float:
        return sum(sleep.seconds for sleep in self.client.sleeps)


def test_last_offsets_are_those_of_the_plan_or_of_newer_rows() -> None:
    """Other partitions do not matter."""
    case = Case().seed(3, 3, 3)
    case.produce(1, "new")
    case.produce(2, "new")

    last_offsets = case.client.run(find_last_offsets(case.client.api, "orders", {0: ((0, 2),), 1: ((1, 1),)}))

    assert last_offsets == {0: 2, 1: 3}


def test_copies_that_are_all_visible_take_one_search() -> None:
    """Nobody waits, and the copies are named."""
    case = Case().seed(3, 2).sent((0, 0), (0, 2), (1, 1))

    finding = case.found()

    assert (finding.copies, finding.complete, finding.missing) == ({0: ((3, 4),), 1: ((2, 2),)}, True, {})
    assert case.client.sleeps == []


def test_a_message_in_doubt_that_has_a_copy_was_sent() -> None:
    """As soon as it is seen."""
    case = Case().seed(3).sent((0, 0)).unanswered((0, 1), sent=True)

    finding = case.found()

    assert (finding.sent, finding.unsent, finding.unknown) == ({0: ((1, 1),)}, {}, {})
    assert case.client.sleeps == []


def test_a_message_in_doubt_without_a_copy_was_not_sent_when_the_wait_is_over() -> None:
    """The pauses grow, and the last search is at the end of the wait."""
    case = Case().seed(3).sent((0, 0)).unanswered((0, 1), sent=False)
    began_s = case.client.now_s[0]

    finding = case.found()

    assert (finding.sent, finding.unsent, finding.unknown) == ({}, {0: ((1, 1),)}, {})
    assert [sleep.seconds for sleep in case.client.sleeps][:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert case.client.now_s[0] == began_s + WAIT_S


def test_a_wait_that_is_over_takes_one_search() -> None:
    """It decides all the same."""
    case = Case().seed(3).sent((0, 0)).unanswered((0, 1), sent=False)

    assert case.found(wait_s=0).unsent == {0: ((1, 1),)}
    assert case.client.sleeps == []


def test_a_copy_that_becomes_visible_late_is_waited_for() -> None:
    """No longer than it takes."""
    case = Case().seed(3)
    case.client.state.faults.visible_after_s = 7
    case.sent((0, 0)).unanswered((0, 1), sent=True)

    assert case.found().sent == {0: ((1, 1),)}
    assert 7 <= case.waited_s < 13


def test_invisible_copies_resolve_nothing() -> None:
    """What was surely sent cannot be seen, so neither can what perhaps was."""
    case = Case().seed(3)
    case.client.state.faults.visible_after_s = 2 * WAIT_S
    case.sent((0, 0)).unanswered((0, 1), sent=True)

    finding = case.found()

    assert (finding.sent, finding.unsent, finding.unknown) == ({}, {}, {0: ((1, 1),)})
    assert (finding.calibrated, finding.complete, finding.copies) == (False, False, {})
    assert case.waited_s == WAIT_S


def test_without_a_known_sent_message_nothing_is_resolved() -> None:
    """There is nothing to learn from what a copy looks like."""
    case = Case().seed(3).unanswered((0, 1), sent=True)

    assert case.found().unknown == {0: ((1, 1),)}


def test_missing_copies_are_named_if_others_are_visible() -> None:
    """A partition in which none is visible says nothing."""
    case = Case().seed(3, 3).sent((0, 0), (0, 1))
    case.client.state.faults.visible_after_s = 2 * WAIT_S
    case.sent((0, 2), (1, 0))

    finding = case.found()

    assert (finding.missing, finding.complete) == ({0: ((2, 2),)}, False)


def test_nothing_counts_as_missing_if_the_rows_are_incomplete() -> None:
    """The service counts a copy and never shows it."""
    case = Case().seed(5).sent(*((0, offset) for offset in range(5)))

    def perform(step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, perform) for flow in step.flows]
        answer = case.client.perform(step)
        if not isinstance(step, Request):
            return answer
        body = answer.json()
        shown = [row for row in body["messages"] if row["message_offset"] != 7]
        return Response(200, answer.headers, json.dumps({**body, "messages": shown}).encode())

    finding = case.found(wait_s=0, perform=perform)

    assert (finding.missing, finding.calibrated, finding.complete) == ({}, False, False)


def test_a_row_from_before_the_sending_is_no_copy() -> None:
    """Even if it equals the message in doubt."""
    case = Case().seed(3)
    case.produce(0, "value 0001", key="k")
    case.note().sent((0, 0)).unanswered((0, 1), sent=False)

    assert case.found().unsent == {0: ((1, 1),)}


def test_a_copy_of_another_replay_is_no_copy() -> None:
    """It is left out, even if it equals the message in doubt."""
    case = Case().seed(3).sent((0, 0)).unanswered((0, 1), sent=False)
    case.append([(0, 1)])
    case.foreign_copies = {0: ((4, 4),)}

    assert case.found().unsent == {0: ((1, 1),)}


@pytest.mark.parametrize("offset_s", [-3600, 3600])
def test_the_clock_of_the_service_counts(offset_s: float) -> None:
    """An hour between the two hides no copy."""
    client = local()
    client.state.faults.clock_offset_s = offset_s
    case = Case(client).seed(3).sent((0, 0)).unanswered((0, 1), sent=True)
    api = client.api
    client.run(api.query_page("orders", 0, 1, limit=1, offset=0))
    search = CopySearch({0: ((0, 0),)}, {0: ((1, 1),)}, case.last_offsets, case.since_ms)

    finding = client.run(find_copies(api, "orders", search, SourceMessages(api, case.plan), until_s=0))

    assert finding.sent == {0: ((1, 1),)}


@pytest.mark.parametrize("lag", [1, 2])
def test_a_total_that_lags_makes_no_message_unsent(lag: int) -> None:
    """The newest copy would be on the page that such a total does not announce."""
    case = Case().seed(51).sent(*((0, offset) for offset in range(50))).unanswered((0, 50), sent=True)

    def perform(step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, perform) for flow in step.flows]
        answer = case.client.perform(step)
        if not isinstance(step, Request) or "start_time=" not in step.url:
            return answer
        body = answer.json()
        return Response(200, answer.headers, json.dumps({**body, "total": max(0, body["total"] - lag)}).encode())

    assert case.found(perform=perform).sent == {0: ((50, 50),)}


def test_look_alikes_are_distinguished_by_their_contents() -> None:
    """A producer wrote one of equal key and size."""
    case = Case().seed(3).sent((0, 0)).unanswered((0, 1), sent=False)
    case.produce(0, "VALUE 0001", key="k")

    assert case.found().unsent == {0: ((1, 1),)}


def test_a_look_alike_that_stands_for_a_copy_makes_no_message_unsent() -> None:
    """Copies have no key here, but a producer wrote a message with that of the one that was surely sent."""
    case = Case(local(Behaviour(copy_same_key=False))).seed(3).sent((0, 0)).unanswered((0, 1), sent=True)
    case.produce(0, "VALUE 0000", key="k")

    finding = case.found()

    assert (finding.sent, finding.unsent, finding.unknown) == ({}, {}, {0: ((1, 1),)})
    assert (finding.calibrated, finding.complete) == (False, False)


def test_a_look_alike_of_another_message_makes_none_unsent() -> None:
    """The one in doubt looks different, so its own group has no candidate at all."""
    case = Case(local(Behaviour(copy_same_key=False))).seed(1)
    case.produce(0, "value 0001", key="other", timestamp_ms=START_MS + 1)
    case.plan = Plan("orders", {0: ((0, 1),)})
    case.note().sent((0, 0)).unanswered((0, 1), sent=True)
    case.produce(0, "VALUE 0000", key="k")

    assert case.found().unknown == {0: ((1, 1),)}


def test_contents_are_compared_only_if_messages_are_in_doubt() -> None:
    """If each known-sent message has a copy, there is nothing to compare."""
    case = Case().seed(30).sent(*((0, offset) for offset in range(30)))

    assert case.found().complete
    assert not any("download=true" in request.url for request in case.client.requests)


def test_more_look_alikes_than_may_be_compared_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as messages: all were sent; one row more, and nobody can tell."""
    monkeypatch.setattr(copy_search, "_MAX_COMPARED", 3)
    case = Case().seed(5).sent((0, 0), (0, 1)).unanswered((0, 2), sent=True)

    assert case.found().sent == {0: ((2, 2),)}
    case.produce(0, "VALUE 0001", key="k")
    assert case.found(wait_s=0).unknown == {0: ((2, 2),)}
    assert not any("download=true" in request.url for request in case.client.requests)


def test_candidates_are_read_from_the_time_of_the_sending() -> None:
    """From five minutes before it to five minutes from now."""
    case = Case().seed(3).sent((0, 0))

    case.found()

    asked = [request.url for request in case.client.requests if "start_time=" in request.url]
    assert f"start_time={case.since_ms - MARGIN_MS}&" in asked[0]
    assert f"end_time={case.client.api.now_ms() + MARGIN_MS}&" in asked[-1]


@given(
    messages=st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abc")), min_size=1, max_size=8),
    fates=st.lists(st.sampled_from(["known", "known", "sent", "lost", "left"]), min_size=8, max_size=8),
    live=st.lists(st.tuples(st.integers(0, 1), st.sampled_from("xyz")), max_size=3),
    late_s=st.sampled_from([0.0, 3.0]),
    paging=st.sampled_from(["page0", "page1", "row"]),
    same_key=st.booleans(),
)
@settings(max_examples=60)
def test_no_answer_is_wrong(
    messages: list[tuple[int, str]],
    fates: list[str],
    live: list[tuple[int, str]],
    late_s: float,
    paging: Any,
    same_key: bool,
) -> None:
    """Whatever was sent, lost or never tried, and whatever producers wrote beside it."""
    case = Case(local(Behaviour(paging=paging, copy_same_key=same_key)))
    case.client.state.store.put_topic(Topic("orders", 1, 10_000))
    for key, value in messages:
        case.produce(0, value, key=f"key {key}", timestamp_ms=START_MS)
    case.plan = Plan("orders", {0: ((0, len(messages) - 1),)})
    case.note()
    case.client.state.faults.visible_after_s = late_s
    fate = {(0, offset): fates[offset] for offset in range(len(messages))}
    for ref, what in fate.items():
        if what == "known":
            case.sent(ref)
        elif what != "left":
            case.unanswered(ref, sent=what == "sent")
    for key, value in live:
        case.produce(0, value, key=f"key {key}")

    finding = case.found()

    content = {ref: messages[ref[1]] for ref in fate}
    assert partition_offsets.count(finding.sent) + partition_offsets.count(finding.unsent) + partition_offsets.count(
        finding.unknown
    ) == len(case.in_doubt)
    for each in set(content.values()):
        # of messages that are equal in everything nobody can say which one was sent, only how many
        alike = [ref for ref in case.in_doubt if content[ref] == each]
        sent = sum(fate[ref] == "sent" for ref in alike)
        assert len([ref for ref in partition_offsets.expand(finding.sent) if ref in alike]) <= sent
        assert len([ref for ref in partition_offsets.expand(finding.unsent) if ref in alike]) <= len(alike) - sent
