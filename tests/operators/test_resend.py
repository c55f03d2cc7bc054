"""``ResendMessagesOperator`` on the real local service: what is sent, reported, refused and never repeated."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_mqs.emulator.rules import Rule
from airflow_provider_mqs.exceptions import ResendError
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
INTERVAL = {"data_interval_start": START, "data_interval_end": END}


class PushedXComs(dict[str, Any]):
    """What a task instance is asked to push."""

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = value


def resend(messages: Any, context: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    return ResendMessagesOperator(task_id="resend", messages=messages, **arguments).execute(context or {})


@pytest.fixture
def messages(mqs: MqsEmulator) -> Any:
    mqs.seed("orders", 300, START, END, partitions=3, gap_every=40)
    return QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL)


@pytest.mark.parametrize("ordering", ["partition", "none"])
def test_each_message_is_sent_once(mqs: MqsEmulator, messages: Any, ordering: str) -> None:
    """The service's own log shows every message of the window exactly once, and no other."""
    report = resend(messages, ordering=ordering)

    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", START, END), 1)
    assert report["schema"] == "mqs.replay/1"
    assert (report["requested"], report["sent"], report["failed"], report["unknown"]) == (300, 300, 0, 0)
    assert report["sent_ranges"] == {number: part["ranges"] for number, part in messages["partitions"].items()}
    assert report["digest"] == messages["digest"]
    assert report["verified"] is None
    assert report["window"] == messages["window"]


def test_the_order_inside_each_partition_is_kept(mqs: MqsEmulator, messages: Any) -> None:
    """With the default ordering, copies follow each other as their sources do."""
    resend(messages)

    for partition in range(3):
        order = [one.message_offset for one in mqs.resends("orders") if one.partition == partition]
        assert order == sorted(order)


def test_a_dry_run_sends_nothing_and_reports_the_plan(mqs: MqsEmulator, messages: Any) -> None:
    """``dry_run`` as text of a template is understood."""
    report = resend(messages, dry_run="True")

    assert mqs.resends("orders") == []
    assert report["dry_run"] is True
    assert report["not_attempted"] == report["requested"] == 300


def test_the_consumer_key_reaches_the_header_of_each_copy(mqs: MqsEmulator) -> None:
    """The key is sent only when set."""
    mqs.append("orders", 0, "one")
    place = [{"partition": 0, "message_offset": 0}]

    resend(place, topic="orders", consumer_key="keyA")
    resend(place, topic="orders", consumer_key="")

    assert [one.consumer_key for one in mqs.resends("orders")] == ["keyA", None]


def test_plain_items_given_twice_are_sent_once(mqs: MqsEmulator) -> None:
    """Equal items are one message."""
    mqs.append("orders", 0, "one")

    report = resend(json.dumps([{"partition": 0, "message_offset": 0}] * 2), topic="orders")

    assert report["requested"] == 1
    assert mqs.resend_counts("orders") == {(0, 0): 1}


def test_nothing_to_send_is_a_success(mqs: MqsEmulator) -> None:
    """An empty list needs no topic and makes no request."""
    report = resend([])

    assert report["requested"] == 0
    assert mqs.requests() == []


def test_a_refused_message_stops_the_run_and_the_report_is_pushed(mqs: MqsEmulator) -> None:
    """With the default ``on_failure`` nothing is sent behind the first failure."""
    for number in range(5):
        mqs.append("orders", 0, str(number))
    items = [{"partition": 0, "message_offset": offset} for offset in (0, 1, 77, 3, 4)]
    pushed = PushedXComs()

    with pytest.raises(AirflowFailException, match="4 of 5 messages sent, 1 failed"):
        resend(items, {"ti": pushed}, topic="orders")

    report = pushed["return_value"]
    assert (report["sent"], report["failed"], report["not_attempted"]) == (4, 1, 0)
    assert report["failures"][0]["message_offset"] == 77
    assert report["failures"][0]["request_id"]


def test_on_failure_continue_leaves_the_failed_message_out(mqs: MqsEmulator) -> None:
    """Allowed failures do not fail the task; the others keep their order."""
    for number in range(4):
        mqs.append("orders", 0, str(number))
    mqs.faults.error_500 = Rule(next=1, operations=frozenset({"resend"}))
    items = [{"partition": 0, "message_offset": offset} for offset in range(4)]

    report = resend(items, topic="orders", on_failure="continue", max_failures=1)

    assert (report["sent"], report["unknown"]) == (3, 1)
    assert [one.message_offset for one in mqs.resends("orders")] == [1, 2, 3]


