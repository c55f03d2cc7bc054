"""``MessagesInWindowSensor`` on the real local service: poked, rescheduled and deferred, with one outcome for all."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    Asset,
    TaskDeferred,
    conf,
)

from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator
from airflow_provider_mqs.sensors import mqs as module
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor
from tests.airflow import AIRFLOW
from tests.support import started_by

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
INTERVAL: Any = {"data_interval_start": START, "data_interval_end": END}
FUTURE: Any = {"data_interval_start": END, "data_interval_end": datetime.now(timezone.utc) + timedelta(hours=3)}
MODES = ("poke", "reschedule", "deferred")


class FirstTry:
    """What reschedule mode reads of a task instance."""

    dag_id = task_id = run_id = "wait"
    map_index, max_tries, try_number = -1, 0, 1

    def __init__(self) -> None:
        self.started = datetime.now(timezone.utc)

    def get_first_reschedule_date(self, _context: Any) -> datetime:
        return self.started


class Store(dict[str, Any]):
    """The two calls of Airflow's task state store that are used."""

    set = dict.__setitem__


def sensor(**arguments: Any) -> MessagesInWindowSensor:
    return MessagesInWindowSensor(task_id="wait", **{"topic": "orders", "poke_interval": 0, **arguments})


def poked(context: Any = None, **arguments: Any) -> Any:
    return sensor(**arguments).execute(INTERVAL if context is None else context)


def rescheduled(context: Any = None, **arguments: Any) -> Any:
    """Run each poke as a process of its own, until one ends the waiting."""
    known: Any = context or {**INTERVAL, "ti": FirstTry(), "task_state_store": Store()}
    try:
        return sensor(mode="reschedule", **arguments).execute(known)
    except AirflowException as error:
        if type(error).__name__ != "AirflowRescheduleException":
            raise
    return rescheduled(known, **arguments)


def deferred(**arguments: Any) -> Any:
    """Run the sensor, its trigger as the triggerer makes it, and the sensor again."""
    try:
        return sensor(deferrable=True, **arguments).execute(INTERVAL)
    except TaskDeferred as deferral:
        payload = asyncio.run(event_of(deferral))
        again = sensor(deferrable=True, **arguments)
        return again.resume_execution(deferral.method_name, {"event": payload}, INTERVAL)


async def event_of(deferral: TaskDeferred) -> Any:
    path, arguments = deferral.trigger.serialize()
    room, _, name = path.rpartition(".")
    trigger = getattr(import_module(room), name)(**json.loads(json.dumps(arguments)))
    (event,) = [event async for event in trigger.run()]
    return json.loads(json.dumps(event.payload))


RUN = {"poke": poked, "reschedule": rescheduled, "deferred": deferred}


