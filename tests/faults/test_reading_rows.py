"""A row must answer the question: the right rows, or one clear error, never a wrong row and never a traceback."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor
from tests.faults.actors import hours_ago
from tests.faults.test_reading_totals import Window, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator

NO_OFFSETS = [-1, 2**63, 10**30, 4.5, "1_0", "٣", "x", "", None, True, math.nan, math.inf, [1], {}]
NO_PARTITIONS = [-1, 10**30, 2.5, "1_0", None, math.nan, []]


def awaited(hook: MqsHook, window: Window, **filters: Any) -> Any:
    async def run() -> Any:
        async with MqsHook() as one:
            return await one.aquery("orders", window.start, window.end, on_incomplete="warn", **filters)

    return asyncio.run(run())


def at_once(hook: MqsHook, window: Window, **filters: Any) -> Any:
    """Query in a running loop, where the hook sends one request after the other over the other transport."""

    async def run() -> Any:
        return hook.query("orders", window.start, window.end, on_incomplete="warn", **filters)

    return asyncio.run(run())


TRANSPORTS = [awaited, at_once]


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("query", TRANSPORTS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("message_offset", value) for value in NO_OFFSETS),
        *(("partition", value) for value in NO_PARTITIONS),
        ("topic", "other"),
        ("topic", None),
        ("timestamp", 0),
        ("timestamp", -5),
        ("timestamp", 10**30),
        ("timestamp", "soon"),
        ("timestamp", None),
        ("size", "big"),
        ("size", -1),
    ],
    ids=str,
)
def test_a_row_that_is_nonsense_is_one_clear_error(
    mqs: MqsEmulator, query: Callable[..., Any], name: str, value: Any, every: int
) -> None:
    """It names the field; a field that nobody needs may be left alone, and then the rows are the right ones."""
    window = Window(mqs, 60)
    mqs.faults.update({"row_changes": {name: value}, "row_changes_every": every})

    with MqsHook() as hook:
        found = result_of(query, hook, window)

    if isinstance(found, MqsError):
        assert {"timestamp": "time", "message_offset": "offset"}.get(name, name) in str(found)
        assert len(str(found)) < 500
    else:
        assert name == "size" or (name, value) == ("topic", None)
        assert (found.complete, found.count) == (True, 60)


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("message_offset", value) for value in [-1, 7, 2**63, "x", None, 4.5]),
        *(("partition", value) for value in [-1, 2, None]),
        ("topic", "other"),
        ("timestamp", None),
    ],
    ids=str,
)
def test_a_message_that_was_not_asked_for_is_one_clear_error(
    mqs: MqsEmulator, name: str, value: Any, asynchronous: bool
) -> None:
    """A query by partition and offset that answers another message."""
    Window(mqs, 9)
    mqs.faults.content_changes = {name: value}

    async def run() -> Any:
        async with MqsHook() as one:
            return await one.aget_message("orders", 0, 1)

    with pytest.raises(MqsError), MqsHook() as hook:
        asyncio.run(run()) if asynchronous else hook.get_message("orders", 0, 1)


@pytest.mark.parametrize("query", TRANSPORTS)
@pytest.mark.parametrize(
    "changes",
    [
        {"null_rows": True},
        {"repeat_every": 3, "repeat_changes": {"size": 99}},
        {"repeat_every": 3, "repeat_changes": {"key": "another"}},
    ],
    ids=str,
)
def test_an_answer_that_contradicts_itself_is_one_clear_error(
    mqs: MqsEmulator, query: Callable[..., Any], changes: dict[str, Any]
) -> None:
    """A list that is null although there are rows, or one offset with two contents; an incomplete window will do."""
    window = Window(mqs, 60)
    mqs.faults.update(changes)

    with MqsHook() as hook:
        found = result_of(query, hook, window)

    assert len(str(found)) < 500 if isinstance(found, MqsError) else found.complete is False


def test_a_row_that_comes_twice_counts_once(mqs: MqsEmulator) -> None:
    """The service repeats itself, without a contradiction."""
    window = Window(mqs, 120)
    mqs.faults.repeat_every = 3

    found = window.query()

    assert found.count == 120


@pytest.mark.parametrize("slack_ms", [1, 60_000, 1_200_000])
def test_rows_outside_the_time_are_no_part_of_the_window(mqs: MqsEmulator, slack_ms: int) -> None:
    """The service answers a wider window than was asked for, and counts those rows: right rows, or an error."""
    window = Window(mqs, 300)
    mqs.seed("orders", 300, window.end, hours_ago(0), partitions=3)
    mqs.faults.slack_ms = slack_ms

    found = result_of(window.query)

    if isinstance(found, MqsError):
        assert "time" in str(found)
    else:
        assert found.count == 300 or not found.complete


def test_times_in_seconds_are_one_clear_error(mqs: MqsEmulator) -> None:
    """Each row then lies outside the window."""
    window = Window(mqs, 60)
    mqs.behave(timestamp_unit="s")

    with pytest.raises(MqsError, match="time"):
        window.query()


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_row_at_exactly_the_end_is_left_to_the_next_window(mqs: MqsEmulator, inclusive: bool) -> None:
    """Both meanings of ``end_time`` are honest."""
    window = Window(mqs, 60)
    mqs.append("orders", 0, "at the end", timestamp_ms=round(window.end.timestamp() * 1000))
    mqs.behave(end_inclusive=inclusive)

    found = window.query()

    assert (found.complete, found.count) == (True, 60)


def test_a_service_that_ignores_the_partition_is_no_liar(mqs: MqsEmulator) -> None:
    """Known behaviour: the rows of the others are left out."""
    window = Window(mqs, 60)
    mqs.behave(partition_narrows=False)

    found = window.query(partitions=[1])

    assert (found.complete, found.count) == (True, 20)


@pytest.mark.parametrize("pages", [True, False])
@pytest.mark.parametrize("name", ["orders", "zebra"])
def test_a_topic_that_a_cut_list_lacks_is_no_unknown_topic(mqs: MqsEmulator, name: str, pages: bool) -> None:
    """The list shows 10 of 25, with further pages or without."""
    start, end = hours_ago(2), hours_ago(1)
    for number in range(24):
        mqs.seed(f"a-topic-{number:02}", 0, start, end)
    mqs.seed(name, 60, start, end)
    mqs.behave(topic_page_limit=10, topic_paging=pages)

    with MqsHook() as hook:
        assert hook.query(name, start, end).count == 60
    sensor = MessagesInWindowSensor(task_id="wait", topic=name, start=start, end=end, timeout=1, poke_interval=1)
    assert sensor.execute({})["count"] == 60


def test_a_topic_that_the_whole_list_lacks_is_unknown(mqs: MqsEmulator) -> None:
    """Although the list comes in pages."""
    for number in range(25):
        mqs.seed(f"a-topic-{number:02}", 0, hours_ago(2), hours_ago(1))
    mqs.behave(topic_page_limit=10)

    with MqsHook() as hook:
        assert len(hook.list_topics()) == 25
        with pytest.raises(MqsError, match="nowhere"):
            hook.query("nowhere", hours_ago(2), hours_ago(1))


@pytest.mark.parametrize(
    "lie", [{"total_wobble": 3}, {"total_added": 3}, {"total_factor": 2}, {"repeat_every": 2}, {}], ids=str
)
def test_a_filter_sees_each_row_once(mqs: MqsEmulator, lie: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """However often the window is read, and so do the counts in the log."""
    window = Window(mqs, 60, missing_key_every=2)
    mqs.faults.update(lie)
    seen = Counter[tuple[int, int]]()

    def accept(message: Any) -> bool:
        seen[message.partition, message.message_offset] += 1
        return True

    arguments: dict[str, Any] = {"topic": "orders", "start": window.start, "end": window.end, "on_incomplete": "warn"}
    QueryMessagesOperator(task_id="query", message_filter=accept, **arguments).execute({})
    QueryMessagesOperator(task_id="query", key="key-1", **arguments).execute({})

    assert seen == Counter(mqs.offsets("orders", window.start, window.end))
    counted = [record.getMessage() for record in caplog.records if "no key" in record.getMessage()]
    assert all("30 " in line for line in counted), counted


@pytest.mark.parametrize("code", ["MQS.00500000", "DMS.10240407", 500, "XYZ.1"], ids=str)
@pytest.mark.parametrize("form", ["error_code", "nested"])
def test_an_error_with_status_200_is_no_empty_window(mqs: MqsEmulator, code: str | int, form: str) -> None:
    """It is an error, or it is tried again."""
    window = Window(mqs, 60)
    mqs.behave(error_form=form)
    mqs.faults.update({"error_200": {"next": 1, "operations": ["query"]}, "error_200_code": code})

    found = result_of(window.query)

    assert isinstance(found, MqsError) or found.count == 60
