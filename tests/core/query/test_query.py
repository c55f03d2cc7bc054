"""A window as a whole: exact offsets, exact filters, and a sentence for whatever is not known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.flow import Parallel, Request, Response, Step, drive
from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.query.query import (
    Query,
    QueryArguments,
    QueryResult,
    check_result,
    closed_window,
    find_messages,
    find_topic,
    query_offsets,
    why_expired,
)
from airflow_provider_mqs.core.values.message import Message, Topic
from airflow_provider_mqs.core.values.time_window import TimeWindow, WindowArguments
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import ALWAYS, Rule
from airflow_provider_mqs.emulator.seeds import seed
from airflow_provider_mqs.emulator.store import Topic as StoredTopic
from airflow_provider_mqs.exceptions import ConfigurationError, MqsError, ServerError
from tests.support import END_MS, NOW_MS, START_MS, Local, local

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = TimeWindow(START_MS, END_MS, "data_interval")
HOUR_MS = 3_600_000
TOPICS = {"operations": frozenset({"topics"})}


def seeded(count: int = 120, behaviour: Behaviour | None = None, **shape: Any) -> Local:
    client = local(behaviour)
    seed(client.state, "orders", 10, START_MS - 1000, START_MS, partitions=3)
    seed(client.state, "orders", count, START_MS, END_MS, **{"partitions": 3, **shape})
    seed(client.state, "orders", 10, END_MS, END_MS + 1000, partitions=3)
    return client


def find(client: Local, window: TimeWindow = WINDOW, topic: str = "orders", **filters: Any) -> QueryResult:
    return client.run(query_offsets(client.api, Query(topic, window, Filters(**filters), "warn"), now_ms=NOW_MS))


def refs(found: QueryResult) -> set[tuple[int, int]]:
    return {
        (number, offset)
        for number, part in found.offsets.partitions.items()
        for offset in offset_ranges.expand(part.ranges)
    }


def inside(client: Local) -> list[Any]:
    return [row for row in client.state.store.messages("orders") if row.timestamp_ms in WINDOW]


def test_offsets_of_the_window_are_exact() -> None:
    """Neighbours on both sides are left out; the document says where it was read."""
    client = seeded(gap_every=7)

    found = find(client)

    assert refs(found) == {(row.partition, row.message_offset) for row in inside(client)}
    assert (found.why_incomplete, found.notes) == ((), ())
    offsets = found.offsets
    assert (offsets.count, offsets.complete, offsets.on_incomplete) == (120, True, "warn")
    assert (offsets.endpoint, offsets.instance_id) == ("127.0.0.1:1", client.settings.instance_id)
    assert offsets.window is WINDOW
    for number, part in offsets.partitions.items():
        times = [row.timestamp_ms for row in inside(client) if row.partition == number]
        assert (part.first_timestamp, part.last_timestamp) == (min(times), max(times))


def test_empty_window_is_complete() -> None:
    """No messages is an answer, with no partitions in it."""
    client = seeded(0)

    found = find(client)

    assert (found.offsets.count, dict(found.offsets.partitions), found.offsets.complete) == (0, {}, True)


def test_filters_are_applied_here_and_never_asked_for() -> None:
    """The service's own search matches parts and answers ten rows, so it is not used."""
    client = seeded(300, tags=("web", "shop"))

    found = find(client, key="key-1", tag="shop", partitions=frozenset({0, 1}))

    expected = {
        (row.partition, row.message_offset)
        for row in inside(client)
        if row.key == "key-1" and row.tag == "shop" and row.partition in {0, 1}
    }
    assert expected
    assert refs(found) == expected
    assert found.offsets.filters == {"key": "key-1", "tag": "shop", "partitions": [0, 1]}
    assert not [request for request in client.requests if "key=" in request.url or "tag=" in request.url]


def test_rows_without_the_field_are_noted() -> None:
    """They are no match, and the log says how many there were."""
    client = seeded(90, missing_key_every=3)

    found = find(client, key="key-1")

    assert found.notes == ("30 rows have no key and do not match the filter on it.",)


def too_large_totals(client: Local, answers: int) -> Callable[[Step], Any]:
    """Perform steps at a service that shows rows and says that there is one more, in its first answers."""
    left = [answers]

    def perform(step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, perform) for flow in step.flows]
        answer = client.perform(step)
        if not isinstance(step, Request) or "limit=" not in step.url or not left[0]:
            return answer
        left[0] -= 1
        body = answer.json()
        return Response(200, {}, json.dumps({**body, "total": body["total"] + 1}).encode())

    return perform


