"""The session of a ledger: who may send, who gives way, and what a failing store does."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mqs.core.ledger.index import ReplayIndex
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, LEASE_MS, SENDING, Owner
from airflow_provider_mqs.core.ledger.session import LedgerSession, session_for
from airflow_provider_mqs.core.ledger.stores import ReplayStores
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.exceptions import ConfigurationError, ReplayInProgressError, StoreError
from tests.support import MemoryStore

NOW_MS = 1_700_000_000_000
PLAN = Plan("orders", {0: ((0, 9),)})
OVERLAP = Plan("orders", {0: ((5, 14),)})
NOBODY = 2**22 + 1
"""No process has this number."""


def owner(token: str, number: int = 1, **changes: Any) -> Owner:
    run = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": number}
    return Owner(token, {**run, **changes}, 1, "host", os.getpid())


def session(
    store: Any, who: Owner, plan: Plan = PLAN, *, now_ms: int = NOW_MS, key: str | None = None
) -> LedgerSession:
    made = session_for(plan, endpoint="h", instance_id="i", consumer_key=key, owner=who, stores=ReplayStores(store))
    index = ReplayIndex(store, "h", "i", plan.topic, sleep=lambda _: None, now_ms=lambda: now_ms)
    return LedgerSession(made.ledger, [store], [index], now_ms=lambda: now_ms, sleep=lambda _: None)


def sending(store: Any, who: Owner, plan: Plan = PLAN, **changes: Any) -> LedgerSession:
    """Open a session and send a part of the plan."""
    made = session(store, who, plan, **changes)
    made.begin({0: 20}, since_ms=NOW_MS)
    made.open("skip")
    made.write(state=SENDING, done={0: ((0, 2),)}, claimed={0: ((3, 4),)})
    return made


def test_a_retry_resumes_and_keeps_what_is_in_doubt() -> None:
    """What the earlier try sent is done; what it had only claimed is in doubt."""
    store = MemoryStore()
    sending(store, owner("a"))

    history = session(store, owner("b", 2)).open("skip")

    assert (history.account.sent, history.account.maybe_sent) == ({0: ((0, 2),)}, {0: ((3, 4),)})
    assert history.is_retry


def test_an_older_try_that_was_overtaken_stops() -> None:
    """Its first write fails, so it sends nothing more."""
    store = MemoryStore()
    old = sending(store, owner("a"))
    session(store, owner("b", 2)).open("skip")

    with pytest.raises(StoreError, match="taken over"):
        old.write(done={0: ((0, 9),)})


def test_a_run_gives_way_to_one_that_is_sending() -> None:
    """It sends nothing; a later try may find that the other has ended."""
    store = MemoryStore()
    sending(store, owner("a"))

    for plan in (PLAN, OVERLAP):
        with pytest.raises(ReplayInProgressError, match="at this moment"):
            session(store, owner("b", run_id="other"), plan).open("skip")


@pytest.mark.parametrize("key", ["", "other"])
def test_another_consumer_or_topic_is_no_rival(key: str) -> None:
    """They have no message in common."""
    store = MemoryStore()
    sending(store, owner("a"))
    plan = PLAN if key else Plan("bills", {0: ((0, 9),)})

    history = session(store, owner("b", run_id="other"), plan, key=key or None).open("skip")

    assert (history.account.already_sent, history.account.maybe_sent) == ({}, {})


@pytest.mark.parametrize("gone", ["lease", "process", "ended"])
def test_a_run_that_is_gone_is_no_rival(gone: str) -> None:
    """Its messages are left out, and what it had claimed is in doubt."""
    store = MemoryStore()
    who = replace(owner("a"), pid=NOBODY) if gone == "process" else owner("a")
    first = sending(store, who)
    if gone == "ended":
        first.close(state=ENDED)

    now_ms = NOW_MS + (LEASE_MS if gone == "lease" else 0)
    history = session(store, owner("b", run_id="other"), OVERLAP, now_ms=now_ms).open("skip")

    assert history.account.already_sent == {}
    assert session(store, owner("c", run_id="third"), now_ms=now_ms + LEASE_MS).preview(
        "skip"
    ).account.already_sent == {0: ((0, 2),)}


def test_on_replayed_fail_names_who_sent_it() -> None:
    """The error comes before anything is written."""
    store = MemoryStore()
    sending(store, owner("a")).close(state=COMPLETE, done=PLAN.partitions, claimed={})

    with pytest.raises(ConfigurationError, match="10 of these messages were sent already"):
        session(store, owner("b", run_id="other")).open("fail")


def test_on_replayed_resend_begins_anew_and_remembers_the_earlier_sends() -> None:
    """A later run leaves out what either of them sent."""
    store = MemoryStore()
    sending(store, owner("a")).close(state=COMPLETE, done=PLAN.partitions, claimed={})

    again = session(store, owner("b", run_id="other"))
    history = again.open("resend")

    assert (history.account.already_sent, again.ledger.done, again.ledger.sent_earlier) == ({}, {}, PLAN.partitions)


class Interrupted(MemoryStore):
    """Lets a rival work before the n-th call."""

    at, calls, rival = 0, 0, staticmethod(lambda: None)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.rival()

    def get(self, key: str) -> Any | None:
        self._count()
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self._count()
        super().set(key, value)


@pytest.mark.parametrize("at", range(1, 60))
@pytest.mark.parametrize("plan", [PLAN, OVERLAP])
def test_of_two_runs_at_once_only_one_can_go_on(at: int, plan: Plan) -> None:
    """Whenever the other one starts; one that was overtaken stops at its next write."""
    store, begun = Interrupted(), []

    def begin(token: str, its: Plan) -> None:
        made = session(store, owner(token, run_id=token), its)
        with suppress(ReplayInProgressError, StoreError):
            made.begin({0: 20}, since_ms=NOW_MS)
            made.open("skip")
            begun.append(made)

    store.at, store.rival = at, lambda: begin("a", plan)  # type: ignore[method-assign,assignment]
    begin("b", PLAN)

    going = 0
    for made in begun:
        with suppress(StoreError):
            made.write(state=SENDING)
            going += 1
    assert going <= 1


def test_a_store_that_fails_stops_everything() -> None:
    """The error reaches the sender, which must stop."""
    store = Interrupted()

    def fail() -> None:
        raise StoreError("full")

    made = sending(store, owner("a"))
    store.at, store.rival = store.calls + 1, fail  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreError, match="full"):
        made.write(state=SENDING)


def test_without_a_store_nothing_is_remembered() -> None:
    """And nothing of earlier runs is found."""
    made = session_for(PLAN, endpoint="h", instance_id="i", consumer_key=None, owner=owner("a"), stores=ReplayStores())

    assert made.durable is False
    assert made.open("skip").account.already_sent == {}
    made.close(state=COMPLETE)


def test_copies_of_other_replays_are_found() -> None:
    """Otherwise they would be taken for copies of this replay."""
    store = MemoryStore()
    other = sending(store, owner("a"), OVERLAP)
    other.close(state=ENDED, copies={0: ((21, 23),)}, until_ms=NOW_MS + 5)

    mine = session(store, owner("b", run_id="other"))

    assert mine.foreign_copies(NOW_MS) == {0: ((21, 23),)}
    assert mine.foreign_copies(NOW_MS + 6) == {}


def test_a_replay_that_only_one_record_knows_is_found() -> None:
    """A command writes into a folder, a task of Airflow 3.3 into that folder and into an asset's store."""
    folder, asset = MemoryStore(), MemoryStore()
    by_hand = ReplayStores(folder, (folder,))
    in_airflow = ReplayStores(folder, (asset, folder))
    names = {"endpoint": "h", "instance_id": "i", "consumer_key": None}
    for stores, token, plan in ((by_hand, "a", PLAN), (in_airflow, "b", OVERLAP)):
        made = session_for(plan, **names, owner=owner(token, run_id=token), stores=stores)
        made.begin({0: 20}, since_ms=NOW_MS)
        made.open("skip")
        made.close(state=COMPLETE, done=plan.partitions, claimed={})

    found = session_for(PLAN, **names, owner=owner("c", run_id="c"), stores=ReplayStores(None, (asset,))).preview(
        "skip"
    )
    call = session_for(OVERLAP, **names, owner=Owner("call"), stores=by_hand).preview("skip")

    assert found.account.already_sent == {0: ((5, 9),)}
    assert call.account.already_sent == OVERLAP.partitions
