"""The whole service without a socket: faults, late appends, latency, reset."""

from __future__ import annotations

import itertools
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.emulator.faults import ALWAYS, KINDS, Rule, Turn
from airflow_provider_mqs.emulator.resend import resend_counts
from airflow_provider_mqs.emulator.state import HOUR_MS, State
from airflow_provider_mqs.emulator.store import Store
from tests.emulator.conftest import NOW_MS, START_MS, World

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.http import HttpResponse


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("throttle_429", 429, "APIGW.0308"),
        ("throttle_404", 404, "DMS.10240407"),
        ("error_400", 400, "MQS.00400062"),
        ("error_403", 403, "MQS.00403003"),
        ("error_500", 500, "MQS.00500000"),
        ("error_502", 502, "APIGW.0202"),
        ("error_503", 503, "DMS.111501025"),
        ("iam_unavailable", 503, "APIGW.0613"),
        ("html_502", 502, "<h1>502 Bad Gateway</h1>"),
        ("redirect", 307, ""),
        ("lost_504", 504, "APIGW.0203"),
        ("drop_before", 0, ""),
    ],
)
def test_a_refusing_fault_answers_and_appends_nothing(world: World, name: str, status: int, text: str) -> None:
    """The operation does not run."""
    world.topic({})
    setattr(world.state.faults, name, Rule(next=1))
    answer = world.resend()
    assert (answer.status, answer.drop) == (status, name == "drop_before")
    assert text in answer.body.decode()
    assert resend_counts(world.state, "orders") == {}
    assert world.resend().status == 200
    assert [line.fault for line in world.service.log] == [name, ""]


@pytest.mark.parametrize(
    ("name", "status"), [("error_500_after", 500), ("html_502_after", 502), ("timeout_504", 504), ("drop_after", 0)]
)
def test_a_fault_after_the_append_loses_only_the_response(world: World, name: str, status: int) -> None:
    """The copy exists."""
    world.topic({})
    setattr(world.state.faults, name, ALWAYS)
    assert world.resend().status == status
    assert resend_counts(world.state, "orders") == {(0, 0): 1}


@pytest.mark.parametrize("name", ["late_504", "drop_late"])
def test_a_late_append_comes_within_its_time(world: World, name: str) -> None:
    """At first there is no copy; later there is one, with the time of its append."""
    world.topic({})
    world.state.faults.update({name: 1.0, "late_append_s": 10})
    world.resend()
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 1
    world.now_s += 10
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 2
    assert NOW_MS < world.state.store.messages("orders")[-1].timestamp_ms <= NOW_MS + 10_000


def test_an_append_can_be_acknowledged_and_lost(world: World) -> None:
    """The response is the usual one, and there is never a copy; the log of requests names the fault."""
    world.topic({}, {})
    world.state.faults.lost_after_ack = Rule(probability=1, only=frozenset({(0, 1)}))
    answers = [world.resend(message_offset=offset) for offset in (0, 1)]
    assert [(one.status, one.json()["message_offset"]) for one in answers] == [(200, 0), (200, 1)]
    assert resend_counts(world.state, "orders") == {(0, 0): 1}
    assert [one["fault"] for one in world.state.store.resend_requests()] == ["", "lost_after_ack"]


def test_an_append_can_be_acknowledged_and_late(world: World) -> None:
    """The response is the usual one, and the copy comes within its time."""
    world.topic({})
    world.state.faults.update({"late_after_ack": 1, "late_append_s": 10})
    assert world.resend().status == 200
    assert len(world.state.store.messages("orders")) == 1
    world.now_s += 10
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 2


@pytest.mark.parametrize(("name", "copies"), [("error_200", 0), ("error_200_after", 1)])
@pytest.mark.parametrize("form", ["error_code", "errorCode", "code", "nested"])
def test_an_error_can_come_with_status_200(world: World, name: str, copies: int, form: str) -> None:
    """The copy may exist or not; the body has the shape and the code that were set."""
    world.topic({})
    world.behave(error_form=form)
    world.state.faults.update({name: {"next": 1}, "error_200_code": 500})
    answer = world.resend()
    assert answer.status == 200
    assert 500 in (answer.json().get("error") or answer.json()).values()
    assert len(world.state.store.resends("orders")) == copies


def test_the_response_can_name_another_message(world: World) -> None:
    """The copy is that of the message that was asked for."""
    world.topic({})
    world.state.faults.other_echo = Rule(next=1)
    assert world.resend().json()["message_offset"] == 1
    assert resend_counts(world.state, "orders") == {(0, 0): 1}


