"""
The resend: a copy of a message at the end of the same partition, with the current time.

It follows the API document "Retransmitting a Message": the response repeats the old partition and offset. What the copy
looks like is inferred (Kafka is append-only) and switchable. Each append is logged, so that the service itself can say
whether a message was sent exactly once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Call, OperationResult, json_response
from airflow_provider_mqs.emulator.query import known_topic, visible_message
from airflow_provider_mqs.emulator.state import State, size_of
from airflow_provider_mqs.emulator.store import Resend, StoredMessage, Topic

if TYPE_CHECKING:
    from collections.abc import Callable

_OTHER_SIZE = 24
_ECHO: dict[str, Callable[[int], object]] = {"integer": int, "text": str, "float": float}


def resend(state: State, call: Call) -> OperationResult:
    """Answer ``POST …/messages/action?action_id=resend``; the append is the effect."""
    if call.text("action_id") != "resend":
        raise ServiceError("invalid_parameter", "action_id must be resend")
    body = call.body()
    consumer_key = body.get("consumer_key")
    if "consumer_key" in body and not (isinstance(consumer_key, str) and consumer_key):
        raise ServiceError("invalid_body", "consumer_key must be a text")
    topic = known_topic(state, body.get("topic"))
    partition, message_offset = _whole_number(body, "partition"), _whole_number(body, "message_offset")
    source = visible_message(state, topic, (partition, message_offset))
    if source is None:
        detail = f"partition {partition} has no message at offset {message_offset}"
        raise ServiceError(state.behaviour.absent_message, detail)
    number = _ECHO[state.behaviour.echo_numbers]
    echo = {"topic": topic.name, "partition": number(partition), "message_offset": number(message_offset)}
    if consumer_key is not None and state.behaviour.echo_consumer_key:
        echo["consumer_key"] = consumer_key
    return OperationResult(
        json_response(200, echo),
        lambda now_ms: _append_copy(state, topic, source, consumer_key, call.trace, now_ms),
        lambda now_ms: _append_similar(state, source, now_ms),
    )


def resend_counts(state: State, topic: str) -> dict[tuple[int, int], int]:
    """Count the resends of each message by the ``(partition, message_offset)`` of the source."""
    return dict(Counter((logged.partition, logged.message_offset) for logged in state.store.resends(topic)))


def _whole_number(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    # bool is an int in Python; the API wants JSON integers, and a float loses digits above 2^53
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ServiceError("invalid_body", f"{name} must be an integer >= 0")
    return value


def _append_copy(
    state: State, topic: Topic, source: StoredMessage, consumer_key: str | None, trace: str, now_ms: int
) -> None:
    behaviour, partition = state.behaviour, source.partition
    if behaviour.copy_partition != "source":
        step = 1 if behaviour.copy_partition == "next" else state.faults.rng.randrange(topic.partitions)
        partition = (partition + step) % topic.partitions
    # copy and log entry stand or fall together: the log is what tests compare the client's report with
    with state.store.transaction():
        copy = state.append(
            source.topic,
            partition,
            source.value,
            timestamp_ms=now_ms if behaviour.copy_timestamp == "fresh" else source.timestamp_ms,
            key=source.key if behaviour.copy_same_key else None,
            size=source.size + (0 if behaviour.copy_same_size else _OTHER_SIZE),
            message_id=source.message_id if behaviour.copy_same_message_id else "",
            app_id=source.app_id if behaviour.copy_same_tag else "",
            tag=source.tag if behaviour.copy_same_tag else "",
            headers={**source.headers, **({"consumer_key": consumer_key} if consumer_key else {})},
            source_offset=source.message_offset,
        )
        refs = source.partition, source.message_offset, copy.partition, copy.message_offset
        state.store.log_resend(Resend(now_ms, trace, source.topic, *refs, consumer_key))
    state.happened("copy")


def _append_similar(state: State, source: StoredMessage, now_ms: int) -> None:
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
