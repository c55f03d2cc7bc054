"""Several resends at once: no message is sent twice, whatever the clocks, processes and stores of their hosts do."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.stores import FileStore
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.tasks.stores import HAS_STATE_STORES
from tests.faults.actors import (
    RESEND,
    Airflow33,
    StateStore,
    Worker,
    attempt,
    found,
    hidden_doubles,
    hours_ago,
    query,
    side_by_side,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator
    from tests.faults.clocks import Clock

COUNT = 24
CLONE_NEWPID = 0x20000000


@pytest.fixture
def window(mqs: MqsEmulator) -> tuple[datetime, datetime]:
    start, end = hours_ago(2), hours_ago(1)
    mqs.seed("orders", COUNT, start, end, partitions=2)
    return start, end


def part(window: tuple[datetime, datetime], first: float, last: float) -> Any:
    """Query a part of the window, from 0 to 1."""
    length = window[1] - window[0]
    return query(window[0] + length * first, window[0] + length * last)


def slowly(mqs: MqsEmulator, milliseconds: int) -> None:
    mqs.faults.update({"latency_s": milliseconds / 1000, "latency_operations": ["resend"]})


def once(mqs: MqsEmulator, *documents: Any) -> bool:
    return mqs.resend_counts("orders") == dict.fromkeys(set[Any]().union(*map(found, documents)), 1)


@pytest.mark.parametrize("ahead_s", [120, -120, 900])
def test_the_wall_clock_of_another_host_changes_nothing(
    mqs: MqsEmulator,
    window: Any,
    tmp_path: Path,
    hurry: Callable[[float], Clock],
    ahead_s: float,
) -> None:
    """A run on a host with a wrong clock begins while another sends: what both have is sent once, by either."""
    clock = hurry(1)
    slowly(mqs, 80)
    whole, half = part(window, 0, 1), part(window, 0.25, 0.75)
    # the wait is shorter than the sending, so that a run which takes over too soon finds no copies and sends
    common = {"ledger_path": str(tmp_path), "concurrency": 1, "verify_wait": 0.2}

    def elsewhere() -> Any:
        clock.ahead_s = ahead_s
        return attempt(half, "second", **common)

    with Worker(lambda: attempt(whole, "first", **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 4)
        with Worker(elsewhere) as second:
            outcomes = [first.result(), second.result()]

    assert outcomes[0].ended_well, outcomes[0].error
    assert once(mqs, whole)


@pytest.mark.parametrize("ahead_s", [120, -120])
def test_a_retry_on_a_host_with_a_wrong_clock_resumes(
    mqs: MqsEmulator, window: Any, tmp_path: Path, hurry: Callable[[float], Clock], ahead_s: float
) -> None:
    """The first host was killed half-way."""
    clock = hurry(20)
    slowly(mqs, 400)
    whole = part(window, 0, 1)
    common = {"ledger_path": str(tmp_path), "verify_wait": 2}
    with Worker(lambda: attempt(whole, try_number=1, **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 6)
        first.signal(signal.SIGKILL)
        os.waitpid(first.pid, 0)

    def elsewhere() -> Any:
        clock.ahead_s = ahead_s
        return attempt(whole, try_number=2, ordering="none", **common)

    with Worker(elsewhere) as second:
        outcome = second.result()

    assert hidden_doubles(mqs, outcome) == set()
    assert not outcome.ended_well or once(mqs, whole)


def test_a_process_in_another_container_with_the_same_name_is_alive(
    mqs: MqsEmulator, window: Any, tmp_path: Path
) -> None:
    """Its id means nothing in this container, where no process has it."""
    slowly(mqs, 80)
    whole, half = part(window, 0, 1), part(window, 0.25, 0.75)
    common = {"ledger_path": str(tmp_path), "concurrency": 1, "verify_wait": 0.2}

    def in_a_container() -> Any:
        # the next child is the first process of a new namespace
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
            return None
        with Worker(lambda: attempt(half, "second", **common)) as inside:
            return inside.result()

    with Worker(lambda: attempt(whole, "first", **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 4)
        with Worker(in_a_container) as second:
            ended = second.result()
        if ended is None:
            pytest.skip("this user may not make a namespace")
        assert first.result().ended_well

    assert once(mqs, whole)


@pytest.mark.parametrize(("ordering", "key"), [("partition", None), ("none", "key-a")])
def test_the_later_of_two_overlapping_runs_waits_and_sends_what_is_its_own(
    mqs: MqsEmulator, window: Any, tmp_path: Path, ordering: str, key: str | None
) -> None:
    """No try of either fails."""
    slowly(mqs, 30)
    early, late = part(window, 0, 0.6), part(window, 0.4, 1)
    common = {"ledger_path": str(tmp_path), "ordering": ordering, "consumer_key": key, "verify_wait": 1}

    with Worker(lambda: attempt(early, "early", concurrency=1, **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 2)
        second = attempt(late, "late", **common)
        outcomes = [first.result(), second]

    assert [outcome.error for outcome in outcomes] == ["", ""]
    assert once(mqs, early, late)
    assert second.report["already_sent"] == len(found(early) & found(late))


def test_runs_that_begin_at_the_same_moment_send_each_message_once(
    mqs: MqsEmulator, window: Any, tmp_path: Path
) -> None:
    """Three of them, each with two thirds of the messages."""
    parts = [part(window, 0, 0.67), part(window, 0.33, 1), part(window, 0, 1)]
    common = {"ledger_path": str(tmp_path), "verify_wait": 1}

    works = [lambda one=one, name=name: attempt(one, f"run {name}", **common) for name, one in enumerate(parts)]
    with side_by_side(*works) as workers:
        outcomes = [worker.result() for worker in workers]

    assert [outcome.error for outcome in outcomes if not outcome.ended_well] == []
    assert once(mqs, *parts)


def test_runs_that_share_no_message_do_not_wait_for_each_other(mqs: MqsEmulator, window: Any, tmp_path: Path) -> None:
    """The first is still sending when the second is done."""
    slowly(mqs, 50)
    early, late = part(window, 0, 0.8), part(window, 0.8, 1)
    common = {"ledger_path": str(tmp_path), "verify": False}

    with Worker(lambda: attempt(early, "early", concurrency=1, **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 2)
        second = attempt(late, "late", **common)
        sent = len(set(mqs.resend_counts("orders")) & found(early))
        assert (second.error, first.result().error) == ("", "")

    assert sent < len(found(early))


@pytest.mark.parametrize("ordering", ["partition", "none"])
def test_a_sender_that_slept_longer_than_its_lease_sends_nothing_before_it_has_looked(
    mqs: MqsEmulator, window: Any, tmp_path: Path, hurry: Callable[[float], Clock], ordering: str
) -> None:
    """Its machine was paused, an overlapping run took over, and then it woke up beside it."""
    clock = hurry(1)
    slowly(mqs, 30)
    whole, half = part(window, 0, 1), part(window, 0.25, 1)
    common = {"ledger_path": str(tmp_path), "ordering": ordering, "verify_wait": 0.5}

    with Worker(lambda: attempt(whole, "first", concurrency=2, **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 5)
        first.signal(signal.SIGSTOP)
        clock.jump(100)
        with Worker(lambda: attempt(half, "second", **common)) as second:
            before = len(mqs.resends("orders"))
            until(lambda: len(mqs.resends("orders")) >= before + 4)
            first.signal(signal.SIGCONT)
            outcomes = [first.result(), second.result()]

    assert hidden_doubles(mqs, *outcomes) == set()


def test_a_sender_that_slept_and_was_not_missed_goes_on(
    mqs: MqsEmulator, window: Any, tmp_path: Path, hurry: Callable[[float], Clock]
) -> None:
    """Nobody took over, so it takes its lease again and sends the rest."""
    clock = hurry(1)
    slowly(mqs, 30)
    whole = part(window, 0, 1)

    with Worker(lambda: attempt(whole, ledger_path=str(tmp_path), verify_wait=1)) as first:
        until(lambda: len(mqs.resends("orders")) >= 5)
        first.signal(signal.SIGSTOP)
        clock.jump(100)
        first.signal(signal.SIGCONT)
        outcome = first.result()

    assert hidden_doubles(mqs, outcome) == set()
    assert outcome.report["sent"] >= COUNT - 2


@pytest.mark.parametrize("delay_ms", [0, 10, 30])
def test_a_try_that_still_lives_when_the_next_begins_sends_nothing_twice(
    mqs: MqsEmulator, window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay_ms: int
) -> None:
    """Airflow lost sight of the first one, and the store takes its time for each call."""
    slowly(mqs, 80)
    whole = part(window, 0, 1)
    common = {"ledger_path": str(tmp_path), "concurrency": 1, "verify_wait": 0.2}
    get, put, pause = FileStore.get, FileStore.set, threading.Event()
    monkeypatch.setattr(FileStore, "get", lambda self, key: (pause.wait(delay_ms / 1000), get(self, key))[1])
    monkeypatch.setattr(
        FileStore, "set", lambda self, key, value: (pause.wait(delay_ms / 1000), put(self, key, value))[1]
    )

    with Worker(lambda: attempt(whole, try_number=1, **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 3)
        second = attempt(whole, try_number=2, **common)
        outcomes = [first.result(), second]

    assert hidden_doubles(mqs, *outcomes) == set()
    assert not second.ended_well or once(mqs, whole)


def test_a_window_that_ended_before_the_first_copy_is_whole(mqs: MqsEmulator, tmp_path: Path) -> None:
    """A backfill sends beside the schedule, and nobody knows its copies yet; the window ended just before."""
    start = hours_ago(0.1)
    mqs.seed("orders", 12, hours_ago(2), hours_ago(1), partitions=2)
    mqs.seed("orders", 12, start, start + timedelta(minutes=2), partitions=2)
    back_fill = query(hours_ago(2.1), hours_ago(0.9))

    assert attempt(back_fill, verify=False, ledger_path=str(tmp_path)).error == ""
    document = query(start, hours_ago(0) - timedelta(seconds=30), ledger_path=str(tmp_path))

    assert (document["complete"], document["count"]) == (True, 12)


def test_a_window_in_which_unknown_copies_may_lie_is_not_whole(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The same backfill, and a window that ends after it."""
    start = hours_ago(0)
    mqs.seed("orders", 12, hours_ago(2), hours_ago(1), partitions=2)

    attempt(query(hours_ago(2.1), hours_ago(0.9)), verify=False, ledger_path=str(tmp_path))
    document = query(start, on_incomplete="warn", ledger_path=str(tmp_path))

    assert document["complete"] is False


