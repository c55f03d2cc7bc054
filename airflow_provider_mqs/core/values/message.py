"""
Answers of the service as values: messages, pages of them, and topics, read defensively.

The API documents and the deployments differ in types (``total`` as a float, ids as text) and in names (``offset`` for
``message_offset``); all of that ends here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from airflow_provider_mqs.exceptions import ProtocolError

_LARGEST: Final = {"partition": 2**31 - 1, "retention_time": 10**9}
_MAX_INT64: Final = 2**63 - 1
_MAX_EXACT_FLOAT: Final = 2**53
"""Above this, a float no longer tells neighbours apart."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
"""A whole number as text: ``int()`` would also take ``1_0`` and digits of other scripts."""


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
        """Read one element of ``messages``; ``topic`` is what was asked for."""
        partition, offset, timestamp = _ref_and_time(row, topic)
        return cls(
            topic=topic,
            partition=partition,
            message_offset=offset,
            timestamp=timestamp,
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


_new_row: Final = partial(tuple.__new__, Row)  # a third of the time that ``Row(...)`` takes
_REF: Final = itemgetter(0, 1)
Rows: TypeAlias = Sequence[Row | Message]
"""Rows of a window query; messages may stand for them."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a query."""

    rows: Rows
    total: int | None
    """How many rows the service says that the query has: a hint, never a proof; ``None`` if it says nothing usable."""

    @property
    def messages(self) -> list[Message]:
        """Its rows, with all their fields."""
        return [row.message for row in self.rows]

    @classmethod
    def from_api(cls, body: Any, topic: str) -> Page:
        """Read a decoded body; the same message twice is one row, if it says the same twice."""
        rows = body.get("messages") if isinstance(body, dict) else None
        if rows is None and isinstance(body, dict) and "total" in body:
            rows = []
        if not isinstance(rows, list) or not set(map(type, rows)) <= {dict}:
            raise ProtocolError("The answer to the query has no list of messages; is the host an MQS endpoint?")
        found = _rows_from_api(rows, topic)
        if len(set(map(_REF, found))) < len(found):
            found = list(_distinct(found))
        return cls(found, _count_of(body, "total"))


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
    def page_from_api(cls, body: Any) -> tuple[list[Topic], int | None]:
        """Read a decoded page of the topic list; return its topics, and how many it says to have over all pages."""
        rows = body.get("topics") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProtocolError("The answer to the topic list has no list of topics; is the host an MQS endpoint?")
        topics = [
            cls(str(row.get("name", "")), _count_of(row, "partition"), _count_of(row, "retention_time")) for row in rows
        ]
        return topics, _count_of(body, "total")


def _rows_from_api(rows: Sequence[Mapping[str, Any]], topic: str) -> list[Row]:
    """Read the elements of ``messages``; plain, since it runs for every row of a query."""
    found: list[Row] = []
    most_partition = _LARGEST["partition"]
    for fields in rows:
        get = fields.get
        partition, offset, timestamp = get("partition"), get("message_offset"), get("timestamp")
        # what nearly every row is not; a bool is no int here
        if not (
            type(partition) is type(offset) is type(timestamp) is int
            and 0 <= partition <= most_partition
            and 0 <= offset <= _MAX_INT64
            and 0 <= timestamp <= _MAX_INT64
            and get("topic") == topic
        ):
            partition, offset, timestamp = _ref_and_time(fields, topic)
        found.append(_new_row((partition, offset, timestamp, fields, topic)))
    return found


def _ref_and_time(fields: Mapping[str, Any], topic: str) -> tuple[int, int, int]:
    """Return partition, offset and timestamp of a row of a topic, or refuse it."""
    named = fields.get("topic")
    if named != topic and named not in (None, ""):
        raise ProtocolError(f"The service sent a row of topic {str(named)[:40]!r} instead of {topic!r}.")
    name = "offset" if fields.get("message_offset") is None else "message_offset"
    return _int(fields, "partition"), _int(fields, name), _int(fields, "timestamp")


def _distinct(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield each message once; raise if a page says two things about one."""
    seen: dict[tuple[int, int], Row] = {}
    for row in rows:
        first = seen.setdefault((row.partition, row.message_offset), row)
        if first is row:
            yield row
        else:
            check_same(first, row)


def check_same(one: Row | Message, other: Row | Message) -> None:
    """Refuse two rows with one partition and offset that are not the same message."""
    left, right = one.message, other.message
    for name in ("timestamp", "size", "key"):
        if getattr(left, name) != getattr(right, name):
            raise ProtocolError(
                f"The service sent message {left.message_offset} of partition {left.partition} twice, "
                f"with another {name}."
            )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else str(value)


def _count_of(body: Mapping[str, Any], name: str) -> int | None:
    """Read a number that is only a hint; what is none says nothing."""
    try:
        return _optional_int(body, name)
    except ProtocolError:
        return None


def _optional_int(row: Mapping[str, Any], name: str) -> int | None:
    return None if row.get(name) is None else _int(row, name)


def _int(row: Mapping[str, Any], name: str) -> int:
    """Read a whole number that is not negative, as a number or as text; ``name`` is for the error."""
    value = row.get(name)
    number = -1
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT:
        number = int(value)
    if not 0 <= number <= _LARGEST.get(name, _MAX_INT64):
        raise ProtocolError(f"The service sent {name} = {str(value)[:40]!r} instead of a whole number.")
    return number