@pytest.mark.parametrize("answers", [0, 1, 2, 40])
def test_rows_that_are_read_again_are_counted_once(answers: int) -> None:
    """A total that moves makes the reader ask again, and cut: that is no reason to filter a message twice."""
    client, seen = seeded(10, missing_key_every=2), []
    filters = Filters(key="key-1", message_filter=lambda row: not seen.append(row.message_offset))
    everything = Filters(message_filter=lambda row: not seen.append((row.partition, row.message_offset)))

    def found(filters: Filters) -> QueryResult:
        flow = query_offsets(client.api, Query("orders", WINDOW, filters, "warn"), now_ms=NOW_MS)
        return drive(flow, too_large_totals(client, answers))

    assert found(filters).notes == ("5 rows have no key and do not match the filter on it.",)
    assert len(seen) == 1
    seen.clear()
    assert found(everything).offsets.count == len(seen) == 10


def test_filter_that_can_match_nothing_is_refused() -> None:
    """No row of the window has a tag, so that nothing can be said with one."""
    with pytest.raises(ConfigurationError, match="filter on tag"):
        find(seeded(), tag="shop")


def test_error_of_the_function_comes_out() -> None:
    """It is the task that fails, not the filter that finds nothing."""

    def broken(row: Message) -> bool:
        raise KeyError(row.message_offset)

    with pytest.raises(KeyError):
        find(seeded(), message_filter=broken)


def test_function_sees_rows_without_contents() -> None:
    """It decides by what a row shows, at no further request."""
    seen: list[Message] = []

    def even(row: Message) -> bool:
        seen.append(row)
        return row.message_offset % 2 == 0

    client = seeded(30)
    found = find(client, message_filter=even)

    assert refs(found) == {(row.partition, row.message_offset) for row in inside(client) if row.message_offset % 2 == 0}
    assert {row.value for row in seen} == {None}
    assert not [line for line in client.service.log if line.operation == "content"]


@pytest.mark.parametrize("form", ["json", "file"])
def test_function_sees_whole_contents_where_wanted(form: Any) -> None:
    """One request a message that may count, and the content is not shortened."""
    client = seeded(60, Behaviour(truncate_bytes=4, download_form=form), value_bytes=5000, tags=("web", "shop"))

    def ends_in_7(row: Message) -> bool:
        assert row.value is not None
        assert len(row.value) == 5000
        return row.value.split()[1].endswith("7")

    found = find(client, message_filter=ends_in_7, fetch_values=True, tag="shop")

    assert refs(found) == {
        (row.partition, row.message_offset)
        for row in inside(client)
        if row.tag == "shop" and row.value.split()[1].endswith("7")
    }
    downloads = [request for request in client.requests if "download=true" in request.url]
    assert len(downloads) == 30


def test_message_that_vanished_before_its_content_was_seen_is_said() -> None:
    """It is not taken for no match."""
    client = seeded(5)

    def perform(step: Step) -> Any:
        if isinstance(step, Request):
            if "message_offset" in step.url:
                client.state.store._db.execute("DELETE FROM messages")
            return client.perform(step)
        return [drive(flow, perform) for flow in step.flows]  # type: ignore[union-attr]  # it is Parallel

    query = Query("orders", WINDOW, Filters(message_filter=bool, fetch_values=True))
    with pytest.raises(ConfigurationError, match=r"message \d+ of partition \d is gone"):
        drive(query_offsets(client.api, query, now_ms=NOW_MS), perform)


def test_unknown_topic_is_refused_before_any_query() -> None:
    """A name with another letter is no empty window."""
    client = seeded()

    with pytest.raises(ConfigurationError, match=r"topic 'Orders' is not in the instance.*case"):
        find(client, topic="Orders")

    assert [line.operation for line in client.service.log][-1] == "topics"


def test_forbidden_topic_list_is_a_note() -> None:
    """Who may query but not list gets the offsets, and is told what is not known."""
    client = seeded()
    client.state.faults.error_403 = Rule(probability=1, **TOPICS)  # type: ignore[arg-type]  # one field of it

    found = find(client)

    assert found.offsets.count == 120
    assert found.offsets.complete
    assert len(found.notes) == 1
    assert "topic list cannot be read (HTTP 403" in found.notes[0]


def test_topic_list_that_fails_is_an_error() -> None:
    """A service that is down is not a missing right."""
    client = seeded()
    client.state.faults.error_503 = Rule(probability=1, **TOPICS)  # type: ignore[arg-type]  # one field of it

    with pytest.raises(ServerError):
        client.run(find_topic(client.api, "orders"))


