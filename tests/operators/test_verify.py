"""``VerifyReplayOperator`` on the real local service: many replays are proven with one reading, and nothing is sent."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import MqsError, ResendError
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator, VerifyReplayOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
INTERVAL = {"data_interval_start": START, "data_interval_end": END}
QUERIES = frozenset({"query", "content"})


class PushedXComs(dict[str, Any]):
    """What a task instance is asked to push."""

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MQS__LEDGER_PATH", str(tmp_path / "ledgers"))


@pytest.fixture
def replays(mqs: MqsEmulator) -> list[dict[str, Any]]:
    """Send 60 messages in three batches, and leave their copies to be found."""
    mqs.seed("orders", 60, START, END, partitions=3)
    query = QueryMessagesOperator(task_id="query", topic="orders", batch_size=20)
    return [resend(batch, verify=False) for batch in query.execute(INTERVAL)]


def resend(messages: Any, **arguments: Any) -> dict[str, Any]:
    return dict(ResendMessagesOperator(task_id="resend", messages=messages, **arguments).execute({}))


def verify(context: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    operator = VerifyReplayOperator(task_id="verify", **{"verify_wait": 0.5, **arguments})
    return dict(operator.execute(context or {}))


def reading(mqs: MqsEmulator) -> int:
    """How many requests the service got that read the topic."""
    return len(mqs.requests("query")) + len(mqs.requests("content"))


def following_query(mqs: MqsEmulator) -> dict[str, Any]:
    """Query the window of the messages and of the copies."""
    now = datetime.now(timezone.utc) + timedelta(seconds=1)
    query = QueryMessagesOperator(task_id="query", topic="orders", start=START, end=now, clamp_to_now=True)
    return dict(query.execute({}))


def count(ranges_by_partition: dict[str, Any]) -> int:
    return sum(last - first + 1 for ranges in ranges_by_partition.values() for first, last in ranges)


def test_all_replays_are_proven_with_one_reading(mqs: MqsEmulator, replays: Any) -> None:
    """Nothing is sent, and the next query leaves all copies out."""
    before = reading(mqs)

    result = verify(replays=replays)

    assert next(iter(result)) == "summary"
    assert (result["schema"], result["topic"], result["verified"]) == ("mqs.proof/1", "orders", True)
    assert result["replays"] == {"proven": 3, "unproven": 0}
    assert (result["sent"], count(result["copies"]), result["missing_copies"]) == (60, 60, {})
    assert reading(mqs) - before == result["requests"] < 90
    assert len(mqs.resends("orders")) == 60
    following = following_query(mqs)
    assert (following["count"], following["excluded_copies"], following["complete"]) == (60, 60, True)


def test_before_it_the_following_query_is_not_whole(mqs: MqsEmulator, replays: Any) -> None:
    """Nobody knows which rows are copies; the error says what to do."""
    with pytest.raises(MqsError, match="VerifyReplayOperator"):
        following_query(mqs)


def test_before_it_the_window_of_the_messages_is_whole(mqs: MqsEmulator, replays: Any) -> None:
    """Copies have a time of their own here, so a run that is cleared finds its messages again."""
    again = QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL)

    assert (again["count"], again["complete"]) == (60, True)  # type: ignore[call-overload]  # one document


def test_a_second_run_has_nothing_to_do(mqs: MqsEmulator, replays: Any) -> None:
    """It says so, makes no request, and has the same copies in its result."""
    first = verify(replays=replays)
    before = len(mqs.requests())

    second = verify(replays=replays)

    assert len(mqs.requests()) == before
    assert "nothing to do" in second["summary"]
    assert (second["requests"], second["verified"], second["copies"]) == (0, True, first["copies"])


def test_replays_that_know_their_copies_cost_nothing(mqs: MqsEmulator) -> None:
    """As after a mapped resend whose batches have all found theirs."""
    mqs.seed("orders", 30, START, END, partitions=3)
    report = resend(QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL))
    before = len(mqs.requests())

    assert verify(replays=report)["replays"] == {"proven": 1, "unproven": 0}
    assert len(mqs.requests()) == before


@pytest.mark.parametrize("replays", [[], "[]"])
def test_no_replay_is_a_success(mqs: MqsEmulator, replays: Any) -> None:
    """A window without messages has no batches; the summary says so, and no request is made."""
    result = verify(replays=replays)

    assert result["summary"].startswith("There is nothing to do")
    assert mqs.requests() == []


def test_output_that_airflow_made_nothing_of_is_a_success(mqs: MqsEmulator) -> None:
    """Airflow 2 passes ``None`` for a mapped task that had nothing to map."""
    operator = VerifyReplayOperator(task_id="verify", replays="what resend.output stands for")
    operator.replays = None

    assert operator.execute({})["replays"] == {"proven": 0, "unproven": 0}


def test_a_dry_run_is_nothing_to_prove(mqs: MqsEmulator) -> None:
    """A scheduled run of the mapped example is one, until somebody asks for more."""
    mqs.append("orders", 0, "one")
    report = resend([{"partition": 0, "message_offset": 0}], topic="orders", dry_run=True)

    assert verify(replays=report)["replays"] == {"proven": 0, "unproven": 0}


def test_a_topic_means_all_of_its_open_replays(mqs: MqsEmulator, replays: Any) -> None:
    """Yesterday's too, whoever sent them."""
    assert verify(topic="orders")["replays"] == {"proven": 3, "unproven": 0}
    assert verify(topic="payments")["replays"] == {"proven": 0, "unproven": 0}


