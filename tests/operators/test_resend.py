"""``ResendMessagesOperator`` on the real local service: what is sent, reported, refused and never repeated."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import ResendError
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from tests.support import started_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    assert report["verified"] is True
    assert sum(last - first + 1 for ranges in report["copies"].values() for first, last in ranges) == 300
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
    items = [{"partition": 0, "message_offset": 0}]

    resend(items, topic="orders", consumer_key="keyA")
    resend(items, topic="orders", consumer_key="")

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
    """With the default ``on_failure`` nothing is sent after the first failure."""
    for number in range(5):
        mqs.append("orders", 0, str(number))
    mqs.faults.error_400 = Rule(probability=1.0, only=frozenset({(0, 3)}), operations=frozenset({"resend"}))
    items = [{"partition": 0, "message_offset": offset} for offset in range(5)]
    pushed = PushedXComs()

    with pytest.raises(AirflowFailException, match="3 of 5 messages sent, 0 already sent, 1 failed"):
        resend(items, {"ti": pushed}, topic="orders", durable=False)

    report = pushed["return_value"]
    assert (report["sent"], report["failed"], report["not_attempted"]) == (3, 1, 1)
    assert report["failures"][0]["message_offset"] == 3
    assert report["failures"][0]["request_id"]


def test_on_failure_continue_leaves_the_failed_message_out(mqs: MqsEmulator) -> None:
    """Allowed failures do not fail the task; the others keep their order."""
    for number in range(4):
        mqs.append("orders", 0, str(number))
    mqs.faults.error_500 = Rule(next=1, operations=frozenset({"resend"}))
    items = [{"partition": 0, "message_offset": offset} for offset in range(4)]

    report = resend(items, topic="orders", on_failure="continue", max_failures=1, on_unknown="fail", verify_wait=0.5)

    assert (report["sent"], report["unknown"]) == (3, 1)
    assert [one.message_offset for one in mqs.resends("orders")] == [1, 2, 3]


def test_an_ambiguous_answer_is_resolved_by_its_copy(mqs: MqsEmulator, messages: Any) -> None:
    """A 504 after the append counts as sent, because the copy is there."""
    mqs.faults.timeout_504 = Rule(next=1, skip=1, operations=frozenset({"resend"}))

    report = resend(messages, concurrency=1)

    assert (report["sent"], report["unknown"], report["verified"]) == (300, 0, True)
    assert set(mqs.resend_counts("orders").values()) == {1}


def test_a_message_that_was_lost_is_sent_after_the_wait(mqs: MqsEmulator, messages: Any) -> None:
    """A 504 without an append is sent again, once no copy has come into sight."""
    mqs.faults.lost_504 = Rule(next=1, skip=5, operations=frozenset({"resend"}))

    report = resend(messages, verify_wait=1)

    assert (report["sent"], report["unknown"]) == (300, 0)
    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", START, END), 1)


def test_on_unknown_fail_names_the_message_in_doubt(mqs: MqsEmulator, messages: Any) -> None:
    """The copy is not looked for, and the message is not sent again."""
    mqs.faults.timeout_504 = Rule(next=1, operations=frozenset({"resend"}))
    pushed = PushedXComs()

    with pytest.raises(AirflowFailException, match=r"1 unknown.*in doubt: message_offset"):
        resend(messages, {"ti": pushed}, concurrency=1, on_unknown="fail", durable=False)

    assert pushed["return_value"]["unknown"] == 1
    assert set(mqs.resend_counts("orders").values()) == {1}


def test_on_unknown_resend_names_what_is_perhaps_sent_twice(mqs: MqsEmulator, messages: Any) -> None:
    """The report lists the messages that were posted again on a guess."""
    mqs.faults.timeout_504 = Rule(next=2, operations=frozenset({"resend"}))

    report = resend(messages, concurrency=1, on_unknown="resend", verify=False)

    twice = {ref for ref, times in mqs.resend_counts("orders").items() if times > 1}
    assert {(int(p), first) for p, ranges in report["possible_doubles"].items() for first, _ in ranges} == twice
    assert twice


@pytest.fixture
def blind(mqs: MqsEmulator, messages: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[MqsEmulator]:
    """Let nobody query the topic once the last message is sent, so that no copy can be told."""
    store, total = mqs.service.state.store, messages["count"]
    original = store.log_resend

    def log_resend(one: Any) -> Any:
        logged = original(one)
        if len(store.resends("orders")) >= total:
            mqs.faults.error_400 = Rule(probability=1.0, operations=frozenset({"query", "content"}))
        return logged

    monkeypatch.setattr(store, "log_resend", log_resend)
    return mqs


def test_copies_that_nobody_can_tell_are_a_warning(
    blind: MqsEmulator, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """By default the task succeeds: everything was sent; the log says what is not known."""
    report = resend(messages)

    assert (report["sent"], report["verified"]) == (300, None)
    assert "It could not be told whether each message has its copy." in caplog.messages
    assert len(blind.resends("orders")) == 300


def test_copies_that_nobody_can_tell_fail_the_task_if_it_says_so(
    blind: MqsEmulator, messages: Any, tmp_path: Path
) -> None:
    """A retry looks again and sends nothing."""
    arguments = {"on_unverified": "fail", "ledger_path": str(tmp_path)}
    first = _try(1, 1)
    with pytest.raises(ResendError, match="could not be told whether each message has its copy"):
        resend(messages, first, **arguments)
    blind.faults.error_400 = Rule()

    again = resend(messages, _try(1, 2), **arguments)

    report = first["ti"]["return_value"]
    assert (report["sent"], report["verified"]) == (300, None)
    assert (again["sent"], again["verified"]) == (300, True)
    assert set(blind.resend_counts("orders").values()) == {1}


def test_copies_that_are_not_looked_for_cannot_fail_the_task(mqs: MqsEmulator, messages: Any) -> None:
    """The two arguments contradict each other, which is said before anything is sent."""
    with pytest.raises(AirflowFailException, match="set verify=True"):
        resend(messages, verify=False, on_unverified="fail")

    assert mqs.resends("orders") == []


def test_a_second_try_without_a_ledger_is_refused(mqs: MqsEmulator, messages: Any) -> None:
    """Nobody knows what the first try has sent before it was killed; the sentence says what to do."""
    with pytest.raises(AirflowFailException, match=r"This is try 2.*durable.*trigger a new run"):
        resend(messages, {"ti": _try(1, 2)["ti"]}, durable=False)

    assert mqs.requests("resend") == []


def test_a_second_dry_run_without_a_ledger_is_allowed(mqs: MqsEmulator, messages: Any) -> None:
    """It sends nothing."""
    assert resend(messages, {"ti": _try(1, 2)["ti"]}, durable=False, dry_run=True)["dry_run"] is True
    assert mqs.requests("resend") == []


def test_if_nothing_was_sent_airflow_may_retry(mqs: MqsEmulator, messages: Any) -> None:
    """A run of which the service took no message ends with an error that is not final."""
    mqs.faults.error_400 = Rule(probability=1.0, operations=frozenset({"resend"}))

    with pytest.raises(ResendError, match="0 of 300"):
        resend(messages)


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


@pytest.mark.parametrize("durable", [True, False])
def test_execution_timeout_ends_in_order(mqs: MqsEmulator, messages: Any, tmp_path: Path, *, durable: bool) -> None:
    """SIGALRM does not break in: what is in flight ends, the report is pushed, the next try sends the rest."""
    mqs.faults.latency_s, mqs.faults.latency_operations = 0.02, frozenset({"resend"})
    pushed = PushedXComs()
    arguments: dict[str, Any] = {"durable": durable, "ledger_path": str(tmp_path)}

    signal.setitimer(signal.ITIMER_REAL, 0.6)
    with pytest.raises(AirflowTaskTimeout, match="execution_timeout"):
        resend(messages, {"ti": pushed}, concurrency=2, verify=False, **arguments)

    report = pushed["return_value"]
    assert 0 < report["sent"] == len(mqs.resend_counts("orders")) < 300
    assert report["unknown"] == 0
    if durable:
        mqs.faults.latency_s = 0.0
        later = resend(messages, **arguments)
        assert later["already_sent"] + later["sent"] == 300
        assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", START, END), 1)


def test_sigterm_ends_in_order(mqs: MqsEmulator, messages: Any, tmp_path: Path) -> None:
    """The task fails so that a retry may go on, and says that SIGTERM ended it."""
    mqs.faults.latency_s, mqs.faults.latency_operations = 0.02, frozenset({"resend"})
    timer = threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGTERM))

    timer.start()
    with pytest.raises(ResendError, match="SIGTERM"):
        resend(messages, concurrency=2, ledger_path=str(tmp_path))

    assert 0 < len(mqs.resend_counts("orders")) < 300


def test_a_second_run_sends_nothing_and_is_skipped(mqs: MqsEmulator, messages: Any, tmp_path: Path) -> None:
    """Another run of the same messages finds the ledger; the warning names who sent them."""
    resend(messages, ledger_path=str(tmp_path))

    with pytest.raises(AirflowSkipException, match="sent already"):
        resend(messages, ledger_path=str(tmp_path))

    assert set(mqs.resend_counts("orders").values()) == {1}


def test_on_replayed_fail_refuses_before_the_first_message(mqs: MqsEmulator, messages: Any, tmp_path: Path) -> None:
    """The sentence says how many were sent already."""
    resend(messages, ledger_path=str(tmp_path))

    with pytest.raises(AirflowFailException, match="300 of these messages were sent already"):
        resend(messages, ledger_path=str(tmp_path), on_replayed="fail")

    assert set(mqs.resend_counts("orders").values()) == {1}


def test_on_replayed_resend_sends_again(mqs: MqsEmulator, messages: Any, tmp_path: Path) -> None:
    """Each message is then there twice, as was asked for."""
    resend(messages, ledger_path=str(tmp_path))

    report = resend(messages, ledger_path=str(tmp_path), on_replayed="resend")

    assert (report["sent"], report["already_sent"]) == (300, 0)
    assert set(mqs.resend_counts("orders").values()) == {2}


def test_an_overlapping_window_sends_only_what_is_new(mqs: MqsEmulator, tmp_path: Path) -> None:
    """``on_replayed`` works on messages, not on windows."""
    mqs.seed("orders", 300, START, END, partitions=3)
    middle = START + (END - START) / 2
    half = QueryMessagesOperator(task_id="query", topic="orders", start=START, end=middle).execute({})
    whole = QueryMessagesOperator(task_id="query", topic="orders", start=START, end=END).execute({})
    first = resend(half, ledger_path=str(tmp_path))

    report = resend(whole, ledger_path=str(tmp_path))

    assert (report["already_sent"], report["sent"]) == (first["sent"], 300 - first["sent"])
    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", START, END), 1)


def test_the_canary_is_sent_and_verified_first(mqs: MqsEmulator, messages: Any) -> None:
    """If copies cannot be seen, nothing but the canary is sent."""
    mqs.faults.visible_after_s = 60

    with pytest.raises(AirflowFailException, match="canary"):
        resend(messages, canary=6, verify_wait=0.2)

    assert len(mqs.resend_counts("orders")) == 6


def test_a_canary_that_is_well_lets_the_others_go(mqs: MqsEmulator, messages: Any) -> None:
    """All messages are sent, once."""
    report = resend(messages, canary=6)

    assert (report["sent"], report["plan"]["canary"]) == (300, 6)
    assert set(mqs.resend_counts("orders").values()) == {1}


@pytest.mark.parametrize("outcome", [True, RuntimeError("broken")])
def test_a_brake_stops_the_sending(mqs: MqsEmulator, messages: Any, tmp_path: Path, outcome: Any) -> None:
    """True stops, and so does an exception; the brake sees how far the replay is."""
    seen: list[Any] = []

    def brake(progress: Any) -> bool:
        seen.append(progress)
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    with pytest.raises(ResendError, match="brake"):
        resend(messages, max_rate=100, brake=brake, ledger_path=str(tmp_path))

    assert seen[0].requested == 300
    assert 0 < len(mqs.resend_counts("orders")) < 300


def test_a_scheduled_run_without_a_record_is_refused(mqs: MqsEmulator, messages: Any) -> None:
    """Its copies would come back in the next interval, for ever."""
    scheduled = {"dag_run": SimpleNamespace(run_type="scheduled")}

    with pytest.raises(AirflowFailException, match="ledger_path"):
        resend(messages, scheduled)

    assert mqs.requests("resend") == []


def test_five_scheduled_intervals_keep_a_constant_count(mqs: MqsEmulator, tmp_path: Path) -> None:
    """Each interval replays everything of the last hour, and the third fails half-way: no copy is ever sent again."""
    now = datetime.now(timezone.utc)
    mqs.seed("orders", 60, now - timedelta(minutes=10), now - timedelta(minutes=5), partitions=3)
    ledger = {"ledger_path": str(tmp_path)}
    counts = []
    for number in range(5):
        query = QueryMessagesOperator(
            task_id="query", topic="orders", lookback=3600, start=None, clamp_to_now=True, **ledger
        )
        end = datetime.now(timezone.utc)
        found = query.execute({"data_interval_start": end - timedelta(hours=1), "data_interval_end": end})
        counts.append(found["count"])
        arguments = {**ledger, "on_replayed": "resend", "messages": found, "verify_wait": 5}
        if number == 2:
            mqs.faults.error_400 = Rule(next=1, skip=30, operations=frozenset({"resend"}))
            with pytest.raises(ResendError):
                resend(**arguments, context=_try(number, 1))
        resend(**arguments, context=_try(number, 2))

    assert counts == [60] * 5
    assert set(mqs.resend_counts("orders").values()) == {5}


def _try(run: int, number: int) -> dict[str, Any]:
    """Build the context of a try of a scheduled run."""
    ti = PushedXComs()
    names = {"dag_id": "dag", "run_id": f"run {run}", "task_id": "resend", "map_index": -1, "max_tries": 1}
    for name, value in {**names, "try_number": number}.items():
        setattr(ti, name, value)
    return {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled")}


def test_a_dry_run_and_a_real_run_have_the_same_plan(mqs: MqsEmulator, messages: Any) -> None:
    """What is shown to a person is what is sent; only the estimated time is measured again."""
    plans = [resend(messages, dry_run=dry, max_rate=500, canary=2)["plan"] for dry in (True, False)]

    assert {**plans[0], "expected_s": 0} == {**plans[1], "expected_s": 0}


def test_a_stop_while_the_plan_is_checked_sends_nothing(mqs: MqsEmulator, messages: Any) -> None:
    """It is not lost because the sending has not begun."""
    operator = ResendMessagesOperator(task_id="resend", messages=messages)
    original = Replay.prepare

    async def prepare(self: Replay) -> Any:
        operator.on_kill()
        return await original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replay, "prepare", prepare)
        with pytest.raises(ResendError, match="killed"):
            operator.execute({})

    assert mqs.requests("resend") == []


def test_killing_a_task_that_does_not_send_is_harmless(mqs: MqsEmulator) -> None:
    """``on_kill`` may come before the first message, or after the last."""
    operator = ResendMessagesOperator(task_id="resend", messages=[])

    operator.on_kill()

    assert operator.execute({})["requested"] == 0


def test_killing_a_task_whose_replay_is_over_is_harmless(mqs: MqsEmulator, messages: Any) -> None:
    """Airflow calls ``on_kill`` when ``execute`` has raised ``AirflowTaskTimeout``; an error would take its place."""
    operator = ResendMessagesOperator(task_id="resend", messages=messages)
    operator.execute({})

    operator.on_kill()

    assert len(mqs.resends("orders")) == 300


def test_the_connection_limits_the_rate(mqs: MqsEmulator, messages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower of the two rates holds, shared among the batches."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(max_rate=1000))
    batches = QueryMessagesOperator(task_id="query", topic="orders", batch_size=100).execute(INTERVAL)

    rates = [resend(batch, max_rate=5000, dry_run=True)["plan"]["max_rate"] for batch in [messages, *batches]]

    assert rates == [1000, *[pytest.approx(1000 / 3)] * 3]


def part(start: int, end: int, **arguments: Any) -> dict[str, Any]:
    """Query some minutes of the hour, as the event of a watcher carries them."""
    window = {"start": START + timedelta(minutes=start), "end": START + timedelta(minutes=end)}
    return QueryMessagesOperator(task_id="query", topic="orders", **window, **arguments).execute({})


@pytest.mark.parametrize("topic", ["orders", None, "None"])
@pytest.mark.usefixtures("messages")
def test_the_messages_of_all_events_of_a_run_are_sent_once(mqs: MqsEmulator, topic: str | None) -> None:
    """Several events, one of them twice, two that overlap: they are one resend, which needs no template."""
    events = [part(0, 20), part(40, 50), part(10, 30), part(0, 20)]

    report = resend("events", started_by(*events), topic=topic, allow_self_trigger=True)

    wanted = mqs.offsets("orders", START, START + timedelta(minutes=30)) | mqs.offsets(
        "orders", START + timedelta(minutes=40), START + timedelta(minutes=50)
    )
    assert mqs.resend_counts("orders") == dict.fromkeys(wanted, 1)
    assert report["sent"] == report["requested"] == len(wanted)


def test_the_report_of_one_event_names_it(mqs: MqsEmulator, messages: Any) -> None:
    """Window and digest are those of the event, and a template may say ``events``."""
    operator = ResendMessagesOperator(task_id="resend", messages="{{ params.what }}", dry_run=True)
    operator.render_template_fields({"params": {"what": " events"}})

    report = operator.execute(started_by(messages))

    assert (report["window"], report["digest"]) == (messages["window"], messages["digest"])
    assert report["plan"]["count"] == 300
    assert mqs.resends("orders") == []


def test_an_event_that_comes_again_with_the_next_run_is_not_sent_again(
    mqs: MqsEmulator, messages: Any, tmp_path: Path
) -> None:
    """Delivery is at least once; the record knows each message, however the events were joined."""
    remembered = {"allow_self_trigger": True, "ledger_path": str(tmp_path)}
    first = resend("events", started_by(part(0, 30)), **remembered)

    second = resend("events", started_by(part(0, 30), messages), **remembered)

    assert (second["already_sent"], second["sent"]) == (first["sent"], 300 - first["sent"])
    assert set(mqs.resend_counts("orders").values()) == {1}


def test_a_resend_to_the_topic_of_its_events_is_refused(mqs: MqsEmulator, messages: Any) -> None:
    """Unless somebody says so: the guard is the same as for any other messages."""
    with pytest.raises(AirflowFailException, match="allow_self_trigger=True"):
        resend("events", started_by(messages))

    assert mqs.resends("orders") == []


def test_an_event_that_is_not_complete_is_refused(mqs: MqsEmulator, messages: Any) -> None:
    """Even if another event of the run holds all of its messages."""
    doubtful = replace(Offsets.from_xcom(messages), complete=False).to_xcom()

    with pytest.raises(AirflowFailException, match="messages is not complete"):
        resend("events", started_by(messages, doubtful), allow_self_trigger=True)

    assert mqs.resends("orders") == []


@pytest.mark.parametrize("given", [None, "None", ""])
def test_messages_that_are_missing_are_never_those_of_the_events(mqs: MqsEmulator, messages: Any, given: Any) -> None:
    """A query that was skipped leaves nothing, which must not mean everything."""
    with pytest.raises(AirflowFailException, match="messages is"):
        resend(given, started_by(messages), allow_self_trigger=True)

    assert mqs.resends("orders") == []


def test_a_run_that_no_event_started_has_no_messages_of_events(mqs: MqsEmulator, messages: Any) -> None:
    """A person triggered the run: the error says what to set."""
    run = SimpleNamespace(run_type="manual")

    with pytest.raises(AirflowFailException, match="no event started this one"):
        resend("events", {**started_by(messages), "dag_run": run})
