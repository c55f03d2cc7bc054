"""
The resend: a copy of a message at the end of the same partition, with a fresh time.

The answer shows the old coordinates.

What the copy looks like is inferred (Kafka is append-only) and switchable. Each append is logged, so that the service
itself can say whether a message was sent exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Outcome, json_response
from airflow_provider_mqs.emulator.query import known_topic, visible_message
from airflow_provider_mqs.emulator.records import Resend
from airflow_provider_mqs.emulator.state import size_of

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.call import Call
    from airflow_provider_mqs.emulator.records import StoredMessage
    from airflow_provider_mqs.emulator.state import State

_OTHER_SIZE = 24


@dataclass(frozen=True, slots=True)
class Plan:
    """
    A resend that was accepted.

    :param source: the message to copy
    :param consumer_key: header for the copy, ``None`` when not asked for
    :param trace: request id
    """

    source: StoredMessage
    consumer_key: str | None
    trace: str


def resend(state: State, call: Call) -> Outcome:
    """
    Answer ``POST …/messages/action?action_id=resend``.

    :param state: data and switches
    :param call: the request
    :return: the echo of the request, and the append as its effect
    :raises ServiceError: for a wrong parameter, or a message that is not there
    """
    if call.text("action_id") != "resend":
        raise ServiceError("invalid_parameter", "action_id must be resend")
    body = call.body()
    consumer_key = _consumer_key(body)
    topic = known_topic(state, body.get("topic"))
    place = _whole(body, "partition"), _whole(body, "message_offset")
    source = visible_message(state, topic, place)
    if source is None:
        raise ServiceError(state.behaviour.absent_message, f"partition {place[0]} has no message at offset {place[1]}")
    echo = {"topic": topic.name, "partition": place[0], "message_offset": place[1]}
    if consumer_key is not None and state.behaviour.echo_consumer_key:
        echo["consumer_key"] = consumer_key
    plan = Plan(source, consumer_key, call.trace)
    return Outcome(json_response(200, echo), lambda now_ms: _append(state, plan, now_ms))


def _consumer_key(body: dict[str, Any]) -> str | None:
    key = body.get("consumer_key")
    if "consumer_key" in body and not (isinstance(key, str) and key):
        raise ServiceError("invalid_body", "consumer_key must be a text")
    return key


def _whole(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    # bool is an int in Python; the API wants JSON integers, and a float loses digits above 2^53
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ServiceError("invalid_body", f"{name} must be an integer >= 0")
    return value


def _append(state: State, plan: Plan, now_ms: int) -> None:
    source, behaviour = plan.source, state.behaviour
    with state.store.transaction():
        if state.faults.strikes(state.faults.live_producers):
            _append_live(state, source, now_ms)
        copy = state.append(
            source.topic,
            source.partition,
            source.value,
            timestamp_ms=now_ms if behaviour.copy_timestamp == "fresh" else source.timestamp_ms,
            key=source.key if behaviour.copy_same_key else None,
            size=source.size + (0 if behaviour.copy_same_size else _OTHER_SIZE),
            message_id=source.message_id if behaviour.copy_same_message_id else "",
            app_id=source.app_id,
            tag=source.tag,
            headers={**source.headers, **({"consumer_key": plan.consumer_key} if plan.consumer_key else {})},
            source_offset=source.message_offset,
        )
        place = (source.topic, source.partition, source.message_offset, copy.message_offset)
        state.store.log_resend(Resend(now_ms, plan.trace, *place, plan.consumer_key))


def _append_live(state: State, source: StoredMessage, now_ms: int) -> None:
    """Write what a producer might write at the same moment: equal in everything that a window query shows."""
    value = source.value if state.faults.live_equal_value else source.value[::-1]
    if value == source.value and not state.faults.live_equal_value:
        value = "x" * (source.size - size_of(source.key, ""))
    state.append(
        source.topic,
        source.partition,
        value,
        timestamp_ms=now_ms,
        key=source.key,
        size=source.size,
        app_id=source.app_id,
        tag=source.tag,
    )