@pytest.mark.skipif(not HAS_STATE_STORES, reason="Airflow before 3.3 has no state stores")
@pytest.mark.parametrize("slowest_ms", [0, 20])
def test_no_resend_is_forgotten_however_slow_the_store_is(mqs: MqsEmulator, slowest_ms: int) -> None:
    """Eight resends begin at once; a later query knows the copies of all of them, or says that it does not."""
    start, ends = hours_ago(0), [hours_ago(2), hours_ago(1)]
    mqs.seed("orders", 8, *ends)
    draw = random.Random(1)  # noqa: S311 - repeatable, nothing to guess
    airflow = Airflow33(StateStore(delay_s=lambda: draw.random() * slowest_ms / 1000))
    outcomes: list[Any] = [None] * 8

    def send(number: int) -> None:
        items = [{"partition": 0, "message_offset": number}]
        outcomes[number] = attempt(items, f"run {number}", topic="orders", airflow=airflow, verify=False)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [outcome.error for outcome in outcomes] == [""] * 8
    from airflow_provider_mqs.operators.mqs import QueryMessagesOperator

    # each resend is in the way of the query until its copies are known
    arguments = {"topic": "orders", "start": start, "end": hours_ago(0), "on_incomplete": "warn"}
    document = QueryMessagesOperator(task_id="query", **arguments).execute(airflow.context("query"))
    assert document["complete"] is False
    # and nobody sends again what another has sent
    everything = query(*ends)
    again = attempt(everything, "again", airflow=airflow, verify=False)
    assert again.report.get("already_sent", 8) == 8
    assert once(mqs, everything)


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_run_that_waits_for_another_one_sees_what_became_of_it(
    mqs: MqsEmulator, window: Any, tmp_path: Path, fault: str
) -> None:
    """The other is stopped with a message in doubt while this one waits."""
    slowly(mqs, 40)
    whole = part(window, 0, 1)
    mqs.faults.update({fault: Rule(next=1, only=frozenset({(0, 3)}), operations=RESEND)})
    common = {"ledger_path": str(tmp_path), "verify_wait": 1, "ordering": "none"}

    with Worker(lambda: attempt(whole, "first", on_unknown="fail", concurrency=1, **common)) as first:
        until(lambda: len(mqs.resends("orders")) >= 2)
        second = attempt(whole, "second", **common)
        outcomes = [first.result(), second]

    assert hidden_doubles(mqs, *outcomes) == set()
    assert second.ended_well, second.error
    assert once(mqs, whole)