def test_a_copy_can_become_visible_late_in_some_partitions(world: World) -> None:
    """Those of the others are seen at once."""
    world.topic({}, {"partition": 1})
    world.state.faults.update({"visible_after_s": 6, "visible_after_partitions": [1]})
    for partition in (0, 1):
        world.resend(partition=partition)
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 3
    world.now_s += 6
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 4


def test_only_copies_can_become_visible_late(world: World) -> None:
    """What producers write is seen at once."""
    world.topic({})
    world.state.faults.update({"visible_after_s": 6, "visible_after_copies": True})
    world.resend()
    world.state.append("orders", 0, "live")
    assert world.offsets(end_time=NOW_MS + HOUR_MS) == [0, 2]


def test_the_clocks_of_gateway_and_broker_can_differ(world: World) -> None:
    """Only ``Date`` moves, or there is none."""
    world.topic({})
    world.state.faults.date_offset_s = 3600
    assert parsedate_to_datetime(world.resend().headers["Date"]).timestamp() == NOW_MS // 1000 + 3600
    assert world.state.store.messages("orders")[-1].timestamp_ms == NOW_MS
    world.behave(date_header=False)
    assert "Date" not in world.resend().headers


def test_messages_can_be_gone_before_their_retention(world: World) -> None:
    """From a moment on, which can move while a client works."""
    world.topic({}, {})
    world.state.faults.retained_from_ms = START_MS + 1
    assert world.offsets() == [1]
    assert world.resend().status == 400


def test_copies_can_change_their_look_in_the_midst(world: World) -> None:
    """From the third copy on they have no key."""
    world.topic({"key": "k"})
    world.state.faults.turns = [Turn(after=2, behaviour={"copy_same_key": False})]
    for _ in range(4):
        world.resend()
    assert [one.key for one in world.state.store.messages("orders")] == ["k", "k", "k", None, None]


def test_clock_and_faults_can_change_in_the_midst(world: World) -> None:
    """Here the clock jumps once the second query is answered."""
    world.topic()
    world.state.faults.turns = [Turn(after=2, of="query", faults={"clock_offset_s": 600, "total_says": "null"})]
    assert [world.query().json()["total"] for _ in range(3)] == [0, 0, None]
    assert world.state.now_ms() == NOW_MS + 600_000


def test_a_producer_can_write_at_a_chosen_moment(world: World) -> None:
    """Here after the first copy."""
    world.topic({"key": "k"})
    world.state.faults.turns = [Turn(append=({"topic": "orders", "partition": 0, "value": "x", "key": "k"},))]
    world.resend()
    world.resend()
    assert [one.value for one in world.state.store.messages("orders")] == ["v0", "v0", "x", "v0"]


def test_a_topic_can_be_made_anew_in_the_midst(world: World) -> None:
    """It is empty, and its offsets start again; the log of resends stays."""
    world.topic({}, {})
    world.state.faults.turns = [Turn(renew="orders")]
    world.resend()
    assert world.state.append("orders", 0, "new").message_offset == 0
    assert resend_counts(world.state, "orders") == {(0, 0): 1}


def test_a_simulation_repeats_every_byte() -> None:
    """Ids come from outside, the random numbers from the seed, the time from the clock."""

    def answers() -> list[HttpResponse]:
        ids = itertools.count()
        state = State(Store(), clock=lambda: NOW_MS / 1000, new_id=lambda: f"{next(ids):032x}")
        world = World(state=state)
        world.topic({}, {})
        world.behave(copy_partition="random")
        world.state.faults.update({"drop_after": 0.3, "late_504": 0.3, "live_producers": 0.5, "total_wobble": 3})
        return [world.login(), *(ask() for _ in range(20) for ask in (world.resend, world.query))]

    assert answers() == answers()


def test_late_appends_keep_their_order_in_time(world: World) -> None:
    """They happen in the order of their times, not of their requests."""
    world.topic(*({} for _ in range(20)))
    world.state.faults.update({"late_504": 1.0, "late_append_s": 60})
    for offset in range(20):
        world.resend(message_offset=offset)
    world.service.run_late_effects(all_of_them=True)
    times = [one.time_ms for one in world.state.store.resends("orders")]
    assert times == sorted(times)
    assert set(resend_counts(world.state, "orders").values()) == {1}
    assert len(times) == 20


