"""A resend that must end does so in time, with its report, whatever it waits for; and nothing slows it in silence."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.stores import FileStore
from airflow_provider_mqs.emulator.faults import Rule
from tests.faults.actors import (
    RESEND,
    Worker,
    attempt,
    found,
    hidden_doubles,
    messages_of_an_hour,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator
    from tests.faults.clocks import Clock

COUNT = 12
LIMIT_S = 5.0
"""Airflow kills a task so long after SIGTERM."""


def messages_of(mqs: MqsEmulator, partitions: int = 2, count: int = COUNT) -> Any:
    return messages_of_an_hour(mqs, partitions, count)


def all_sent(mqs: MqsEmulator) -> bool:
    return len(mqs.requests("resend")) >= COUNT


def verifying(mqs: MqsEmulator, _: Any) -> Callable[[], bool]:
    """No copy is to be seen."""
    mqs.faults.visible_after_s = 3600
    return lambda: len(mqs.resends("orders")) == COUNT and len(mqs.requests("query")) > 6


def settling(mqs: MqsEmulator, _: Any) -> Callable[[], bool]:
    """One message is in doubt, and its copy may still come."""
    mqs.faults.drop_before = Rule(next=1, only=frozenset({(0, 3)}), operations=RESEND)
    return lambda: any(line.fault for line in mqs.requests("resend")) and len(mqs.requests("query")) > 4


def throttled(mqs: MqsEmulator, _: Any) -> Callable[[], bool]:
    """The service asks for patience."""
    mqs.faults.update({"throttle_429": {"probability": 1, "operations": ["resend"]}, "retry_after_s": 60})
    return lambda: len(mqs.requests("resend")) >= 1


def unanswered(mqs: MqsEmulator, _: Any) -> Callable[[], bool]:
    """The service takes its time for each resend."""
    mqs.faults.update({"latency_s": 600, "latency_operations": ["resend"]})
    return lambda: len(mqs.requests("resend")) >= 1


def checking(mqs: MqsEmulator, _: Any) -> Callable[[], bool]:
    """The service takes its time for the first and last message of the plan."""
    mqs.faults.update({"latency_s": 600, "latency_operations": ["content", "query", "topics"]})
    before = len(mqs.requests())
    return lambda: len(mqs.requests()) > before


def paced(mqs: MqsEmulator, arguments: Any) -> Callable[[], bool]:
    """The next message may be sent in a minute."""
    arguments["max_rate"] = 1 / 60
    return lambda: len(mqs.requests("resend")) >= 1


def store_hangs(mqs: MqsEmulator, arguments: Any) -> Callable[[], bool]:
    """The folder of the ledger is on a disk that answers no more, once the sending has begun."""
    put = FileStore.set

    def hang(self: FileStore, key: str, value: Any) -> None:
        if mqs.requests("resend"):
            threading.Event().wait(600)
        put(self, key, value)

    arguments["patch"].setattr(FileStore, "set", hang)
    return lambda: all_sent(mqs)


def brake_hangs(mqs: MqsEmulator, arguments: Any) -> Callable[[], bool]:
    """The user's own function never comes back."""
    mqs.faults.update({"latency_s": 0.05, "latency_operations": ["resend"]})
    arguments["brake"] = lambda _: threading.Event().wait(600)
    arguments["max_rate"] = 2
    return lambda: len(mqs.requests("resend")) >= 2


PHASES = [checking, throttled, unanswered, paced, settling, verifying, store_hangs, brake_hangs]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM], ids=lambda number: number.name)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_a_signal_ends_the_task_in_time_with_its_report(
    mqs: MqsEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: Callable[..., Callable[[], bool]],
    number: signal.Signals,
) -> None:
    """In every phase; what the service was asked for is in the report, and what it was not is left to a retry."""
    messages = messages_of(mqs)
    arguments: dict[str, Any] = {"verify_wait": 600, "ledger_path": str(tmp_path), "patch": monkeypatch}
    reached = phase(mqs, arguments)
    del arguments["patch"]

    with Worker(lambda: attempt(messages, **arguments)) as worker:
        until(reached)
        began = time.monotonic()
        worker.signal(number)
        outcome = worker.result(LIMIT_S + 2)
        took = time.monotonic() - began

    assert took < LIMIT_S
    assert ("AirflowTaskTimeout" if number == signal.SIGALRM else "ResendError") in outcome.kinds
    counts = ("sent", "already_sent", "failed", "unknown", "not_attempted")
    assert sum(outcome.report[name] for name in counts) == outcome.report["requested"] == COUNT
    assert outcome.sent <= set(mqs.resend_counts("orders"))


@pytest.mark.parametrize("phase", [throttled, settling, verifying], ids=lambda phase: phase.__name__)
def test_a_kill_from_another_thread_ends_the_task_in_time(
    mqs: MqsEmulator, tmp_path: Path, phase: Callable[..., Callable[[], bool]]
) -> None:
    """Airflow calls ``on_kill``."""
    messages, operators = messages_of(mqs), list[Any]()
    reached = phase(mqs, {})
    began: list[float] = []

    def kill() -> None:
        until(reached)
        began.append(time.monotonic())
        operators[0].on_kill()

    thread = threading.Thread(target=kill)
    thread.start()
    outcome = attempt(messages, operator=operators.append, verify_wait=20, ledger_path=str(tmp_path))
    took = time.monotonic() - began[0]
    thread.join(60)

    assert took < LIMIT_S
    assert not outcome.ended_well


