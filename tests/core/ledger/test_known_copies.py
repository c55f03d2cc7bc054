"""What a query learns from the ledgers of earlier replays."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies, known_copies_in
from airflow_provider_mqs.core.ledger.ledger import MARGIN_MS, Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.ledger.stores import ReplayStores
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from tests.support import MemoryStore

REF = TopicRef("h", "i", "orders")
NOW_MS = time.time_ns() // 1_000_000


def recorded(*, known: bool, state: str = "complete") -> MemoryStore:
    store, plan = MemoryStore(), Plan("orders", {0: ((0, 9),)})
    stores = ReplayStores(records=(store,))
    session = session_for(plan, endpoint="h", instance_id="i", consumer_key=None, owner=Owner("t"), stores=stores)
    session.begin({0: 9}, since_ms=NOW_MS)
    session.open("skip")
    session.ledger = replace(session.ledger, until_ms=NOW_MS)
    session.close(state=state, done={0: ((0, 9),)}, copies={0: ((10, 19),)}, copies_known=known)
    return store


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 1), (-9, MARGIN_MS), (-2 * MARGIN_MS, 1 - MARGIN_MS)])
def test_known_copies_are_found(start_ms: int, end_ms: int) -> None:
    """In every window that touches the time in which they can have been made."""
    window = TimeWindow(NOW_MS + start_ms, NOW_MS + end_ms)

    assert known_copies_in([recorded(known=True)], window, REF) == KnownCopies({0: ((10, 19),)})


def test_unknown_copies_make_a_window_incomplete() -> None:
    """The reason names the replay and how many copies there may be."""
    copies = known_copies_in([recorded(known=False)], TimeWindow(NOW_MS, NOW_MS + 1), REF)

    assert len(copies.why_incomplete) == 1
    assert "up to 10 copies" in copies.why_incomplete[0]


@pytest.mark.parametrize("shift_ms", [-3 * MARGIN_MS, 3 * MARGIN_MS])
def test_a_window_before_or_after_the_replay_is_not_affected(shift_ms: int) -> None:
    """Neither is a window of another topic."""
    window = TimeWindow(NOW_MS + shift_ms, NOW_MS + shift_ms + 1)

    assert known_copies_in([recorded(known=False)], window, REF) == KnownCopies()
    assert (
        known_copies_in([recorded(known=False)], TimeWindow(NOW_MS, NOW_MS + 1), REF._replace(topic="b"))
        == KnownCopies()
    )
