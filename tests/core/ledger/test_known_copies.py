"""What a query learns from the ledgers of earlier replays."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mqs.core.ledger.findings import Finding
from airflow_provider_mqs.core.ledger.known_copies import MARGIN_MS, KnownCopies, known_copies_in
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, LATE_MS, OWN_LEASE_MS, SENDING, Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.offsets.document import Offsets, PartitionOffsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.values.message import Row
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from tests.core.ledger.stepping import World
from tests.support import MemoryStore

REF = TopicRef("h", "i", "orders")
SOURCES_MS, SOURCES_END_MS = 1_600_000_000_000, 1_600_003_600_000


class Replays:
    """Records replays of one topic; each sends 0 to 9 in five seconds, and 10 to 19 are the copies."""

    def __init__(self) -> None:
        self.world, self.store = World(), MemoryStore()
        self.first_ms = 0

    def record(self, run_id: str = "t", *, closed: bool = True, span: bool = False, **changes: Any) -> None:
        window = TimeWindow(SOURCES_MS, SOURCES_END_MS)
        parts = {0: PartitionOffsets(((0, 9),), SOURCES_MS, SOURCES_END_MS - 1)}
        sources = (Offsets("h", "i", "orders", window, parts),) if span else ()
        session = session_for(
            Plan("orders", {0: ((0, 9),)}, sources),
            endpoint="h",
            instance_id="i",
            consumer_key=None,
            owner=Owner(run_id, {"dag_id": "d", "run_id": run_id}),
            stores=[self.store],
            clock=self.world.clock(),
        )
        run = self.world.run
        run(session.open("resend"))
        self.first_ms = self.world.now_ms
        session.begin({0: 9}, first_ms=self.first_ms)
        run(session.write(state=SENDING, done={0: ((0, 9),)}, until_ms=self.first_ms + 5_000))
        self.world.now_s += 60
        if closed:
            run(session.close(**{"state": COMPLETE, "copies": {0: ((10, 19),)}, "copies_known": True, **changes}))

    def found_in(self, start_ms: int, end_ms: int) -> KnownCopies:
        return known_copies_in([self.store], TimeWindow(start_ms, end_ms), REF)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "touched"),
    [
        (0, 1, True),
        (4_000, 90_000, True),
        (-3_600_000, -MARGIN_MS, False),
        (-3_600_000, 1 - MARGIN_MS, True),
        (5_000 + MARGIN_MS, 90_000, True),
        (5_001 + MARGIN_MS, 90_000, False),
    ],
)
def test_known_copies_are_found_in_every_window_in_which_they_can_have_been_made(
    start_ms: int, end_ms: int, *, touched: bool
) -> None:
    """A window that ended before the first POST has none."""
    replays = Replays()
    replays.record()
    first_ms = replays.first_ms

    found = replays.found_in(first_ms + start_ms, first_ms + end_ms)

    assert found == (KnownCopies({0: ((10, 19),)}) if touched else KnownCopies())


def test_unknown_copies_make_a_window_incomplete() -> None:
    """The reason names the replay, how many copies there may be, and what helps."""
    replays = Replays()
    replays.record(copies_known=False)

    (sentence,) = replays.found_in(replays.first_ms, replays.first_ms + 1).why_incomplete

    assert "A replay (dag_id d, run_id t) has put up to 10 copies into the topic" in sentence
    assert "VerifyReplayOperator" in sentence


def test_the_copies_of_a_crashed_replay_are_from_before_the_end_of_its_own_lease() -> None:
    """And may have been appended late; nobody knows which they are."""
    replays = Replays()
    replays.record(closed=False)
    until_ms = replays.first_ms + OWN_LEASE_MS + LATE_MS

    assert replays.found_in(until_ms, until_ms + 1).why_incomplete
    assert not replays.found_in(until_ms + 5_000, until_ms + 6_000).why_incomplete


def test_a_finding_of_another_execution_makes_copies_known() -> None:
    """Even if the replay itself never knew them, and also if one of its messages has no copy."""
    replays = Replays()
    replays.record(copies={}, copies_known=False)
    first_ms = replays.first_ms
    replays.world.now_s += 3_600
    replays.record("later", findings={"t": Finding(copies={0: ((12, 20),)}, missing={0: ((9, 9),)}, whole=True)})

    assert replays.found_in(first_ms, first_ms + 1) == KnownCopies({0: ((12, 20),)})


def test_a_message_without_a_copy_leaves_no_gap() -> None:
    """All copies that exist are known; the ledger goes on to name the message."""
    replays = Replays()
    replays.record(copies={0: ((10, 18),)}, missing={0: ((9, 9),)})

    assert replays.found_in(replays.first_ms, replays.first_ms + 1) == KnownCopies({0: ((10, 18),)})


def test_copies_of_nobody_knows_whom_are_left_out_too() -> None:
    """A row that surely is a copy is no original, whoever made it."""
    replays = Replays()
    replays.record(other_copies={0: ((25, 25),)})

    assert replays.found_in(replays.first_ms, replays.first_ms + 1).offsets == {0: ((10, 19), (25, 25))}


def test_only_a_replay_whose_copies_are_not_known_costs_reads_of_findings() -> None:
    """Two of each store."""
    replays = Replays()
    replays.record("known")
    replays.record("unknown", copies_known=False)
    reads: list[str] = []
    get = replays.store.get
    replays.store.get = lambda key: (reads.append(key), get(key))[1]  # type: ignore[method-assign]

    replays.found_in(replays.first_ms, replays.first_ms + 1)

    assert [key for key in reads if key.startswith("found-")] == ["found-unknown-0-e", "found-unknown-0-x"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("keep_time", [True, False, None])
def test_copies_that_may_have_the_time_of_their_sources_are_told_by_offset(known: bool, keep_time: Any) -> None:
    """Known ones are left out; of unknown ones, only rows behind the last offset can be copies."""
    replays = Replays()
    replays.record(span=True, copies_known=known, copies_keep_time=keep_time)

    found = replays.found_in(SOURCES_MS + 5, SOURCES_MS + 10)

    assert found.offsets == ({0: ((10, 19),)} if keep_time is not False else {})
    assert found.why_incomplete == ()
    before, after, elsewhere = (Row(*ref, 0, {}, "orders") for ref in ((0, 9), (0, 20), (1, 0)))
    doubtful = not known and keep_time is not False
    assert [bool(found.unknown_among([row])) for row in (before, after, elsewhere)] == [False, doubtful, doubtful]
    assert replays.found_in(SOURCES_END_MS, SOURCES_END_MS + 5) == KnownCopies()


def test_another_topic_is_not_affected() -> None:
    """Its index is another."""
    replays = Replays()
    replays.record(copies_known=False)
    window = TimeWindow(replays.first_ms, replays.first_ms + 1)

    assert known_copies_in([replays.store], window, REF._replace(topic="b")) == KnownCopies()


def test_a_replay_that_sent_nothing_has_no_copies() -> None:
    """Whatever it says about them."""
    replays = Replays()
    session = session_for(
        Plan("orders", {0: ((0, 9),)}),
        endpoint="h",
        instance_id="i",
        consumer_key=None,
        owner=Owner("t"),
        stores=[replays.store],
        clock=replays.world.clock(),
    )
    replays.world.run(session.open("skip"))

    assert replays.found_in(replays.world.now_ms, replays.world.now_ms + 1) == KnownCopies()
