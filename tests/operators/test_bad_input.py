"""Bad input: one sentence that names the argument, and nothing is sent."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_mqs.core.offsets.document import digest_of
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
INTERVAL = {"data_interval_start": START, "data_interval_end": END}
ITEM = {"partition": 0, "message_offset": 0}


@pytest.fixture(autouse=True)
def _seeded(mqs: MqsEmulator) -> None:
    mqs.seed("orders", 30, START, END, partitions=3)


def one_sentence(error: BaseException, name: str) -> None:
    text = str(error)
    assert name in text
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"topic": ""}, "topic"),
        ({"topic": None}, "topic"),
        ({"topic": "1orders"}, "topic"),
        ({"topic": "orders eu"}, "topic"),
        ({"topic": "orders&limit=1"}, "topic"),
        ({"topic": "Orders"}, "'Orders'"),
        ({"start": "yesterday", "end": END}, "start"),
        ({"start": START, "end": "P1D"}, "end"),
        ({"start": END, "end": START}, "start"),
        ({"start": 1_700_000_000, "end": 1_700_003_600}, "start"),
        ({"lookback": "an hour"}, "lookback"),
        ({"lookback": 0}, "lookback"),
        ({"partitions": "a,b"}, "partitions"),
        ({"partitions": [-1]}, "partitions"),
        ({"partitions": []}, "partitions"),
        ({"partitions": 1.5}, "partitions"),
        ({"key": ["a"]}, "key"),
        ({"tag": True}, "tag"),
        ({"key": "k", "message_filter": "lambda m: True"}, "message_filter"),
        ({"fetch_values": True}, "fetch_values"),
        ({"fetch_values": "perhaps", "message_filter": bool}, "fetch_values"),
        ({"app_id": "none carries it"}, "app_id"),
        ({"max_messages": 0}, "max_messages"),
        ({"max_messages": "many"}, "max_messages"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "1.5"}, "batch_size"),
        ({"on_empty": "ignore"}, "on_empty"),
        ({"on_incomplete": "ignore"}, "on_incomplete"),
        ({"clamp_to_now": "if need be"}, "clamp_to_now"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 257}, "concurrency"),
        ({"mqs_conn_id": "no_such_connection"}, "no_such_connection"),
        ({"instance_id": "a/b"}, "instance_id"),
    ],
)
def test_the_query_refuses_with_a_sentence(arguments: dict[str, Any], name: str) -> None:
    """The error names the argument, and is final: a retry would ask the same."""
    operator = QueryMessagesOperator(task_id="query", **{"topic": "orders", **arguments})

    with pytest.raises(AirflowFailException) as caught:
        operator.execute(INTERVAL)
    one_sentence(caught.value, name)


@pytest.mark.parametrize(
    ("messages", "name"),
    [
        (None, "messages"),
        ("", "messages"),
        ("None", "messages"),
        ("{{ ti.xcom_pull() }}", "messages"),
        (7, "messages"),
        (True, "messages"),
        (object(), "messages"),
        ('"[]"', "messages"),
        ([None], "messages"),
        ([ITEM, 3], "messages"),
        ([{"partition": 0}], "message_offset"),
        ([{"message_offset": 0}], "partition"),
        ([{**ITEM, "partition": -1}], "partition"),
        ([{**ITEM, "partition": "0"}], "partition"),
        ([{**ITEM, "partition": 0.0}], "partition"),
        ([{**ITEM, "message_offset": -4}], "message_offset"),
        ([{**ITEM, "message_offset": 4.5}], "message_offset"),
        ([{**ITEM, "message_offset": True}], "message_offset"),
        ([{**ITEM, "message_offset": 2**63}], "message_offset"),
        ([{**ITEM, "offset": 1}], "offset"),
        ([{**ITEM, "topic": "payments"}], "payments"),
        ({"schema": "mqs.offsets/2"}, "schema"),
        ({"schema": "mqs.offsets/1"}, "digest"),
        ({"partitions": {}}, "schema"),
    ],
)
def test_the_resend_refuses_messages_with_a_sentence(mqs: MqsEmulator, messages: Any, name: str) -> None:
    """Whatever is wrong with ``messages`` is said before anything is posted."""
    operator = ResendMessagesOperator(task_id="resend", messages=messages, topic="orders")

    with pytest.raises(AirflowFailException) as caught:
        operator.execute({})
    one_sentence(caught.value, name)
    assert mqs.requests("resend") == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"topic": None}, "topic"),
        ({"topic": "no such topic!"}, "topic"),
        ({"dry_run": "perhaps"}, "dry_run"),
        ({"ordering": "key"}, "ordering"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "lots"}, "concurrency"),
        ({"max_rate": 0}, "max_rate"),
        ({"max_rate": "fast"}, "max_rate"),
        ({"max_messages": 0}, "max_messages"),
        ({"max_messages": 1}, "max_messages"),
        ({"on_failure": "retry"}, "on_failure"),
        ({"max_failures": -1}, "max_failures"),
        ({"mqs_conn_id": "no_such_connection"}, "no_such_connection"),
        ({"instance_id": "../other"}, "instance_id"),
    ],
)
def test_the_resend_refuses_arguments_with_a_sentence(mqs: MqsEmulator, arguments: dict[str, Any], name: str) -> None:
    """Every argument is checked before the first message is posted."""
    messages = [ITEM, {**ITEM, "partition": 1}]
    operator = ResendMessagesOperator(task_id="resend", messages=messages, **{"topic": "orders", **arguments})

    with pytest.raises(AirflowFailException) as caught:
        operator.execute({})
    one_sentence(caught.value, name)
    assert mqs.requests("resend") == []


def _edit(document: dict[str, Any]) -> Any:
    document["partitions"]["0"]["ranges"] = [[0, 5]]
    return document


def _resign(document: dict[str, Any], **changes: Any) -> Any:
    document |= changes
    return {**document, "digest": digest_of(document)}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_edit, "digest"),
        (lambda document: {**document, "topic": "payments"}, "digest"),
        (lambda document: [document, document], "overlap"),
        (lambda document: [document, ITEM], "mixes"),
        (lambda document: _resign(document, endpoint="roma.example.com"), "endpoint"),
        (lambda document: _resign(document, instance_id="another"), "instance_id"),
        (lambda document: _resign(document, topic="payments"), "payments"),
        (lambda document: _resign(document, complete=False), "complete"),
        (lambda document: _resign(document, count=31), "count"),
        (lambda document: _resign(document, partitions={"0": {"ranges": [[5, 1]]}}), "partitions.0"),
        (lambda document: _resign(document, partitions={"0": {"ranges": [[0, 5], [3, 9]]}}), "partitions.0"),
        (lambda document: _resign(document, partitions={"0": {"packed": "zlib+b64:AAAA"}}), "partitions.0"),
        (lambda document: _resign(document, window=None), "window"),
        (lambda document: _resign(document, partitions=None), "mqs.offsets/1"),
        (lambda document: json.dumps(document)[:-9], "messages"),
    ],
)
def test_an_offsets_xcom_that_is_not_what_the_query_wrote_is_refused(
    mqs: MqsEmulator, change: Callable[[dict[str, Any]], Any], name: str
) -> None:
    """Edited, foreign, incomplete, overlapping or broken documents are refused with a sentence."""
    document = QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL)
    operator = ResendMessagesOperator(task_id="resend", messages=change(document), topic="orders")

    with pytest.raises(AirflowFailException) as caught:
        operator.execute({})
    one_sentence(caught.value, name)
    assert mqs.requests("resend") == []


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"allow_resend": False}, "allow_resend"),
        ({"resend_topics": ["pay*"]}, "resend_topics"),
        ({"max_resend_messages": 1}, "max_resend_messages"),
        ({"require_consumer_key": True}, "require_consumer_key"),
    ],
)
def test_the_guard_rails_of_the_connection_hold(
    mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], name: str
) -> None:
    """No argument of the operator loosens what the owner of the connection has set."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(**extra))
    messages = [ITEM, {**ITEM, "partition": 1}]
    operator = ResendMessagesOperator(task_id="resend", messages=messages, topic="orders", max_messages=1000)

    with pytest.raises(AirflowFailException) as caught:
        operator.execute({})
    one_sentence(caught.value, name)
    assert mqs.requests("resend") == []
