"""
The message query: by window (offsets, no contents) and by partition and offset (one message, with its content).

Everything that is unknown about the real query is read from the behaviour; this file holds no default of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import HttpResponse, Outcome, json_response
from airflow_provider_mqs.emulator.records import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_mqs.emulator.call import Call
    from airflow_provider_mqs.emulator.records import StoredMessage, Topic
    from airflow_provider_mqs.emulator.state import State

_MAX_SEARCH_HITS = 10
_SEARCHABLE = ("key", "tag", "message_id")


def known_topic(state: State, name: object) -> Topic:
    """
    Find the topic that a request names.

    :param state: topics
    :param name: as it came
    :return: the topic
    :raises ServiceError: when it is absent or unknown
    """
    if not isinstance(name, str) or not name:
        raise ServiceError("invalid_parameter", "topic is missing")
    topic = state.store.topic(name)
    if topic is None:
        raise ServiceError("no_topic", f"topic {name} does not exist")
    return topic


def visible_message(state: State, topic: Topic, place: tuple[int, int]) -> StoredMessage | None:
    """
    Find a message that is in sight and that retention has not taken.

    :param state: messages and clock
    :param topic: its topic
    :param place: partition and offset
    :return: the message, or ``None``
    """
    message = state.store.message(topic.name, *place)
    if message is None or message.timestamp_ms < state.oldest_ms(topic):
        return None
    seen_at_ms = state.seen_at_ms()
    return message if seen_at_ms is None or message.visible_ms <= seen_at_ms else None


def query_window(state: State, call: Call) -> Outcome:
    """
    Answer a query with ``start_time`` and ``end_time``.

    :param state: data and switches
    :param call: the request
    :return: a page of rows without contents; messages may arrive after it, by a fault
    :raises ServiceError: for a wrong parameter or a window that is too large
    """
    topic = known_topic(state, call.text("topic"))
    limit, offset = _limit(state, call), _integer(call, "offset", 0)
    window = _window(state, call, topic)
    ids = state.store.ids(window)
    _check_size(state, window, len(ids))
    if window.search:
        ids = ids[:_MAX_SEARCH_HITS]
    reachable = ids if state.behaviour.cap is None else ids[: state.behaviour.cap]
    start = _skipped(state, offset, limit)
    rows = state.store.rows(reachable[start : start + limit])
    name = state.behaviour.search_offset_field if window.search else state.behaviour.offset_field
    total = len(reachable) if state.behaviour.cap_hides_total else len(ids)
    shown = [_shown(state, row, name, _window_value(state)) for row in rows]
    return Outcome(_listing(state, shown, _wobbled(state, total)), lambda _: _arrivals(state, topic, window))


def query_content(state: State, call: Call) -> Outcome:
    """
    Answer a query with ``partition`` and ``message_offset``.

    :param state: data and switches
    :param call: the request
    :return: the message, or an empty list; a file for ``download=true`` where the deployment does that
    :raises ServiceError: for a wrong parameter, or where this query is not offered
    """
    topic = known_topic(state, call.text("topic"))
    partition, message_offset = call.integer("partition"), call.integer("message_offset")
    if partition is None or message_offset is None:
        raise ServiceError("invalid_parameter", "give start_time and end_time, or partition and message_offset")
    if not state.behaviour.content_by_offset:
        raise ServiceError("invalid_parameter", "a query by message_offset is not supported")
    download = call.boolean("download", default=False)
    message = visible_message(state, topic, (partition, message_offset))
    if message and download and state.behaviour.download_form == "file":
        return Outcome(HttpResponse(200, {"Content-Type": "application/octet-stream"}, message.value.encode()))
    found = [message] if message else []
    limit = None if download else state.behaviour.truncate_bytes
    rows = [_shown(state, one, state.behaviour.offset_field, {"value": _cut(one.value, limit)}) for one in found]
    return Outcome(_listing(state, rows, len(rows)))


def _integer(call: Call, name: str, default: int) -> int:
    value = call.integer(name)
    return default if value is None else value


def _limit(state: State, call: Call) -> int:
    limit = _integer(call, "limit", state.behaviour.default_limit)
    if state.behaviour.refuse_large_pages and limit > state.behaviour.page_size_limit:
        raise ServiceError("page_too_large", f"limit {limit}")
    return min(limit, state.behaviour.page_size_limit)


def _skipped(state: State, offset: int, limit: int) -> int:
    pages = {"row": offset, "page0": offset * limit, "page1": max(0, offset - 1) * limit}
    rows = pages[state.behaviour.paging]
    if state.behaviour.max_skip is not None and rows > state.behaviour.max_skip:
        raise ServiceError("skip_too_large", f"offset {offset}")
    return rows


def _window(state: State, call: Call, topic: Topic) -> Window:
    start, end = call.integer("start_time", "invalid_timestamp"), call.integer("end_time", "invalid_timestamp")
    if start is None or end is None or start > end:
        raise ServiceError("invalid_timestamp", "start_time and end_time are needed, in this order")
    partition = call.integer("partition")
    search = tuple((name, text) for name in _SEARCHABLE if (text := call.text(name)))
    return Window(
        topic.name,
        max(start, state.oldest_ms(topic)),
        end if state.behaviour.end_inclusive else end - 1,
        partition if state.behaviour.partition_narrows else None,
        call.boolean("asc", state.behaviour.default_asc),
        search,
        state.seen_at_ms(),
    )


def _check_size(state: State, window: Window, rows: int) -> None:
    faults = state.faults
    too_long = faults.query_max_ms is not None and window.end_ms - window.start_ms > faults.query_max_ms
    too_many = faults.query_max_rows is not None and rows > faults.query_max_rows
    if too_long or too_many:
        raise ServiceError(faults.query_refusal)


def _wobbled(state: State, total: int) -> int:
    wobble = state.faults.total_wobble
    return max(0, total + state.faults.rng.randint(-wobble, wobble)) if wobble else total


def _arrivals(state: State, topic: Topic, window: Window) -> None:
    rng = state.faults.rng
    for _ in range(state.faults.rows_between_pages):
        moment = rng.randint(window.start_ms, window.end_ms)
        state.append(topic.name, rng.randrange(topic.partitions), "late arrival", timestamp_ms=moment, key="late")


def _window_value(state: State) -> dict[str, str]:
    return {"value": ""} if state.behaviour.window_value == "empty" else {}


def _cut(value: str, limit: int | None) -> str:
    return value if limit is None else value.encode()[:limit].decode(errors="ignore")


def _is_huge(value: str, limit: int) -> bool:
    # a character has at most four bytes, so most values need no encoding to know
    return len(value) * 4 > limit and len(value.encode()) > limit


def _shown(state: State, message: StoredMessage, offset_field: str, value: dict[str, str]) -> dict[str, Any]:
    hidden = message.key is None and state.behaviour.omit_missing_keys
    return {
        "topic": message.topic,
        "partition": message.partition,
        **({} if hidden else {"key": message.key or ""}),
        **value,
        "size": message.size,
        "timestamp": message.timestamp_ms,
        "huge_message": _is_huge(message.value, state.behaviour.truncate_bytes),
        offset_field: message.message_offset,
        "message_id": message.message_id,
        "app_id": message.app_id,
        "tag": message.tag,
    }


def _listing(state: State, rows: Sequence[dict[str, Any]], total: int) -> HttpResponse:
    number = float if state.behaviour.float_totals else int
    return json_response(200, {"messages": rows, "total": number(total), "size": number(len(rows))})
