"""``MessagesInWindowTrigger`` on the real local service, with a time of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.watch.condition import Condition, PollPolicy
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.hooks import client_pool
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.triggers import mqs as module
from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger
from tests.airflow import AIRFLOW
from tests.support import END_MS, START_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.transport_aiohttp import AiohttpTransport
    from airflow_provider_mqs.testing import MqsEmulator

FINAL_S = END_MS / 1000 + 60.0


@dataclass
class Time:
    """A time that only sleeping moves."""

    now_s: float
    sleeps: list[float] = field(default_factory=list)
    on_sleep: Callable[[], object] = lambda: None

    async def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.sleeps.append(round(seconds, 3))
        self.now_s += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Put the trigger into a time that starts when the window is final, and where chance delays nothing."""
    own = Time(FINAL_S)
    monkeypatch.setattr("random.random", lambda: 0.0)
    monkeypatch.setattr(MessagesInWindowTrigger, "_now_s", staticmethod(lambda: own.now_s))
    monkeypatch.setattr(MessagesInWindowTrigger, "_sleep", staticmethod(own.sleep))
    return own


@pytest.fixture
def service(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> MqsEmulator:
    """Run a service that keeps messages for ever, behind a connection that does not retry by itself."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(max_retries=0))
    mqs.seed("orders", 0, START_MS, END_MS, partitions=3, retention_hours=1_000_000)
    return mqs


def trigger(**arguments: Any) -> MessagesInWindowTrigger:
    condition = {"topic": "orders", "window": TimeWindow(START_MS, END_MS)}
    return MessagesInWindowTrigger(
        condition=Condition(**{**condition, **arguments.pop("condition", {})}).to_json(),
        poll_policy=PollPolicy(**{"poke_interval_s": 60.0, **arguments.pop("poll_policy", {})}).to_json(),
        deadline_s=arguments.pop("deadline_s", FINAL_S + 1000.0),
        **arguments,
    )


async def events(trigger: MessagesInWindowTrigger) -> list[Any]:
    return [event.payload async for event in trigger.run()]


async def the_event(trigger: MessagesInWindowTrigger) -> dict[str, Any]:
    (payload,) = await events(trigger)
    assert json.loads(json.dumps(payload)) == payload
    return payload  # type: ignore[no-any-return]  # plain JSON


async def test_a_final_window_with_enough_messages_sends_one_event(service: MqsEmulator, time: Time) -> None:
    """One request, one event, no sleep."""
    service.seed("orders", 30, START_MS, END_MS)

    event = await the_event(trigger())

    assert event["status"] == "satisfied"
    assert event["result"]["count"] == 30
    assert len(service.requests("query")) == 1
    assert time.sleeps == []


async def test_it_sleeps_until_the_window_is_final_and_asks_nothing_before(service: MqsEmulator, time: Time) -> None:
    """One sleep of the right length instead of polls; nobody even logs in before."""
    service.seed("orders", 30, START_MS, END_MS)
    time.now_s = FINAL_S - 5000.0
    seen: list[int] = []
    time.on_sleep = lambda: seen.append(len(service.requests()))

    event = await the_event(trigger())

    assert event["status"] == "satisfied"
    assert time.sleeps == [5000.0]
    assert seen == [0]


async def test_a_deadline_before_the_window_is_final_needs_no_request(service: MqsEmulator, time: Time) -> None:
    """The wait ends at the deadline, with a timeout."""
    time.now_s = FINAL_S - 5000.0

    event = await the_event(trigger(deadline_s=FINAL_S - 4900.0))

    assert event["status"] == "timeout"
    assert time.sleeps == [100.0]
    assert service.requests() == []


async def test_it_polls_at_every_interval_and_at_the_deadline(service: MqsEmulator, time: Time) -> None:
    """The last poll is at the deadline itself, after which nothing is asked."""
    event = await the_event(trigger(condition={"on_closed_empty": "wait"}, deadline_s=FINAL_S + 150.0))

    assert event["status"] == "timeout"
    assert time.sleeps == [60.0, 60.0, 30.0]
    assert len(service.requests("query")) == 4


@pytest.mark.parametrize(
    ("poke_interval_s", "deadline_s", "first_s"),
    [(8.0, 1000.0, 4.0), (60.0, 1000.0, 15.0), (3600.0, 1000.0, 15.0), (60.0, 10.0, 10.0), (60.0, 0.0, 0.0)],
)
async def test_the_first_poll_comes_at_a_random_moment(
    poke_interval_s: float,
    deadline_s: float,
    first_s: float,
    service: MqsEmulator,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within the poke interval, half a minute and the deadline; chance is one half here."""
    monkeypatch.setattr("random.random", lambda: 0.5)
    time.now_s = FINAL_S - 100.0

    await the_event(trigger(poll_policy={"poke_interval_s": poke_interval_s}, deadline_s=FINAL_S + deadline_s))

    assert time.sleeps == [100.0 + first_s]
    assert len(service.requests("query")) == 1


async def test_late_messages_end_the_wait(service: MqsEmulator, time: Time) -> None:
    """With ``on_closed_empty='wait'`` a message that arrives late is found by the next poll."""
    time.on_sleep = lambda: service.append("orders", timestamp_ms=START_MS + 5)

    event = await the_event(trigger(condition={"on_closed_empty": "wait"}))

    assert event["result"]["count"] == 1
    assert len(service.requests("query")) == 2


@pytest.mark.parametrize("ending", ["skip", "fail"])
async def test_a_final_window_with_too_few_messages_ends_at_once(ending: str, service: MqsEmulator, time: Time) -> None:
    """It does not wait for the timeout."""
    assert (await the_event(trigger(condition={"on_closed_empty": ending})))["status"] == ending
    assert time.sleeps == []


async def test_waits_double_on_request(service: MqsEmulator, time: Time) -> None:
    """``exponential_backoff`` and ``max_wait`` hold in the triggerer, too."""
    poll_policy = {"exponential_backoff": True, "max_wait_s": 200.0}

    await the_event(trigger(condition={"on_closed_empty": "wait"}, poll_policy=poll_policy))

    assert time.sleeps == [30.0, 60.0, 120.0, 200.0, 200.0, 200.0, 190.0]


async def test_errors_that_may_pass_are_tolerated_up_to_a_limit(service: MqsEmulator, time: Time) -> None:
    """A service that is down is asked ten times in all, with growing waits."""
    service.faults.throttle_429 = Rule(probability=1.0, operations=frozenset({"query"}))

    event = await the_event(trigger(poll_policy={"poke_interval_s": 0.0}))

    assert event["status"] == "error"
    assert "10 errors in a row" in event["message"]
    assert time.sleeps == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    assert len(service.requests("query")) == 10


async def test_a_successful_poll_forgives_the_errors_before_it(service: MqsEmulator, time: Time) -> None:
    """Only errors in a row count."""
    service.faults.throttle_429 = Rule(next=2, operations=frozenset({"query"}))

    def strike_again() -> None:
        if len(time.sleeps) == 3:
            service.faults.throttle_429 = Rule(next=2, operations=frozenset({"query"}))

    time.on_sleep = strike_again
    event = await the_event(
        trigger(condition={"on_closed_empty": "wait"}, poll_policy={"max_errors": 3}, deadline_s=FINAL_S + 600.0)
    )

    assert event["status"] == "timeout"


async def test_errors_from_before_the_deferral_count(service: MqsEmulator, time: Time) -> None:
    """The poll before the deferral is one of the row."""
    service.faults.throttle_429 = Rule(probability=1.0, operations=frozenset({"query"}))

    event = await the_event(trigger(poll_policy={"max_errors": 2}, poll_state={"errors": 1}))

    assert event["status"] == "error"
    assert time.sleeps == []


async def test_an_error_at_the_deadline_is_a_timeout(service: MqsEmulator, time: Time) -> None:
    """The time is up, whatever the last poll came to."""
    service.faults.throttle_429 = Rule(probability=1.0, operations=frozenset({"query"}))

    event = await the_event(trigger(deadline_s=FINAL_S + 60.0))

    assert event["status"] == "timeout"
    assert time.sleeps == [60.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"condition": {"topic": "nothing"}}, "'nothing' is not in the instance"),
        ({"mqs_conn_id": "nowhere"}, "'nowhere' does not exist"),
        ({"instance_id": "other"}, "404|403|400"),
    ],
)
async def test_what_no_retry_can_help_fails_at_once(
    arguments: dict[str, Any], words: str, service: MqsEmulator, time: Time
) -> None:
    """No second poll, no sleep, one sentence."""
    event = await the_event(trigger(**arguments))

    assert event["status"] == "fail"
    assert any(word in event["message"] for word in words.split("|"))
    assert time.sleeps == []