def test_an_ambiguous_answer_is_unknown_and_never_repeated(mqs: MqsEmulator, messages: Any) -> None:
    """A 504 behind the append fails the task, with one copy in the topic."""
    mqs.faults.timeout_504 = Rule(next=1, operations=frozenset({"resend"}))
    pushed = PushedXComs()

    with pytest.raises(AirflowFailException, match="1 unknown"):
        resend(messages, {"ti": pushed}, concurrency=1)

    assert pushed["return_value"]["unknown"] == 1
    assert set(mqs.resend_counts("orders").values()) == {1}


def test_where_nothing_was_sent_airflow_may_retry(mqs: MqsEmulator, messages: Any) -> None:
    """A run that posted nothing at all ends with an error that is not final."""
    mqs.faults.throttle_429 = Rule(probability=1.0, operations=frozenset({"resend"}))
    operator = ResendMessagesOperator(task_id="resend", messages=messages, mqs_conn_id="impatient")
    connection = mqs.connection_json(max_retries=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_IMPATIENT", connection)
        with pytest.raises(ResendError, match="0 of 300"):
            operator.execute({})


def test_a_stopped_task_starts_no_further_message(mqs: MqsEmulator, messages: Any) -> None:
    """``on_kill`` ends the run early, and that is no success."""
    operator = ResendMessagesOperator(task_id="resend", messages=messages, concurrency=1, max_rate=50)
    mqs.service.state.faults.latency_s = 0.0
    sent = 0

    def stop_soon(*_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == 3:
            operator.on_kill()

    original = mqs.service.state.store.log_resend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mqs.service.state.store, "log_resend", lambda one: (original(one), stop_soon())[0])
        with pytest.raises(AirflowFailException, match="killed"):
            operator.execute({})

    assert len(mqs.resends("orders")) == 3


def test_a_timeout_in_the_middle_is_final_and_keeps_the_report(mqs: MqsEmulator, messages: Any) -> None:
    """``execution_timeout`` ends the run with a report, and without a retry that would send twice."""
    mqs.faults.latency_s = 0.02
    pushed = PushedXComs()

    def alarm(*_: object) -> None:
        raise AirflowTaskTimeout("execution_timeout")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(AirflowFailException, match="AirflowTaskTimeout"):
            resend(messages, {"ti": pushed}, concurrency=2)
    finally:
        signal.signal(signal.SIGALRM, before)

    report = pushed["return_value"]
    resent = len(mqs.resend_counts("orders"))
    assert 0 < report["sent"] <= resent <= report["sent"] + report["unknown"]
    assert report["sent"] + report["unknown"] + report["not_attempted"] == report["requested"] == 300


@pytest.mark.parametrize(("try_number", "warned"), [(1, False), (2, True)])
def test_a_later_try_is_warned_about(mqs: MqsEmulator, *, try_number: int, warned: bool) -> None:
    """Nothing remembers what a try that was killed has sent, and the log says so."""
    mqs.append("orders", 0, "one")
    place = [{"partition": 0, "message_offset": 0}]
    operator = ResendMessagesOperator(task_id="resend", messages=place, topic="orders")
    said: list[str] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator.log, "warning", lambda text, *values: said.append(text % values))
        report = operator.execute({"ti": SimpleNamespace(try_number=try_number)})

    assert report["run"]["try_number"] == try_number
    assert [sentence.startswith("This is try 2") for sentence in said] == [True] * warned


def test_killing_a_task_that_does_not_send_is_harmless(mqs: MqsEmulator) -> None:
    """``on_kill`` may come before the first message, or behind the last."""
    operator = ResendMessagesOperator(task_id="resend", messages=[])

    operator.on_kill()

    assert operator.execute({})["requested"] == 0


def test_the_connection_limits_the_rate(mqs: MqsEmulator, messages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower of the two rates holds, shared among the batches."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(max_rate=1000))
    operator = ResendMessagesOperator(task_id="resend", messages=messages, max_rate=5000, dry_run=True)
    operator.execute({})
    batches = QueryMessagesOperator(task_id="query", topic="orders", batch_size=100).execute(INTERVAL)

    rates = [operator._sending(*_settings_and_plan(operator, batch)).max_rate for batch in [messages, *batches]]

    assert rates == [1000, *[pytest.approx(1000 / 3)] * 3]


def _settings_and_plan(operator: ResendMessagesOperator, messages: Any) -> tuple[Any, Any]:
    from airflow_provider_mqs.hooks.mqs import MqsHook

    hook = MqsHook()
    operator.messages = messages
    return hook.settings, operator._plan(hook)
