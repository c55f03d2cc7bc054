"""What the store holds and is asked for, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Topic:
    """
    One topic.

    :param name: its name; case counts
    :param partitions: how many partitions it has
    :param retention_hours: hours after which a message is no longer visible
    """

    name: str
    partitions: int = 3
    retention_hours: int = 72


class StoredMessage(NamedTuple):
    """
    One message as the broker holds it; a tuple, because pages of them are made all the time.

    :param topic: topic name
    :param partition: partition number
    :param message_offset: position in the partition
    :param timestamp_ms: epoch ms, the producer's
    :param key: ``None`` when the producer gave none
    :param value: the content
    :param size: bytes that the service reports
    :param message_id: default empty, as the real service often has it
    :param app_id: id of the producing application
    :param tag: label
    :param headers: Kafka headers; the query API does not show them
    :param source_offset: for a copy made by a resend, the offset of its source
    :param visible_ms: epoch ms from which queries show it, by a fault; default at once
    """

    topic: str
    partition: int
    message_offset: int
    timestamp_ms: int
    key: str | None = None
    value: str = ""
    size: int = 0
    message_id: str = ""
    app_id: str = ""
    tag: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    source_offset: int | None = None
    visible_ms: int = 0


@dataclass(frozen=True, slots=True)
class Resend:
    """
    One append made by a resend.

    :param time_ms: when it was appended
    :param trace: request id of the resend
    :param topic: topic name
    :param partition: partition of source and copy
    :param message_offset: offset of the source
    :param copy_offset: offset of the copy
    :param consumer_key: header of the copy, ``None`` when not asked for
    """

    time_ms: int
    trace: str
    topic: str
    partition: int
    message_offset: int
    copy_offset: int
    consumer_key: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """
    Which messages, in which order.

    :param topic: topic name
    :param start_ms: first epoch ms
    :param end_ms: last epoch ms, inclusive
    :param partition: of this partition only; ``None`` for all
    :param by_time: order by time; else by partition and offset
    :param search: texts that a column contains (``key``) or equals (``tag``, ``message_id``)
    :param seen_at_ms: without messages that come into sight after this epoch ms; ``None`` where there are none
    """

    topic: str
    start_ms: int
    end_ms: int
    partition: int | None = None
    by_time: bool = True
    search: tuple[tuple[str, str], ...] = ()
    seen_at_ms: int | None = None