@pytest.mark.parametrize("timestamp", ["fresh", "source"])
def test_a_copy_can_become_visible_late(world: World, timestamp: str) -> None:
    """The resend is acknowledged and logged at once, but no query shows the copy yet, whatever its time is."""
    world.topic({})
    world.behave(copy_timestamp=timestamp)
    world.state.faults.visible_after_s = 2.5
    assert world.resend().status == 200
    for seconds, total in ((0, 1), (2.4, 1), (0.1, 2)):
        world.now_s += seconds
        assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == total
        assert len(world.content(message_offset=1).json()["messages"]) == total - 1
    assert resend_counts(world.state, "orders") == {(0, 0): 1}


def test_what_live_producers_write_becomes_visible_late_too(world: World) -> None:
    """It becomes visible together with the copy next to which it was written."""
    world.topic({"value": "abc"})
    world.state.faults.update({"visible_after_s": 1, "live_producers": 1})
    world.resend()
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 1
    world.now_s += 1
    assert world.query(end_time=NOW_MS + HOUR_MS).json()["total"] == 3


def test_each_message_keeps_the_delay_that_it_was_appended_with(world: World) -> None:
    """A test can therefore hide some copies and not others."""
    world.topic({})
    world.state.faults.visible_after_s = 60
    world.resend()
    world.state.faults.visible_after_s = 0
    world.resend()
    assert world.offsets(end_time=NOW_MS + HOUR_MS) == [0, 2]
    assert world.content(message_offset=1).json()["messages"] == []


def test_a_wrong_request_is_refused_before_a_later_fault_strikes(world: World) -> None:
    """Only the response to an accepted request can be lost."""
    world.topic({})
    world.state.faults.timeout_504 = ALWAYS
    assert world.resend(message_offset=9).status == 400


def test_a_redirect_leads_to_another_host(world: World) -> None:
    """The path is kept, so a client that followed it would present its token there."""
    world.state.faults.update({"redirect": 1, "redirect_to": "http://127.0.0.1:1"})
    assert world.ask("GET", world.instance).headers["Location"] == "http://127.0.0.1:1" + world.instance


def test_throttling_may_say_when_to_come_back(world: World) -> None:
    """A 429 has the header Retry-After unless it is switched off."""
    world.state.faults.throttle_429 = ALWAYS
    assert world.ask("GET", world.instance).headers["Retry-After"] == "1"
    world.state.faults.retry_after_s = None
    assert "Retry-After" not in world.ask("GET", world.instance).headers


def test_faults_spare_the_login_unless_it_is_named(world: World) -> None:
    """A rule without operations strikes the service, not IAM."""
    for name in KINDS:
        setattr(world.state.faults, name, ALWAYS)
    assert world.login().status == 201
    world.state.faults.throttle_429 = Rule(next=1, operations=frozenset({"login"}))
    assert world.login().status == 429


def test_a_fault_can_strike_one_message_only(world: World) -> None:
    """Resends name it in their body, content queries in their parameters."""
    world.topic({}, {})
    world.state.faults.error_400 = Rule(probability=1, only=frozenset({(0, 1)}))
    assert [world.resend(message_offset=offset).status for offset in (0, 1)] == [200, 400]
    assert [world.content(message_offset=offset).status for offset in (0, 1)] == [200, 400]
    assert world.query().status == 200
    assert world.resend(partition=None).json()["error_code"] == "MQS.00400005"


def test_latency_is_left_to_the_server(world: World) -> None:
    """It applies to all operations, or to some."""
    world.state.faults.latency_s = 0.25
    assert world.ask("GET", world.instance).delay_s == 0.25
    world.state.faults.latency_operations = frozenset({"resend"})
    assert world.ask("GET", world.instance).delay_s == 0
    assert world.resend().delay_s == 0.25


def test_a_reset_forgets_everything_but_the_behaviour(world: World) -> None:
    """Data, logs, locks, faults and late appends are gone."""
    world.topic({})
    world.behave(cap=None)
    for _ in range(5):
        world.login(password="x")
    world.state.faults.late_504 = ALWAYS
    world.resend()
    world.service.reset()
    world.now_s += 10
    assert (len(world.service.log), world.state.store.topics(), world.state.faults.as_json().get("late_504")) == (
        0,
        [],
        None,
    )
    assert world.login().status == 201
    assert world.state.behaviour.cap is None
    world.topic()
    assert world.state.store.messages("orders") == []
