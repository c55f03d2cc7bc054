"""Rows and pages as deployments really write them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mqs.core.values.message import Message, Page, Topic
from airflow_provider_mqs.exceptions import ProtocolError

ROW = {
    "topic": "orders",
    "partition": 0,
    "key": "k",
    "value": "hello world",
    "size": 21,
    "timestamp": 1607598463502,
    "huge_message": False,
    "message_offset": 4,
    "message_id": "",
    "app_id": "",
    "tag": "",
}


def row(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ROW, **changes}.items() if value is not ...}


def test_row_of_the_document_is_read() -> None:
    """The example of the API document comes out field by field."""
    expected = Message("orders", 0, 4, 1607598463502, "k", "hello world", 21, False, "", "", "")

    assert Message.from_api(ROW, "orders") == expected


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"message_offset": ..., "offset": 4}, "message_offset", 4),
        ({"message_offset": None, "offset": 4}, "message_offset", 4),
        ({"message_offset": "4"}, "message_offset", 4),
        ({"message_offset": 4.0}, "message_offset", 4),
        ({"message_offset": 0, "offset": 9}, "message_offset", 0),
        ({"message_offset": 2**63 - 1}, "message_offset", 2**63 - 1),
        ({"key": ...}, "key", None),
        ({"key": 17}, "key", "17"),
        ({"value": ...}, "value", None),
        ({"topic": ...}, "topic", "orders"),
        ({"topic": ""}, "topic", "orders"),
        ({"size": 21.0}, "size", 21),
        ({"size": ...}, "size", None),
        ({"huge_message": True}, "huge_message", True),
        ({"huge_message": ...}, "huge_message", False),
    ],
)
def test_rows_are_read_however_they_are_typed(changes: dict[str, Any], field: str, value: Any) -> None:
    """Types and names that differ between deployments end here."""
    assert getattr(Message.from_api(row(**changes), "orders"), field) == value


@pytest.mark.parametrize("name", ["partition", "message_offset", "timestamp"])
@pytest.mark.parametrize(
    "value", [..., None, True, "x", [1], {}, float("nan"), float("inf"), -1, 4.5, 2**63, 1e30, "1_0", "٣", "-1", ""]
)
def test_row_without_a_place_or_time_breaks_the_protocol(name: str, value: Any) -> None:
    """Nothing is guessed where a row does not say which message it is."""
    with pytest.raises(ProtocolError, match=f"{'offset' if name == 'message_offset' else name}"):
        Message.from_api(row(**{name: value}), "orders")


def test_contents_are_not_shown() -> None:
    """Key and value never reach a log by way of the representation."""
    shown = repr(Message.from_api(row(key="customer-17", value="iban"), "orders"))

    assert "customer-17" not in shown
    assert "iban" not in shown


@pytest.mark.parametrize(
    ("body", "rows", "total"),
    [
        ({"messages": [ROW], "total": 7.0, "size": 1.0}, 1, 7),
        ({"messages": [ROW, ROW]}, 1, None),
        ({"messages": [ROW], "total": None}, 1, None),
        ({"messages": [ROW], "total": float("nan")}, 1, None),
        ({"messages": [ROW], "total": -1}, 1, None),
        ({"messages": [ROW], "total": 2**63}, 1, None),
        ({"messages": [ROW], "total": "many"}, 1, None),
        ({"messages": [ROW], "total": "3"}, 1, 3),
        ({"messages": [], "total": 0}, 0, 0),
        ({"messages": None, "total": 0}, 0, 0),
        ({"total": 12}, 0, 12),
    ],
)
def test_pages_are_read_however_they_are_typed(body: dict[str, Any], rows: int, total: int | None) -> None:
    """The total may be a float, text or absent; an empty page may have no list at all."""
    page = Page.from_api(body, "orders")

    assert (len(page.messages), page.total) == (rows, total)


@pytest.mark.parametrize("body", [None, [], "text", 5, {}, {"messages": "x"}, {"messages": [1]}, {"size": 1}])
def test_answer_without_messages_breaks_the_protocol(body: Any) -> None:
    """An answer of something else is not taken for an empty window."""
    with pytest.raises(ProtocolError, match="list of messages"):
        Page.from_api(body, "orders")


def test_topics_are_read() -> None:
    """Name, partitions and retention come out; what the list does not say is not known."""
    body = {"topics": [{"name": "orders", "partition": 3.0, "retention_time": 72}, {"name": "bare"}], "total": 9.0}

    topics, total = Topic.page_from_api(body)

    assert topics == [Topic("orders", 3, 72.0), Topic("bare", None, None)]
    assert total == 9


def test_topic_list_without_a_total_says_nothing_of_its_length() -> None:
    """Nor does anything else about a topic that is no number."""
    body = {"topics": [{"name": "orders", "partition": "many", "retention_time": -1}]}

    assert Topic.page_from_api(body) == ([Topic("orders", None, None)], None)


def test_row_of_another_topic_breaks_the_protocol() -> None:
    """It is no answer to the question."""
    with pytest.raises(ProtocolError, match="row of topic 'invoices' instead of 'orders'"):
        Message.from_api(row(topic="invoices"), "orders")


@pytest.mark.parametrize(("name", "value"), [("timestamp", 1607598463503), ("size", 22), ("key", "other")])
def test_one_message_twice_on_a_page_must_be_the_same(name: str, value: Any) -> None:
    """Nobody can know which of the two is right."""
    with pytest.raises(ProtocolError, match=f"message 4 of partition 0 twice, with another {name}"):
        Page.from_api({"messages": [ROW, row(**{name: value})]}, "orders")


@pytest.mark.parametrize("body", [None, [], {}, {"topics": {}}, {"topics": ["orders"]}])
def test_answer_without_topics_breaks_the_protocol(body: Any) -> None:
    """An answer of something else is not taken for an empty list."""
    with pytest.raises(ProtocolError, match="list of topics"):
        Topic.page_from_api(body)