async def test_a_wrong_password_is_tried_once(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling must not lock out the user, and the password is in no event."""
    connection = {**service.connection(), "password": "wrong-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps(connection))

    event = await the_event(trigger())

    assert event["status"] == "fail"
    assert len(service.requests("login")) == 1
    assert "wrong-secret" not in json.dumps(event)


async def test_a_window_that_begins_before_what_is_kept_fails(service: MqsEmulator, time: Time) -> None:
    """What may be gone is neither success nor an empty window."""
    service.seed("short", 10, START_MS, END_MS, retention_hours=1)

    event = await the_event(trigger(condition={"topic": "short"}))

    assert event["status"] == "fail"
    assert "keeps 1 hours" in event["message"]


async def test_a_bug_becomes_an_event_without_its_text(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task learns of it, and what an unknown error says stays in the triggerer's log."""

    async def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(MessagesInWindowTrigger, "_count", broken)

    event = await the_event(trigger())

    assert event["status"] == "error"
    assert "KeyError" in event["message"]
    assert "secret" not in event["message"]


async def test_an_answer_that_does_not_come_ends_soon_after_the_deadline(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger ends before Airflow's own limit, which would say less."""
    monkeypatch.setattr(module, "_LAST_POLL_S", 0.05)
    service.faults.latency_s = 0.5

    event = await the_event(trigger(deadline_s=FINAL_S))

    assert event["status"] == "timeout"


async def test_the_sockets_close_when_the_triggerer_cancels(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled trigger sends nothing and leaves nothing open."""
    closed: list[AsyncMqsClient] = []
    aclose = AsyncMqsClient.aclose

    async def spy(self: AsyncMqsClient) -> None:
        await aclose(self)
        closed.append(self)

    monkeypatch.setattr(AsyncMqsClient, "aclose", spy)
    waiting = asyncio.Event()
    monkeypatch.setattr(MessagesInWindowTrigger, "_sleep", staticmethod(lambda _: _until_cancelled(waiting)))
    task = asyncio.create_task(events(trigger(condition={"on_closed_empty": "wait"})))
    await waiting.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(closed) == 1
    assert closed[0]._transport is None


async def test_a_crowd_of_sensors_shares_one_login_and_few_sockets_and_closes_them(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty that poll at the same moment have sixteen sockets at most, and none once all are cancelled."""
    crowd, waiting, everybody = [], 0, asyncio.Event()

    async def wait(_: float) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == len(crowd):
            everybody.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(MessagesInWindowTrigger, "_sleep", staticmethod(wait))
    crowd += [asyncio.create_task(events(trigger(condition={"on_closed_empty": "wait"}))) for _ in range(40)]
    await asyncio.wait_for(everybody.wait(), 60)
    (client,) = [pool._newest.client for pool in client_pool._pools.values() if pool._newest]
    assert client._transport is not None
    sockets = sockets_of(client._transport)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)

    assert len(service.requests("login")) == 1
    assert len(service.requests("query")) == 40
    assert 1 <= len(sockets) <= 16
    assert all(one.fileno() == -1 for one in sockets)
    assert client._transport is None


def sockets_of(transport: AiohttpTransport) -> list[Any]:
    connector = transport._session.connector
    assert connector is not None
    protocols = [protocol for pooled in connector._conns.values() for protocol, _ in pooled]
    return [protocol.transport.get_extra_info("socket") for protocol in protocols if protocol.transport]


async def _until_cancelled(waiting: asyncio.Event) -> None:
    waiting.set()
    await asyncio.Event().wait()


async def test_the_next_sensor_needs_no_topic_list(service: MqsEmulator, time: Time) -> None:
    """It learns of the topic from those that wait already."""
    waiting = asyncio.Event()
    first = trigger(condition={"on_closed_empty": "wait"})
    first._sleep = lambda _: _until_cancelled(waiting)  # type: ignore[method-assign]
    task = asyncio.create_task(events(first))
    await waiting.wait()

    await the_event(trigger())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert len(service.requests("query")) == 2
    assert len(service.requests("topics")) == 1


async def the_ending(trigger: MessagesInWindowTrigger) -> Any:
    (event,) = [event async for event in trigger.run()]
    return event


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 ends tasks in workers only")
@pytest.mark.parametrize("do_xcom_push", [True, False])
async def test_it_ends_a_satisfied_task_on_request(do_xcom_push: bool, service: MqsEmulator, time: Time) -> None:
    """The result becomes the task's own."""
    from airflow.triggers.base import TaskSuccessEvent

    service.seed("orders", 30, START_MS, END_MS)

    event = await the_ending(trigger(end_from_trigger=True, do_xcom_push=do_xcom_push))

    assert isinstance(event, TaskSuccessEvent)
    assert (event.xcoms is not None) is do_xcom_push
    if event.xcoms is not None:
        assert event.xcoms["return_value"]["count"] == 30


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 ends tasks in workers only")
async def test_it_skips_a_task_on_request(service: MqsEmulator, time: Time) -> None:
    """A final window without messages needs no worker."""
    from airflow.triggers.base import TaskSkippedEvent

    assert isinstance(await the_ending(trigger(end_from_trigger=True)), TaskSkippedEvent)


async def test_a_failure_is_left_to_the_worker(service: MqsEmulator, time: Time) -> None:
    """The reason belongs in the task's log, and Airflow decides about retries there."""
    event = await the_event(trigger(end_from_trigger=True, condition={"on_closed_empty": "fail"}))

    assert event["status"] == "fail"


async def test_the_connection_is_only_looked_up_asynchronously(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A synchronous look-up would block every trigger of the process."""
    monkeypatch.setattr(MqsHook, "get_connection", lambda *_: pytest.fail("synchronous look-up"))

    assert (await the_event(trigger()))["status"] == "skip"


def test_its_module_loads_little() -> None:
    """A triggerer imports it in its event loop, so hook, client and HTTP are loaded later, in a thread."""
    code = (
        "import sys; import airflow.triggers.base; before = set(sys.modules);"
        "import airflow_provider_mqs.triggers.mqs; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    new = set(loaded.stdout.split())

    assert "airflow_provider_mqs.triggers.mqs" in new
    for heavy in (
        *("aiohttp", "requests", "airflow_provider_mqs.hooks", "airflow_provider_mqs.triggers.topic_watcher"),
        *(f"airflow_provider_mqs.core.{name}" for name in ("client.client", "client.api", "ledger", "offsets")),
    ):
        assert heavy not in new


def test_it_serialises_to_plain_json_under_its_public_path() -> None:
    """A triggerer that restarts makes the same trigger, with the same deadline."""
    original = trigger(
        condition={"filters": Filters(partitions=frozenset({1}), key="a")},
        instance_id="i",
        poll_state={"errors": 3, "count": 7, "same": 2},
        end_from_trigger=True,
        do_xcom_push=False,
    )

    path, arguments = original.serialize()
    again = MessagesInWindowTrigger(**json.loads(json.dumps(arguments)))

    assert path == "airflow_provider_mqs.triggers.mqs.MessagesInWindowTrigger"
    assert again.serialize() == (path, arguments)
    assert arguments["deadline_s"] == original.deadline_s
