"""Real signals end a real task in time, although service, store or brake hang."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.stores import FileStore
from airflow_provider_mqs.emulator.faults import Rule, Turn
from airflow_provider_mqs.operators.mqs import ResendMessagesOperator
from tests.support import beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

COUNT = 40
ITEMS = [{"partition": 0, "message_offset": offset} for offset in range(COUNT)]
IN_TIME_S, LONG_S = 4.5, 6.0
STOPS: dict[str, Callable[[ResendMessagesOperator], None]] = {
    "SIGTERM": lambda _: os.kill(os.getpid(), signal.SIGTERM),
    "SIGALRM, of execution_timeout": lambda _: os.kill(os.getpid(), signal.SIGALRM),
    "on_kill": lambda operator: operator.on_kill(),
}
EACH_STOP = pytest.mark.parametrize("stop", STOPS)


class XComs(dict[str, Any]):
    """What a task instance is asked to push."""

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a call waits for that hangs; set at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _topic(mqs: MqsEmulator) -> None:
    for number in range(COUNT):
        mqs.append("orders", 0, str(number))


def stopped(operator: ResendMessagesOperator, when: Callable[[], object], stop: str = "SIGTERM") -> dict[str, Any]:
    """Run a task, stop it a moment after something holds, and return its report, which must be there in time."""
    pushed, stopped_s = XComs(), [0.0]

    def work(over: threading.Event) -> None:
        while not when() and not over.is_set():
            over.wait(0.01)
        over.wait(0.3)
        stopped_s[0] = time.monotonic()
        STOPS[stop](operator)

    with beside(work), pytest.raises(BaseException, match=r"SIGTERM|execution_timeout|killed|in time"):
        operator.execute({"ti": pushed})
    assert time.monotonic() - stopped_s[0] <= IN_TIME_S
    report: dict[str, Any] = pushed["return_value"]
    return report


def task(tmp_path: Path, **arguments: Any) -> ResendMessagesOperator:
    return ResendMessagesOperator(
        task_id="resend", messages=ITEMS, topic="orders", ledger_path=str(tmp_path), **arguments
    )


@EACH_STOP
def test_a_service_that_hangs_while_copies_are_looked_for(mqs: MqsEmulator, tmp_path: Path, stop: str) -> None:
    """Everything was sent, and the report says so; the next run sends nothing."""
    mqs.faults.turns = (Turn(after=COUNT, of="copy", faults={"latency_s": LONG_S, "latency_operations": ["query"]}),)

    report = stopped(task(tmp_path), lambda: len(mqs.resends("orders")) == COUNT, stop)

    assert (report["sent"], report["verified"]) == (COUNT, None)


def test_a_service_that_hangs_while_messages_are_sent(mqs: MqsEmulator, tmp_path: Path) -> None:
    """What was in flight is in doubt; the ledger is closed, so that nobody waits for its lease."""
    mqs.faults.turns = (Turn(after=10, of="copy", faults={"latency_s": LONG_S, "latency_operations": ["resend"]}),)

    report = stopped(task(tmp_path), lambda: len(mqs.resends("orders")) > 10)

    assert (report["sent"], report["unknown"], report["not_attempted"]) == (10, 1, COUNT - 11)


def test_copies_that_do_not_come(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The 90 seconds that a late copy gets are cut short."""
    mqs.faults.lost_after_ack = Rule(next=1, skip=20)

    report = stopped(task(tmp_path), lambda: len(mqs.requests("resend")) == COUNT)

    assert (report["sent"], report["verified"]) == (COUNT, None)


def test_a_store_that_hangs(
    mqs: MqsEmulator, tmp_path: Path, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report goes out without it."""
    original = FileStore.set

    def write(store: FileStore, key: str, value: Any) -> None:
        if mqs.resends("orders"):
            never.wait(60)
        original(store, key, value)

    monkeypatch.setattr(FileStore, "set", write)

    report = stopped(task(tmp_path), lambda: mqs.resends("orders"))

    assert report["sent"] + report["unknown"] + report["not_attempted"] == COUNT


def test_a_brake_that_hangs(mqs: MqsEmulator, tmp_path: Path, never: threading.Event) -> None:
    """Nobody waits for it."""
    operator = task(tmp_path, max_rate=10, brake=lambda _: never.wait(60))

    report = stopped(operator, lambda: len(mqs.resends("orders")) > 12)

    assert report["sent"] == len(mqs.resends("orders")) < COUNT