def test_window_before_retention_is_incomplete() -> None:
    """What the service deleted cannot be counted, so the window is not complete."""
    client = seeded()
    client.state.store.put_topic(StoredTopic("orders", 3, retention_hours=27))

    found = find(client)

    assert not found.offsets.complete
    assert found.why_incomplete == (
        "The service keeps 27 hours of topic 'orders'; everything before 2023-11-14T23:00:00.000+00:00 may be gone.",
    )
    assert found.offsets.count < 120


@pytest.mark.parametrize(
    ("topic", "start_ms", "incomplete"),
    [
        (None, 0, False),
        (Topic("orders", 3, None), 0, False),
        (Topic("orders", 3, 2.0), NOW_MS - 2 * HOUR_MS, False),
        (Topic("orders", 3, 2.0), NOW_MS - 2 * HOUR_MS - 1, True),
    ],
)
def test_retention_is_judged_to_the_millisecond(topic: Topic | None, start_ms: int, incomplete: bool) -> None:
    """A window that begins exactly where the topic does is whole."""
    assert bool(why_expired(topic, TimeWindow(start_ms, NOW_MS), NOW_MS)) is incomplete


def test_messages_come_by_time_partition_and_offset() -> None:
    """Each once, in one order, whatever the order of the pages was."""
    client = seeded(1000, spread="bursts")

    messages, reasons = client.run(find_messages(client.api, "orders", WINDOW, now_ms=NOW_MS))

    expected = sorted((row.timestamp_ms, row.partition, row.message_offset) for row in inside(client))
    assert [(row.timestamp, row.partition, row.message_offset) for row in messages] == expected
    assert reasons == []


def test_service_that_is_down_is_an_error() -> None:
    """It is neither an empty window nor an incomplete one, and the error comes after a handful of requests."""
    client = seeded()
    client.state.faults.error_500 = ALWAYS

    with pytest.raises(MqsError):
        find(client)

    assert len(client.requests) <= 6


@pytest.mark.parametrize(
    ("count", "partitions", "sentences"),
    [
        (1, 1, ["Partition 0: 1 message in 1 range.", "Found 1 message in 1 partition."]),
        (8, 2, ["Partition 1: 4 messages in 2 ranges.", "Found 8 messages in 2 partitions."]),
        (0, 1, ["Found 0 messages in 0 partitions."]),
    ],
)
def test_what_was_found_is_logged(
    count: int, partitions: int, sentences: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """In good English, by partition and in all."""
    client = local()
    seed(client.state, "orders", count, START_MS, END_MS, partitions=partitions, gap_every=2)

    with caplog.at_level("INFO"):
        check_result(find(client), QueryArguments("orders", WindowArguments()))

    assert set(sentences) <= set(caplog.messages)


def test_a_window_that_has_ended_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """After a minute, nothing is left to say."""
    assert closed_window(WINDOW, END_MS + 60_000) is WINDOW
    assert caplog.messages == []


def test_a_window_that_has_just_ended_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """Messages with its timestamps may still be on their way."""
    assert closed_window(WINDOW, END_MS) is WINDOW
    assert "ended less than 60 s ago" in caplog.text


def test_a_window_that_ends_in_the_future_is_refused_or_ends_now(caplog: pytest.LogCaptureFixture) -> None:
    """It takes a word of the user to end it now; one that begins in the future cannot."""
    with pytest.raises(ConfigurationError, match="end is in the future"):
        closed_window(WINDOW, END_MS - 1)
    with pytest.raises(ConfigurationError, match="end is in the future"):
        closed_window(WINDOW, START_MS, clamp_to_now=True)

    assert closed_window(WINDOW, END_MS - 1, clamp_to_now=True) == TimeWindow(START_MS, END_MS - 1, "data_interval")
    assert "ends now instead of at 2023-11-14T23:13:20.000+00:00" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic": ""},
        {"start": "yesterday"},
        {"lookback": "long"},
        {"on_incomplete": "ignore"},
        {"max_messages": 0},
        {"exclude_copies": "perhaps"},
        {"clamp_to_now": "perhaps"},
        {"concurrency": 257},
    ],
)
def test_each_argument_of_a_query_is_checked(wrong: dict[str, Any]) -> None:
    """The sentence names it."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        QueryArguments.read(**{"topic": "orders", "filters": Filters(), **wrong})


def test_arguments_of_a_query_may_be_text() -> None:
    """As templates write them."""
    read = QueryArguments.read(
        topic="orders",
        start="1700000000000",
        lookback="60",
        filters=Filters(),
        max_messages="5",
        exclude_copies="false",
        clamp_to_now="yes",
        concurrency="4",
    )

    assert read == QueryArguments(
        topic="orders",
        window=WindowArguments(START_MS, None, 60.0),
        max_messages=5,
        exclude_copies=False,
        clamp_to_now=True,
        concurrency=4,
    )
