"""``QueryMessagesOperator`` on the real local service: windows, results, and what ends the task."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.exceptions import EmptyWindowError, IncompleteWindowError, MqsError
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator
from tests.support import started_by

if TYPE_CHECKING:
    from airflow_provider_mqs.core.values.message import Message
    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
INTERVAL = {"data_interval_start": START, "data_interval_end": END}


def query(context: dict[str, Any] | None = None, **arguments: Any) -> Any:
    operator = QueryMessagesOperator(task_id="query", **{"topic": "orders", **arguments})
    return operator.execute(INTERVAL if context is None else context)


@pytest.fixture(autouse=True)
def _seeded(mqs: MqsEmulator) -> None:
    mqs.seed("orders", 30, START - timedelta(hours=1), START, partitions=3)
    mqs.seed("orders", 300, START, END, partitions=3, gap_every=40, tags=("a", "b"), missing_key_every=5)
    mqs.seed("orders", 30, END, END + timedelta(hours=1), partitions=3)


def test_the_interval_of_the_run_is_the_window(mqs: MqsEmulator) -> None:
    """A plain dict with the two ends of a data interval is enough of a context."""
    document = query()

    offsets = Offsets.from_xcom(document)
    found = {
        (number, offset)
        for number, partition in offsets.partitions.items()
        for first, last in partition.ranges
        for offset in range(first, last + 1)
    }
    assert found == mqs.offsets("orders", START, END)
    assert document["count"] == 300
    assert document["complete"] is True
    assert document["window"]["source"] == "data_interval"
    assert document["endpoint"] == mqs.url.removeprefix("http://")


def test_the_xcom_is_plain_json() -> None:
    """What is pushed survives a trip through JSON unchanged, digest included."""
    document = query()

    again = json.loads(json.dumps(document))

    assert again == document
    assert Offsets.from_xcom(again).count == 300


def test_an_explicit_window_needs_no_interval() -> None:
    """Start and end as text win over the context, which may be empty."""
    document = query({}, start=START.isoformat(), end=str(int(END.timestamp() * 1000)))

    assert document["count"] == 300
    assert document["window"]["source"] == "explicit"


def test_a_run_that_events_started_has_their_window(mqs: MqsEmulator) -> None:
    """From the earliest start to the latest end of those of this topic, at this connection."""
    middle, late = START + timedelta(minutes=30), END + timedelta(minutes=6)
    events = started_by(query(start=middle, end=late), query(start=START, end=middle), {"schema": "another"})

    document = query(events)

    assert document["count"] == len(mqs.offsets("orders", START, late))
    assert document["window"] == {
        "start": START.isoformat(timespec="milliseconds"),
        "end": late.isoformat(timespec="milliseconds"),
        "source": "event",
    }


def test_events_of_another_topic_give_the_query_no_window(mqs: MqsEmulator) -> None:
    """The task fails for good, and says how to give one."""
    mqs.seed("payments", 3, START, END)
    events = started_by(query(topic="payments"))

    with pytest.raises(AirflowFailException, match=r"none carries offsets of topic 'orders' .* set start and end"):
        query(events)
    with pytest.raises(AirflowFailException, match="topic must start with a letter"):
        query(events, topic="")


def test_filters_are_exact() -> None:
    """Tag and partition narrow the result on our side."""
    document = query(tag="a", partitions="0,1")

    assert 0 < document["count"] < 150
    assert set(document["partitions"]) <= {"0", "1"}
    assert document["filters"] == {"tag": "a", "partitions": [0, 1]}


def test_a_function_sees_contents_only_where_asked() -> None:
    """``fetch_values`` costs one request a message and gives the function the value."""
    values: list[str | None] = []

    def keep(message: Message) -> bool:
        values.append(message.value)
        return message.partition == 0

    narrow = {"start": START, "end": START + timedelta(minutes=6), "message_filter": keep}
    without, values_without = query(**narrow), list(values)
    values.clear()
    fetched = query(**narrow, fetch_values=True)

    assert set(values_without) == {None}
    assert None not in values
    assert fetched["partitions"] == without["partitions"]


def test_an_exception_in_the_function_fails_the_task() -> None:
    """A broken filter is never "no match"."""

    def broken(message: Message) -> bool:
        raise KeyError(message.partition)

    with pytest.raises(KeyError):
        query(message_filter=broken)


def test_batches_hold_every_offset_once() -> None:
    """``batch_size`` gives a list for dynamic task mapping; together the batches are the window."""
    batches = [Offsets.from_xcom(batch) for batch in query(batch_size="70")]

    assert [batch.count for batch in batches] == [70, 70, 70, 70, 20]
    assert {batch.batch.total for batch in batches if batch.batch} == {300}


def test_an_empty_window_gives_no_batches() -> None:
    """With ``batch_size`` an empty window is an empty list, so that nothing is mapped."""
    assert query(topic="orders", key="none such", batch_size=10, start=START, end=END, on_empty="succeed") == []


@pytest.mark.parametrize(
    ("on_empty", "error"), [("skip", AirflowSkipException), ("fail", EmptyWindowError), ("succeed", None)]
)
def test_an_empty_window_does_what_on_empty_says(on_empty: str, error: type[Exception] | None) -> None:
    """An empty window is a success by default; it can skip or fail the task instead."""
    empty = {"key": "none such", "on_empty": on_empty}
    if error is None:
        assert query(**empty)["count"] == 0
    else:
        with pytest.raises(error, match="no message"):
            query(**empty)


def test_max_messages_is_a_limit_and_never_a_cut() -> None:
    """A window with more messages than allowed fails."""
    with pytest.raises(AirflowFailException, match="300 messages, more than max_messages=299"):
        query(max_messages=299)


def test_a_list_longer_than_airflow_can_map_names_the_batch_size_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes before the XCom is pushed."""
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "10")

    with pytest.raises(AirflowFailException, match="batch_size to 30 or more"):
        query(batch_size=29)
    assert len(query(batch_size=30)) == 10


