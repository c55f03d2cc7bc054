"""The resend and what its copies look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator.resend import resend_counts
from tests.emulator.conftest import NOW_MS, START_MS

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.store import StoredMessage
    from tests.emulator.conftest import World


def _copy(world: World) -> StoredMessage:
    return world.state.store.messages("orders")[-1]


def test_a_resend_appends_a_fresh_copy_and_answers_the_old_offset(world: World) -> None:
    """The copy has the same partition, key, size and value, the next offset, a new time and no message id."""
    world.topic({"key": "k", "message_id": "m", "tag": "t", "headers": {"h": "1"}}, {"value": "other"})
    answer = world.resend()
    assert answer.status == 200
    assert answer.json() == {"topic": "orders", "partition": 0, "message_offset": 0}
    copy, source = _copy(world), world.state.store.messages("orders")[0]
    assert (copy.message_offset, copy.timestamp_ms, copy.source_offset) == (2, NOW_MS, 0)
    assert (copy.key, copy.size, copy.value, copy.tag) == (source.key, source.size, source.value, "t")
    assert (copy.message_id, copy.headers) == ("", {"h": "1"})


def test_every_resend_is_logged(world: World) -> None:
    """The log says how often each message was sent, and how each request was answered."""
    world.topic({}, {})
    for offset in (0, 1, 1, 7):
        world.resend(message_offset=offset)
    assert resend_counts(world.state, "orders") == {(0, 0): 1, (0, 1): 2}
    assert [one["status"] for one in world.state.store.resend_requests()] == [200, 200, 200, 400]
    assert [one.copy_offset for one in world.state.store.resends("orders")] == [2, 3, 4]


def test_consumer_key_becomes_a_header_and_is_echoed(world: World) -> None:
    """Older deployments do not echo it."""
    world.topic({})
    assert world.resend(consumer_key="keyA").json()["consumer_key"] == "keyA"
    assert _copy(world).headers == {"consumer_key": "keyA"}
    world.behave(echo_consumer_key=False)
    assert "consumer_key" not in world.resend(consumer_key="keyA").json()


@pytest.mark.parametrize(("form", "shown"), [("text", ("0", "1")), ("float", (0.0, 1.0)), ("integer", (0, 1))])
def test_the_response_can_write_numbers_in_other_forms(world: World, form: str, shown: tuple[object, object]) -> None:
    """The message is the same."""
    world.topic({}, {})
    world.behave(echo_numbers=form)
    answer = world.resend(message_offset=1).json()
    assert (answer["partition"], answer["message_offset"]) == shown
    assert type(answer["partition"]) is type(shown[0])


def test_copies_can_land_in_another_partition(world: World) -> None:
    """In the next one, after which comes the first, or in any; the log says where source and copy are."""
    world.topic({}, {"partition": 1}, partitions=2)
    world.behave(copy_partition="next")
    world.resend(partition=0)
    world.resend(partition=1)
    found = [(one.partition, one.copy_partition, one.copy_offset) for one in world.state.store.resends("orders")]
    assert found == [(0, 1, 1), (1, 0, 1)]
    world.behave(copy_partition="random")
    for _ in range(20):
        world.resend()
    assert {one.copy_partition for one in world.state.store.resends("orders")[2:]} == {0, 1}


def test_copies_can_look_different(world: World) -> None:
    """What is not known about copies is switchable."""
    world.topic({"key": "k", "message_id": "m", "tag": "t", "app_id": "a"})
    world.behave(copy_same_key=False, copy_same_size=False, copy_same_message_id=True, copy_timestamp="source")
    world.behave(copy_same_tag=False)
    world.resend()
    copy, source = _copy(world), world.state.store.messages("orders")[0]
    assert (copy.key, copy.message_id, copy.timestamp_ms) == (None, "m", START_MS)
    assert (copy.tag, copy.app_id) == ("", "")
    assert copy.size != source.size


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"topic": "nope"}, "00400975"),
        ({"topic": 3}, "00400062"),
        ({"partition": "0"}, "00400005"),
        ({"partition": True}, "00400005"),
        ({"partition": 2}, "00400062"),
        ({"message_offset": 0.0}, "00400005"),
        ({"message_offset": -1}, "00400005"),
        ({"message_offset": 2**63}, "00400005"),
        ({"message_offset": 5}, "00400062"),
        ({"consumer_key": ""}, "00400005"),
        ({"consumer_key": None}, "00400005"),
        ({"action": "send"}, "00400062"),
    ],
    ids=str,
)
def test_wrong_requests_append_nothing(world: World, fields: dict[str, Any], number: str) -> None:
    """Types are strict, and so is the action."""
    world.topic({})
    answer = world.resend(**fields)
    assert (answer.status, answer.json()["error_code"]) == (400, f"MQS.{number}")
    assert len(world.state.store.messages("orders")) == 1


@pytest.mark.parametrize(("body", "number"), [(b"", "00400004"), (b"{", "00400005"), (b"[]", "00400005")])
def test_a_body_must_be_a_json_object(world: World, body: bytes, number: str) -> None:
    """An empty body and a malformed one have different numbers."""
    target = f"{world.instance}/messages/action?action_id=resend"
    assert world.ask("POST", target, body).json()["error_code"] == f"MQS.{number}"


@pytest.mark.parametrize(
    ("name", "status"), [("invalid_parameter", 400), ("no_message", 404), ("internal", 500)], ids=str
)
def test_an_expired_message_is_refused(world: World, name: str, status: int) -> None:
    """The status is not documented, so it is a switch."""
    world.topic({"timestamp_ms": 0})
    world.behave(absent_message=name)
    assert world.resend().status == status


@pytest.mark.parametrize("value", ["abc", "aaa"])
def test_a_live_producer_writes_a_look_alike(world: World, value: str) -> None:
    """It has the same key and size but another value; only the copy is logged as a resend."""
    world.topic({"key": "k", "value": value})
    world.state.faults.live_producers = 1.0
    world.resend()
    source, live, copy = world.state.store.messages("orders")
    assert (live.key, live.size, live.timestamp_ms) == (copy.key, copy.size, copy.timestamp_ms)
    assert live.value != source.value
    assert len(live.value) == len(source.value)
    assert live.source_offset is None
    assert resend_counts(world.state, "orders") == {(0, 0): 1}


def test_live_producers_can_write_beside_chosen_messages(world: World) -> None:
    """Also if the copy itself is lost."""
    world.topic({}, {})
    world.state.faults.update({"live_producers": {"next": 9, "only": [[0, 1]]}, "lost_after_ack": 1})
    assert [world.resend(message_offset=offset).status for offset in (0, 1)] == [200, 200]
    assert len(world.state.store.messages("orders")) == 3
    assert resend_counts(world.state, "orders") == {}


def test_a_live_producer_can_write_the_same_content(world: World) -> None:
    """Nothing then distinguishes it from the copy."""
    world.topic({"value": "aaa"})
    world.state.faults.update({"live_producers": 1, "live_equal_value": True})
    world.resend()
    assert {one.value for one in world.state.store.messages("orders")} == {"aaa"}