@pytest.fixture(autouse=True)
def _service(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(max_retries=0))
    mqs.seed("orders", 60, START, END, partitions=3, tags=("a", "b"))
    mqs.seed("orders", 6, END, END + timedelta(minutes=1), partitions=3)
    mqs.seed("empty", 0, START, END, partitions=3)


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 2.11 reads in its database when a rescheduled sensor began; give that instead."""
    base = import_module(MessagesInWindowSensor.__mro__[1].__module__)
    started = datetime.now(timezone.utc)
    if hasattr(base, "_orig_start_date"):
        monkeypatch.setattr(base, "_orig_start_date", lambda **_: started)


OUTCOMES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "too few, skip": ({"topic": "empty"}, AirflowSkipException),
    "too few in a partition": ({"min_per_partition": 21}, AirflowSkipException),
    "a key is missing": ({"expected_keys": ["nowhere"]}, AirflowSkipException),
    "too few, fail": ({"topic": "empty", "on_closed_empty": "fail"}, AirflowFailException),
    "timeout": ({"topic": "empty", "on_closed_empty": "wait", "timeout": 0}, AirflowSensorTimeout),
    "wrong topic": ({"topic": "nothing"}, AirflowFailException),
    "wrong argument": ({"min_messages": "many"}, AirflowFailException),
    "service down": ({"max_consecutive_errors": 2}, AirflowException),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("setting", [None, "soft_fail", "never_fail"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_ends_alike(mode: str, setting: str | None, outcome: str, mqs: MqsEmulator) -> None:
    """Each outcome is the same kind of end in each mode; ``soft_fail`` and ``never_fail`` make each of them a skip."""
    arguments, failure = OUTCOMES[outcome]
    if outcome == "service down":
        mqs.faults.throttle_429 = Rule(probability=1.0, operations=frozenset({"query"}))

    with pytest.raises(AirflowException) as caught:
        RUN[mode](**arguments, **({setting: True} if setting else {}))

    assert type(caught.value) is (AirflowSkipException if setting else failure)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_finds_the_same(mode: str) -> None:
    """A plain dict with the two ends of a data interval is enough of a context."""
    found = RUN[mode](min_messages=60)

    assert json.loads(json.dumps(found)) == found
    assert (found["count"], found["exact"]) == (60, True)
    assert found["window"]["source"] == "data_interval"


def test_a_run_that_events_started_has_their_window(mqs: MqsEmulator) -> None:
    """What came late is counted, too, though no event told of it yet."""
    event = QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL)
    mqs.append("orders", 0, "late", timestamp_ms=int(START.timestamp() * 1000))

    found = poked(started_by(event), min_per_partition=20)

    assert found["count"] == event["count"] + 1
    assert found["window"] == {**event["window"], "source": "event"}


@pytest.mark.parametrize("mode", MODES)
def test_errors_that_pass_are_forgotten(mode: str, mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two errors in a row, of three allowed, do no harm."""
    from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger

    async def at_once(_: float) -> None:
        """Take no time."""

    monkeypatch.setattr(MessagesInWindowTrigger, "_sleep", staticmethod(at_once))
    mqs.faults.throttle_429 = Rule(next=2, operations=frozenset({"query"}))

    assert RUN[mode](max_consecutive_errors=3)["count"] >= 60


@pytest.mark.parametrize("mode", MODES)
def test_every_partition_and_key_may_have_to_be_there(mode: str) -> None:
    """The count of each partition is pushed where it was asked for."""
    found = RUN[mode](min_per_partition=20, expected_keys="key-0")

    assert found["partitions"] == {"0": 20, "1": 20, "2": 20}
    assert "missing_keys" not in found