def test_a_task_that_was_stopped_while_it_waits_for_another_run_ends_in_time(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The other goes on."""
    messages = messages_of(mqs)
    mqs.faults.update({"latency_s": 1.0, "latency_operations": ["resend"]})
    common = {"verify_wait": 2, "ledger_path": str(tmp_path)}
    with Worker(lambda: attempt(messages, "first", **common)) as first:
        until(lambda: len(mqs.requests("resend")) >= 1)
        with Worker(lambda: attempt(messages, "second", **common)) as second:
            threading.Event().wait(1.0)
            began = time.monotonic()
            second.signal(signal.SIGTERM)
            outcome = second.result(LIMIT_S + 2)
            assert time.monotonic() - began < LIMIT_S
        mqs.faults.latency_s = 0.0
        assert first.result().ended_well

    assert "SIGTERM" in outcome.error
    assert mqs.resend_counts("orders") == dict.fromkeys(found(messages), 1)


@pytest.mark.parametrize("phase", [settling, verifying, unanswered], ids=lambda phase: phase.__name__)
def test_the_retry_of_a_task_that_was_stopped_goes_on(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], phase: Callable[..., Callable[[], bool]]
) -> None:
    """Nothing is sent twice, and nothing is forgotten."""
    hurry(10)
    messages = messages_of(mqs)
    reached = phase(mqs, {})
    common = {"ordering": "none", "verify_wait": 5, "ledger_path": str(tmp_path)}
    with Worker(lambda: attempt(messages, try_number=1, **{**common, "verify_wait": 600})) as worker:
        until(reached)
        worker.signal(signal.SIGTERM)
        first = worker.result()
    hidden = [one for one in mqs.messages("orders") if one.visible_ms > 0]
    mqs.faults.clear()

    retry = attempt(messages, try_number=2, **common)

    assert hidden_doubles(mqs, first, retry) == set()
    if not hidden:
        assert retry.ended_well, retry.error
        assert mqs.resend_counts("orders") == dict.fromkeys(found(messages), 1)


def test_a_task_whose_parent_was_killed_stops_soon(mqs: MqsEmulator, tmp_path: Path) -> None:
    """Nobody would read its report, and Airflow starts its next try."""
    messages = messages_of(mqs, count=200)
    mqs.faults.update({"latency_s": 0.02, "latency_operations": ["resend"]})

    def supervise() -> None:
        with Worker(lambda: attempt(messages, ledger_path=str(tmp_path), verify=False)) as task:
            os.waitpid(task.pid, 0)

    with Worker(supervise) as supervisor:
        until(lambda: len(mqs.resends("orders")) >= 20)
        supervisor.signal(signal.SIGKILL)
        os.waitpid(supervisor.pid, 0)
        sent = len(mqs.resends("orders"))
        steady = [sent]

        def rests() -> bool:
            threading.Event().wait(0.3)
            steady.append(len(mqs.resends("orders")))
            return steady[-1] == steady[-2]

        until(rests)

    assert len(mqs.resends("orders")) - sent <= 40


def test_a_slow_brake_slows_nothing(mqs: MqsEmulator, tmp_path: Path) -> None:
    """Its first call comes back only when all is sent, which is more than can be claimed at once."""
    count = 700
    messages = messages_of(mqs, 4, count)
    seen: list[int] = []

    def brake(_: Any) -> bool:
        if not seen:
            limit = time.monotonic() + 12
            while len(mqs.resends("orders")) < count and time.monotonic() < limit:
                threading.Event().wait(0.01)
            seen.append(len(mqs.resends("orders")))
        return False

    # slow enough for the brake to be asked at all
    options = {"ordering": "none", "max_rate": 300, "verify": False, "ledger_path": str(tmp_path)}
    outcome = attempt(messages, brake=brake, **options)

    assert outcome.error == ""
    until(lambda: seen, "the brake's end")
    assert seen == [count]


def test_a_brake_that_hangs_stops_the_sending_with_a_sentence(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock]
) -> None:
    """A task whose brake does not work must not go on without it."""
    hurry(20)
    messages = messages_of(mqs, 2, 100)
    arguments = {"brake": lambda _: threading.Event().wait(600), "max_rate": 1, "ledger_path": str(tmp_path)}

    with Worker(lambda: attempt(messages, verify_wait=2, **arguments)) as worker:
        outcome = worker.result(10)

    assert not outcome.ended_well
    assert "brake" in outcome.error
    assert 0 < len(mqs.resends("orders")) < 100


def test_the_rate_counts_only_the_time_of_the_sending(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock]
) -> None:
    """A retry waits for copies first, and then sends as fast as ever."""
    hurry(20)
    messages = messages_of(mqs, 2, 40)
    mqs.faults.lost_504 = Rule(next=1, skip=5, operations=RESEND)
    common = {"ordering": "none", "max_rate": 4, "ledger_path": str(tmp_path)}
    attempt(messages, try_number=1, on_unknown="fail", **common)
    progress: list[Any] = []

    retry = attempt(messages, try_number=2, verify_wait=40, brake=lambda one: progress.append(one) or False, **common)

    assert retry.ended_well, retry.error
    assert all(one.rate == 0 or one.rate > 2 for one in progress)
    assert retry.report["rate"] > 1


def test_a_normal_run_logs_each_thing_once_and_warns_of_nothing(
    mqs: MqsEmulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copies come into sight a little later, and nobody has told the connection the path of the query."""
    messages = messages_of(mqs, 3, 48)
    from airflow_provider_mqs import process_state

    process_state.reset()
    mqs.faults.visible_after_s = 0.5
    caplog.clear()

    outcome = attempt(messages, ordering="none", verify_wait=5, ledger_path=str(tmp_path))

    assert (outcome.error, outcome.report["verified"]) == ("", True)
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "api_style" in line]) <= 1
    assert [record.getMessage() for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