def test_an_xcom_above_the_limit_names_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document too large for the database fails before it is pushed."""
    monkeypatch.setenv("AIRFLOW__MQS__MAX_XCOM_BYTES", "200")

    with pytest.raises(AirflowFailException, match="batch_size"):
        query()


def test_a_window_beyond_what_is_kept_is_not_complete(mqs: MqsEmulator) -> None:
    """Rows before now minus retention may be gone, which fails the task unless it was told to warn."""
    mqs.seed("short", 10, START, END, retention_hours=1)

    with pytest.raises(IncompleteWindowError, match="keeps 1 hours"):
        query(topic="short")
    document = query(topic="short", on_incomplete="warn")
    assert document["complete"] is False
    assert document["on_incomplete"] == "warn"


def test_a_window_that_ends_in_the_future_is_refused_or_clamped() -> None:
    """Messages still arrive there, so it takes a word of the user to end it now."""
    future = {"start": START, "end": datetime.now(timezone.utc) + timedelta(hours=3)}

    with pytest.raises(AirflowFailException, match="clamp_to_now"):
        query(**future)
    assert query(**future, clamp_to_now="true")["count"] >= 300


def test_a_wrong_password_is_tried_once_and_is_final(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's retries must not lock the user."""
    connection = json.loads(mqs.connection_json())
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps({**connection, "password": "wrong"}))

    with pytest.raises(AirflowFailException, match=r"IAM\.0062|401"):
        query()
    assert len(mqs.requests("login")) == 1


def test_a_service_that_is_down_may_be_retried(monkeypatch: pytest.MonkeyPatch, mqs: MqsEmulator) -> None:
    """A refused connection is no permanent error."""
    connection = json.loads(mqs.connection_json(max_retries=0))
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps({**connection, "host": "http://127.0.0.1:9"}))

    with pytest.raises(MqsError, match="connect") as caught:
        query()
    assert not isinstance(caught.value, AirflowFailException)