@pytest.mark.parametrize("mode", MODES)
def test_a_number_may_have_to_stand_still(mode: str, mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many looks in a row find the same; what a look before the deferral has found counts."""
    from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger

    async def at_once(_: float) -> None:
        """Take no time."""

    monkeypatch.setattr(MessagesInWindowTrigger, "_sleep", staticmethod(at_once))
    RUN[mode](stable_polls=3)

    assert len(mqs.requests("query")) == 3


def test_a_late_message_makes_the_looks_begin_anew(mqs: MqsEmulator) -> None:
    """It is found before the window counts as final."""
    waiting = sensor(stable_polls=2)

    assert waiting.poke(INTERVAL) is False
    mqs.append("orders", 0, "late", timestamp_ms=int(START.timestamp() * 1000))
    assert waiting.poke(INTERVAL) is False
    assert waiting.poke(INTERVAL)


def test_without_a_state_store_reschedule_mode_cannot_tell_what_stands_still() -> None:
    """Below Airflow 3.3; the sentence names both ways out."""
    with pytest.raises(AirflowFailException, match="mode='poke' or deferrable=True"):
        rescheduled({**INTERVAL, "ti": FirstTry()}, stable_polls=2)


def test_without_a_state_store_the_timeout_bounds_the_errors_of_reschedule_mode(mqs: MqsEmulator) -> None:
    """Below Airflow 3.3 no poke knows the one before, so that only the time can be up."""
    mqs.faults.throttle_429 = Rule(probability=1.0, operations=frozenset({"query"}))
    context = {**INTERVAL, "ti": FirstTry()}

    with pytest.raises(AirflowSensorTimeout):
        rescheduled(context, max_consecutive_errors=3, timeout=0.05)
    assert mqs.requests("query")


def test_one_request_a_poke(mqs: MqsEmulator) -> None:
    """Nothing is filtered and little is wanted, so the total of the first page is enough."""
    poking = sensor(topic="empty", on_closed_empty="wait")

    assert [poking.poke(INTERVAL) for _ in range(3)] == [False, False, False]
    assert len(mqs.requests("query")) == 3
    assert len(mqs.requests("topics")) == 1


@pytest.mark.parametrize("mode", ["poke", "deferred"])
def test_before_the_window_is_final_nothing_is_asked(mode: str, mqs: MqsEmulator) -> None:
    """A window that ends in the future cannot be final, whatever it holds."""
    waiting = sensor(deferrable=mode == "deferred")

    if mode == "poke":
        assert waiting.poke(FUTURE) is False
    else:
        with pytest.raises(TaskDeferred):
            waiting.execute(FUTURE)
    assert mqs.requests() == []


def test_settle_is_part_of_being_final(mqs: MqsEmulator) -> None:
    """An hour that ended less than ``settle`` ago is not looked at, and looked at without it."""
    assert sensor(settle=timedelta(days=1)).poke(INTERVAL) is False
    assert mqs.requests() == []
    assert sensor(settle="0").poke(INTERVAL)


def test_filters_are_exact() -> None:
    """Tag and partition narrow the count on our side, in the triggerer as well."""
    assert poked(tag="a")["count"] == 30
    assert poked(partitions="0,1")["count"] == 40
    assert deferred(tag="a", partitions=[0])["count"] == 10
    assert poked(message_filter=lambda message: message.partition == 2)["count"] == 20


def test_a_function_cannot_be_deferred() -> None:
    """The sentence names both arguments and the remedy."""
    with pytest.raises(AirflowFailException, match="message_filter does not work with deferrable=True"):
        deferred(message_filter=bool)


def test_an_explicit_window_needs_no_interval() -> None:
    """Start and end win over the context, which may be empty; the window is resolved once."""
    assert poked({}, start=START, end=END.isoformat())["window"]["source"] == "explicit"


def test_zero_messages_are_enough_where_only_the_end_is_waited_for() -> None:
    """``min_messages=0`` waits until the window is final and succeeds, empty or not."""
    assert poked(topic="empty", min_messages=0)["count"] == 0


def test_a_second_execution_starts_anew() -> None:
    """An operator object that runs twice looks at the window of each run."""
    waiting = sensor(min_messages=0)
    shorter: Any = {**INTERVAL, "data_interval_end": END - timedelta(minutes=30)}

    first, second = waiting.execute(INTERVAL), waiting.execute(shorter)

    assert first["window"]["end"] != second["window"]["end"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"topic": "1orders"},
        {"min_messages": -1},
        {"min_per_partition": "few"},
        {"expected_keys": [1]},
        {"expected_keys": "[1"},
        {"stable_polls": 0},
        {"settle": "soon"},
        {"on_closed_empty": "succeed"},
        {"max_consecutive_errors": 0},
        {"lookback": 0},
        {"start": END, "end": START},
        {"partitions": "a"},
        {"fetch_values": True},
        {"instance_id": "a/b"},
    ],
)
def test_bad_input_is_one_sentence_and_no_request(arguments: dict[str, Any], mqs: MqsEmulator) -> None:
    """The sentence names the argument; neither a retry nor a poll follows."""
    with pytest.raises(AirflowFailException) as caught:
        poked(**arguments)
    assert next(iter(arguments)) in str(caught.value) or "window" in str(caught.value)
    assert mqs.requests() == []


def test_a_deferral_carries_every_setting_and_no_secret(mqs: MqsEmulator) -> None:
    """Pace, limits, filters, connection and an absolute deadline travel; Airflow's own limit comes later."""
    before_s = datetime.now(timezone.utc).timestamp()
    with pytest.raises(TaskDeferred) as caught:
        sensor(
            deferrable=True,
            topic="empty",
            key="k",
            min_messages="7",
            min_per_partition="2",
            expected_keys="a, b, a",
            stable_polls="3",
            settle=5,
            on_closed_empty="wait",
            max_consecutive_errors="4",
            poke_interval=30,
            exponential_backoff=True,
            max_wait=timedelta(minutes=5),
            timeout=3600,
            instance_id=mqs.identity.instance_id,
        ).execute(INTERVAL)

    _, arguments = caught.value.trigger.serialize()
    assert arguments["condition"] == {
        "topic": "empty",
        "start_ms": int(START.timestamp() * 1000),
        "end_ms": int(END.timestamp() * 1000),
        "source": "data_interval",
        "min_messages": 7,
        "settle_s": 5.0,
        "on_closed_empty": "wait",
        "filters": {"key": "k"},
        "min_per_partition": 2,
        "expected_keys": ["a", "b"],
        "stable_polls": 3,
    }
    assert arguments["looks"] == {"errors": 0, "count": 0, "same": 1}
    assert arguments["poll_policy"] == {
        "poke_interval_s": 30.0,
        "exponential_backoff": True,
        "max_wait_s": 300.0,
        "max_errors": 4,
    }
    assert 3600 <= arguments["deadline_s"] - before_s < 3610
    assert (arguments["mqs_conn_id"], arguments["instance_id"]) == ("mqs_default", mqs.identity.instance_id)
    assert timedelta(seconds=3600) < caught.value.timeout < timedelta(seconds=3700)
    assert mqs.identity.password not in json.dumps(arguments)


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        ({}, False),
        ({"end_from_trigger": True}, AIRFLOW >= (3, 0)),
        ({"end_from_trigger": "true"}, AIRFLOW >= (3, 0)),
        ({"end_from_trigger": True, "outlets": [Asset("mqs://host/i/orders")]}, False),
    ],
)
def test_the_triggerer_ends_the_task_only_where_that_loses_nothing(
    arguments: dict[str, Any], ends: bool, mqs: MqsEmulator
) -> None:
    """Where it is asked to, on Airflow 3, and where no event of an asset hangs on the task."""
    with pytest.raises(TaskDeferred) as caught:
        sensor(deferrable=True, topic="empty", on_closed_empty="wait", **arguments).execute(INTERVAL)

    assert caught.value.trigger.serialize()[1]["end_from_trigger"] is ends


