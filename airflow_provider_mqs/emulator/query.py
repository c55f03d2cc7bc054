"""
The message query: by window (offsets without contents), or by partition and offset (one message with its content).

It follows the API document "Querying Messages". What that document leaves open, ``behaviour`` decides; this module has
no defaults of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator import lies
from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Call, HttpResponse, OperationResult, json_response
from airflow_provider_mqs.emulator.store import StoredMessage, Topic, Window

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.behaviour import Behaviour
    from airflow_provider_mqs.emulator.state import State

_MAX_SEARCH_HITS = 10
_SEARCHABLE = ("key", "tag", "message_id")


def known_topic(state: State, name: object) -> Topic:
    """Return the topic that a request names, or refuse."""
    if not isinstance(name, str) or not name:
        raise ServiceError("invalid_parameter", "topic is missing")
    topic = state.store.topic(name)
    if topic is None:
        raise ServiceError("no_topic", f"topic {name} does not exist")
    return topic


def visible_message(state: State, topic: Topic, ref: tuple[int, int]) -> StoredMessage | None:
    """Find a message by partition and offset, unless it is still hidden or retention has removed it."""
    message = state.store.message(topic.name, *ref)
    if message is None or message.timestamp_ms < state.oldest_ms(topic):
        return None
    visible_at_ms = state.visible_at_ms()
    return message if visible_at_ms is None or message.visible_ms <= visible_at_ms else None


def query_window(state: State, call: Call) -> OperationResult:
    """Answer a query with ``start_time`` and ``end_time``; a fault may append messages after the page."""
    behaviour, faults = state.behaviour, state.faults
    topic = known_topic(state, call.text("topic"))
    skip, limit = _page(behaviour, call)
    window = _window(state, call, topic)
    ids = state.store.ids(window)
    too_long = faults.query_max_ms is not None and window.end_ms - window.start_ms > faults.query_max_ms
    if too_long or (faults.query_max_rows is not None and len(ids) > faults.query_max_rows):
        raise ServiceError(faults.query_refusal)
    if window.search:
        ids = ids[:_MAX_SEARCH_HITS]
    reachable = ids if behaviour.cap is None else ids[: behaviour.cap]
    total = len(reachable) if behaviour.cap_hides_total else len(ids)
    offset_field = behaviour.search_offset_field if window.search else behaviour.offset_field
    value = {"value": ""} if behaviour.window_value == "empty" else {}
    rows = state.store.rows(reachable[skip : skip + limit])
    shown = [_row(behaviour, message, offset_field, value) for message in rows]
    listing = lies.about(_listing(behaviour, shown, total), page=skip // limit if limit else 0, faults=faults)
    return OperationResult(json_response(200, listing), lambda _: _append_arrivals(state, topic, window))


def query_content(state: State, call: Call) -> OperationResult:
    """Answer a query with ``partition`` and ``message_offset``: one message or none, or its value as a file."""
    behaviour = state.behaviour
    topic = known_topic(state, call.text("topic"))
    partition, message_offset = call.integer("partition"), call.integer("message_offset")
    if partition is None or message_offset is None:
        raise ServiceError("invalid_parameter", "start_time and end_time are needed, or partition and message_offset")
    if not behaviour.content_by_offset:
        raise ServiceError("invalid_parameter", "a query by message_offset is not supported")
    download = call.boolean("download", default=False)
    message = visible_message(state, topic, (partition, message_offset))
    if message is None:
        return OperationResult(json_response(200, _listing(behaviour, [], 0)))
    if download and behaviour.download_form == "file":
        return OperationResult(HttpResponse(200, {"Content-Type": "application/octet-stream"}, message.value.encode()))
    # cut in bytes, as the service does, but never inside a character
    cut = message.value.encode()[: behaviour.truncate_bytes].decode(errors="ignore")
    row = _row(behaviour, message, behaviour.offset_field, {"value": message.value if download else cut})
    listing = _listing(behaviour, [{**row, **state.faults.content_changes}], 1)
    return OperationResult(json_response(200, listing))


def _page(behaviour: Behaviour, call: Call) -> tuple[int, int]:
    """Read ``limit`` and ``offset`` as this deployment means them: rows to skip, and rows to return."""
    limit, offset = call.integer("limit"), call.integer("offset") or 0
    if limit is None:
        limit = behaviour.default_limit
    if behaviour.refuse_large_pages and limit > behaviour.page_size_limit:
        raise ServiceError("page_too_large", f"limit {limit}")
    limit = min(limit, behaviour.page_size_limit)
    skip = {"row": offset, "page0": offset * limit, "page1": max(0, offset - 1) * limit}[behaviour.paging]
    if behaviour.max_skip is not None and skip > behaviour.max_skip:
        raise ServiceError("skip_too_large", f"offset {offset}")
    return skip, limit


def _window(state: State, call: Call, topic: Topic) -> Window:
    start, end = call.integer("start_time", "invalid_timestamp"), call.integer("end_time", "invalid_timestamp")
    if start is None or end is None or start > end:
        raise ServiceError("invalid_timestamp", "start_time and end_time are needed, in this order")
    partition, slack_ms = call.integer("partition"), state.faults.slack_ms
    return Window(
        topic.name,
        max(start - slack_ms, state.oldest_ms(topic)),
        (end if state.behaviour.end_inclusive else end - 1) + slack_ms,
        partition if state.behaviour.partition_narrows else None,
        call.boolean("asc", state.behaviour.default_asc),
        tuple((name, text) for name in _SEARCHABLE if (text := call.text(name))),
        state.visible_at_ms(),
    )


def _append_arrivals(state: State, topic: Topic, window: Window) -> None:
    rng = state.faults.rng
    for _ in range(state.faults.rows_between_pages):
        time_ms = rng.randint(window.start_ms, window.end_ms)
        state.append(topic.name, rng.randrange(topic.partitions), "late arrival", timestamp_ms=time_ms, key="late")


def _row(behaviour: Behaviour, message: StoredMessage, offset_field: str, value: dict[str, str]) -> dict[str, Any]:
    hidden = message.key is None and behaviour.omit_missing_keys
    limit = behaviour.truncate_bytes
    return {
        "topic": message.topic,
        "partition": message.partition,
        **({} if hidden else {"key": message.key or ""}),
        **value,
        "size": message.size,
        "timestamp": message.timestamp_ms // (1 if behaviour.timestamp_unit == "ms" else 1000),
        # a character has at most four bytes, so a short value is known to fit without encoding it
        "huge_message": len(message.value) * 4 > limit and len(message.value.encode()) > limit,
        offset_field: message.message_offset,
        "message_id": message.message_id,
        "app_id": message.app_id,
        "tag": message.tag,
    }


def _listing(behaviour: Behaviour, rows: list[dict[str, Any]], total: int) -> dict[str, Any]:
    number = float if behaviour.float_totals else int
    return {"messages": rows, "total": number(total), "size": number(len(rows))}