@pytest.mark.parametrize(("moved", "proven"), [({"start": 1}, 0), ({"end": -1}, 0), ({"start": -1, "end": 1}, 3)])
def test_start_and_end_limit_the_time_of_sending(
    mqs: MqsEmulator, replays: Any, moved: dict[str, int], proven: int
) -> None:
    """Not that of the messages, which is hours ago here."""
    now = datetime.now(timezone.utc)
    window = {name: now + timedelta(hours=hours) for name, hours in moved.items()}

    assert verify(topic="orders", **window)["replays"] == {"proven": proven, "unproven": 0}


def test_only_the_replays_of_the_reports_are_taken(mqs: MqsEmulator, replays: Any) -> None:
    """The others stay as they are; they count only as whose copies rows may be."""
    result = verify(replays=replays[1])

    assert result["replays"] == {"proven": 1, "unproven": 0}
    assert count(result["copies"]) == 20


def test_a_missing_copy_fails_the_task(mqs: MqsEmulator) -> None:
    """The service acknowledged the message and lost it; the result names it, and is pushed."""
    mqs.seed("orders", 60, START, END, partitions=3)
    messages = QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL)
    mqs.faults.lost_after_ack = Rule(next=1, skip=30)
    report, pushed = resend(messages, verify=False), PushedXComs()

    with pytest.raises(ResendError, match="1 messages were sent, but have no copy"):
        verify({"ti": pushed}, replays=report)

    result = pushed["return_value"]
    assert (result["verified"], count(result["missing_copies"]), count(result["copies"])) == (False, 1, 59)


def test_a_proof_that_may_cost_too_much_is_refused(mqs: MqsEmulator, replays: Any) -> None:
    """Before the topic is read; the sentence names how many requests it may take."""
    before = reading(mqs)

    with pytest.raises(AirflowFailException, match=r"\d+ requests.*max_requests=3"):
        verify(replays=replays, max_requests=3)

    assert reading(mqs) == before


def test_the_log_says_beforehand_what_it_may_cost(
    mqs: MqsEmulator, replays: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, with the replays, the messages and the most requests."""
    verify(replays=replays)

    assert any("at most" in line and "requests" in line for line in caplog.messages)


@pytest.mark.parametrize(("word", "fails"), [("fail", True), ("warn", False)])
def test_what_nobody_can_tell_fails_unless_it_may_not(
    mqs: MqsEmulator, replays: Any, word: str, *, fails: bool
) -> None:
    """A producer has written the contents of a message again, so that there is a row too many."""
    original = next(one for one in mqs.messages("orders") if one.partition == 0)
    mqs.append("orders", 0, original.value, key=original.key)
    work = partial(verify, replays=replays, on_unverified=word)

    if fails:
        with pytest.raises(ResendError):
            work()
    else:
        result = work()
        assert result["verified"] is None
        assert result["unproven"][0]["reason"].endswith(".")


def test_a_service_that_fails_leaves_everything_open(mqs: MqsEmulator, replays: Any) -> None:
    """The task may be retried, and its result was pushed."""
    mqs.faults.error_500 = Rule(probability=1.0, operations=QUERIES)
    pushed = PushedXComs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_IMPATIENT", mqs.connection_json(max_retries=0))
        with pytest.raises(MqsError):
            verify({"ti": pushed}, replays=replays, mqs_conn_id="impatient")
    mqs.faults.error_500 = Rule()

    assert pushed["return_value"]["verified"] is None
    assert verify(replays=replays)["verified"] is True


def test_without_a_record_there_is_nobody_to_ask(
    mqs: MqsEmulator, replays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says where the record may be."""
    monkeypatch.setenv("AIRFLOW__MQS__LEDGER_PATH", "")

    with pytest.raises(AirflowFailException, match="ledger_path"):
        verify(replays=replays)


def test_a_record_without_these_replays_is_the_wrong_one(mqs: MqsEmulator, replays: Any, tmp_path: Path) -> None:
    """The resends had another ledger_path."""
    with pytest.raises(AirflowFailException, match="ledger_path"):
        verify(replays=replays, ledger_path=str(tmp_path / "empty"))


def _by_signal(number: signal.Signals) -> Callable[[VerifyReplayOperator], None]:
    return lambda _: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (_by_signal(signal.SIGTERM), ResendError),
        (_by_signal(signal.SIGALRM), AirflowTaskTimeout),
        (VerifyReplayOperator.on_kill, ResendError),
    ],
    ids=["SIGTERM", "SIGALRM", "on_kill"],
)
def test_a_stop_ends_it_at_once(mqs: MqsEmulator, replays: Any, end: Any, error: type[Exception]) -> None:
    """Although the service does not answer; the result is pushed."""
    mqs.faults.latency_s, mqs.faults.latency_operations = 30.0, QUERIES
    operator, pushed = VerifyReplayOperator(task_id="verify", replays=replays), PushedXComs()
    timer = threading.Timer(0.4, end, (operator,))

    timer.start()
    began_s = time.monotonic()
    with pytest.raises(error, match=r"SIGTERM|execution_timeout|killed"):
        operator.execute({"ti": pushed})

    assert time.monotonic() - began_s < 4.5
    assert pushed["return_value"]["verified"] is None
    mqs.faults.latency_s = 0.0


def test_killing_a_task_that_does_not_run_is_harmless() -> None:
    """``on_kill`` may come before it begins."""
    VerifyReplayOperator(task_id="verify", topic="orders").on_kill()