def test_silent_fail_tolerates_errors_without_end(mqs: MqsEmulator) -> None:
    """As the base class promises; the triggerer is told the same."""
    mqs.faults.throttle_429 = Rule(next=1, operations=frozenset({"query"}))

    with pytest.raises(TaskDeferred) as caught:
        sensor(deferrable=True, silent_fail=True, max_consecutive_errors=1).execute(INTERVAL)
    assert caught.value.trigger.poll_policy.max_errors is None


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "success"}, {"status": "satisfied", "message": "", "result": None}]
)
def test_an_event_that_is_not_understood_fails_the_task(event: Any) -> None:
    """Never success on a doubt."""
    with pytest.raises(AirflowFailException, match="does not understand"):
        sensor(deferrable=True).execute_complete({}, event)


def test_airflow_says_whether_to_defer_where_the_dag_does_not() -> None:
    """``[operators] default_deferrable`` is the default."""
    assert sensor().deferrable is conf.getboolean("operators", "default_deferrable", fallback=False)


def test_trigger_classes_are_imported_only_to_defer() -> None:
    """Parsing a DAG file costs no asynchronous machinery."""
    assert not hasattr(module, "MessagesInWindowTrigger")


def test_every_argument_of_a_run_is_templated() -> None:
    """Whatever may depend on the run can be a template; values that Jinja makes are text."""
    waiting = sensor(topic="{{ params.topic }}", min_messages="{{ params.n }}", settle="{{ params.settle }}")

    waiting.render_template_fields({"params": {"topic": "orders", "n": 3, "settle": 1.5}})

    assert waiting.execute(INTERVAL)["count"] >= 60
