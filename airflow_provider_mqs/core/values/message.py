"""
Answers of the service as values: messages, pages of them, and topics, read defensively.

The API documents and the deployments differ in types (``total`` as a float, ids as text) and in names (``offset`` for
``message_offset``); all of that ends here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_mqs.exceptions import ProtocolError


@dataclass(frozen=True, slots=True)
class Message:
    """
    One message of a topic.

    Source: API document "Querying Messages", table 4.

    :param topic: topic name
    :param partition: partition of the topic
    :param message_offset: position in the partition
    :param timestamp: the producer's CreateTime, epoch ms
    :param key: message key, ``None`` if the row has none
    :param value: content; ``None`` in the rows of a window query, shortened unless asked for with ``download``
    :param size: bytes
    :param huge_message: whether the service holds more content than it showed
    :param message_id: id that the producer's application set, often ``""``
    :param app_id: id of the producer's application, often ``""``
    :param tag: label, often ``""``
    """

    topic: str
    partition: int
    message_offset: int
    timestamp: int
    key: str | None = field(default=None, repr=False)
    value: str | None = field(default=None, repr=False)
    size: int | None = None
    huge_message: bool = False
    message_id: str | None = None
    app_id: str | None = None
    tag: str | None = None

    @property
    def message(self) -> Message:
        """Itself: a message may stand for a row."""
        return self

    @classmethod
    def from_api(cls, row: Mapping[str, Any], topic: str) -> Message:
        """Read one element of ``messages``; ``topic`` is what was asked for, if the row does not say."""
        offset = row.get("message_offset")
        return cls(
            topic=_text(row.get("topic")) or topic,
            partition=_int(row, "partition"),
            message_offset=_int(row, "offset" if offset is None else "message_offset"),
            timestamp=_int(row, "timestamp"),
            key=_text(row.get("key")),
            value=_text(row.get("value")),
            size=_optional_int(row, "size"),
            huge_message=row.get("huge_message") is True,
            message_id=_text(row.get("message_id")),
            app_id=_text(row.get("app_id")),
            tag=_text(row.get("tag")),
        )


class Row(NamedTuple):
    """A row of a page: which message it is, and the rest as it came; windows have millions of them."""

    partition: int
    message_offset: int
    timestamp: int
    """The producer's CreateTime, epoch ms."""
    fields: Mapping[str, Any]
    """The row as the service wrote it."""
    topic: str
    """The topic that was asked for."""

    @property
    def message(self) -> Message:
        """The message with all its fields, read again at each access."""
        return Message.from_api(self.fields, self.topic)

    def __repr__(self) -> str:
        return f"Row({self.partition}, {self.message_offset}, {self.timestamp})"

    @classmethod
    def from_api(cls, fields: Mapping[str, Any], topic: str) -> Row:
        """Read one element of ``messages``."""
        partition, offset, timestamp = fields.get("partition"), fields.get("message_offset"), fields.get("timestamp")
        # what nearly every row is; a bool is no int here
        if type(partition) is type(offset) is type(timestamp) is int:
            return cls(partition, offset, timestamp, fields, topic)
        name = "offset" if offset is None else "message_offset"
        return cls(_int(fields, "partition"), _int(fields, name), _int(fields, "timestamp"), fields, topic)


Rows: TypeAlias = Sequence[Row | Message]
"""Rows of a window query; messages may stand for them."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a query."""

    rows: Rows
    total: int
    """How many rows the service says that the query has."""

    @property
    def messages(self) -> list[Message]:
        """Its rows, with all their fields."""
        return [row.message for row in self.rows]

    @classmethod
    def from_api(cls, body: Any, topic: str) -> Page:
        """Read a decoded body; without a ``total``, its own rows are all there are."""
        rows = body.get("messages") if isinstance(body, dict) else None
        if rows is None and isinstance(body, dict) and "total" in body:
            rows = []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProtocolError("The answer to the query has no list of messages; is the host an MQS endpoint?")
        total = _optional_int(body, "total")
        if total is None:
            total = len(rows)
        return cls([Row.from_api(row, topic) for row in rows], total)


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic, as the topic list shows it.

    :param name: topic name
    :param partitions: how many it has, ``None`` if the list does not say
    :param retention_h: hours that messages are kept, ``None`` if the list does not say
    """

    name: str
    partitions: int | None
    retention_h: float | None

    @classmethod
    def page_from_api(cls, body: Any) -> tuple[list[Topic], int]:
        """Read a decoded page of the topic list; return its topics, and how many the list has over all pages."""
        rows = body.get("topics") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProtocolError("The answer to the topic list has no list of topics; is the host an MQS endpoint?")
        topics = [
            cls(str(row.get("name", "")), _optional_int(row, "partition"), _optional_int(row, "retention_time"))
            for row in rows
        ]
        return topics, _optional_int(body, "total") or len(rows)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else str(value)


def _optional_int(row: Mapping[str, Any], name: str) -> int | None:
    return None if row.get(name) is None else _int(row, name)


def _int(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    try:
        number = int(value) if isinstance(value, str | int) else int(float(value))  # type: ignore[arg-type]  # None raises
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool):
        raise ProtocolError(f"The service sent {name} = {str(value)[:40]!r} instead of a whole number.")
    return number
