"""What a query finds out about earlier replays."""

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
from tests.support import MemoryStore

PLACE = {"endpoint": "h", "instance_id": "i", "topic": "orders"}
NOW_MS = time.time_ns() // 1_000_000


def recorded(*, known: bool, state: str = "complete") -> MemoryStore:
    store, plan = MemoryStore(), Plan("orders", {0: ((0, 9),)})
    memory = ReplayStores(records=(store,))
    session = session_for(plan, endpoint="h", instance_id="i", consumer_key=None, owner=Owner("t"), memory=memory)
    session.begin({0: 9}, since_ms=NOW_MS)
    session.open("skip")
    session.ledger = replace(session.ledger, until_ms=NOW_MS)
    session.close(state=state, done={0: ((0, 9),)}, copies={0: ((10, 19),)}, copies_known=known)
    return store


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 1), (-9, MARGIN_MS), (-2 * MARGIN_MS, 1 - MARGIN_MS)])
def test_known_copies_are_left_out(start_ms: int, end_ms: int) -> None:
    """In every window that touches the time in which they were made."""
    window = TimeWindow(NOW_MS + start_ms, NOW_MS + end_ms)

    assert known_copies_in([recorded(known=True)], window, **PLACE) == KnownCopies({0: ((10, 19),)})


def test_unknown_copies_are_a_doubt() -> None:
    """They cannot be told from originals."""
    copies = known_copies_in([recorded(known=False)], TimeWindow(NOW_MS, NOW_MS + 1), **PLACE)

    assert len(copies.doubts) == 1
    assert "up to 10 copies" in copies.doubts[0]


@pytest.mark.parametrize("shift_ms", [-3 * MARGIN_MS, 3 * MARGIN_MS])
def test_a_window_before_or_behind_is_not_concerned(shift_ms: int) -> None:
    """Nor is another topic."""
    window = TimeWindow(NOW_MS + shift_ms, NOW_MS + shift_ms + 1)

    assert known_copies_in([recorded(known=False)], window, **PLACE) == KnownCopies()
    assert (
        known_copies_in([recorded(known=False)], TimeWindow(NOW_MS, NOW_MS + 1), **{**PLACE, "topic": "b"})
        == KnownCopies()
    )
