"""What the operations of the service share: data, switches, clock. No HTTP."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import Faults
from airflow_provider_mqs.emulator.identity import Identity
from airflow_provider_mqs.emulator.records import StoredMessage, Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.emulator.store import Store

HOUR_MS = 3_600_000


@dataclass
class State:
    """
    Everything that an operation may look at or change.

    :param store: topics and messages
    :param behaviour: how the service answers; replace it to change that
    :param faults: what goes wrong
    :param identity: account and ids
    :param clock: seconds since the epoch
    """

    store: Store
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: Faults = field(default_factory=Faults)
    identity: Identity = field(default_factory=Identity)
    clock: Callable[[], float] = time.time
    _all_visible_ms: int = field(default=0, init=False, repr=False)

    def now_s(self) -> float:
        """
        Read the service's own clock.

        :return: epoch seconds, moved by ``clock_offset_s``
        """
        return self.clock() + self.faults.clock_offset_s

    def now_ms(self) -> int:
        """
        Read the service's own clock.

        :return: epoch ms, moved by ``clock_offset_s``
        """
        return math.floor(self.now_s() * 1000)

    def oldest_ms(self, topic: Topic) -> int:
        """
        Say from when on messages are still there.

        :param topic: whose retention counts
        :return: epoch ms
        """
        return self.now_ms() - topic.retention_hours * HOUR_MS

    def seen_at_ms(self) -> int | None:
        """
        Say what moment decides which messages are in sight.

        :return: now in epoch ms; ``None`` where no message is out of sight, which costs a query nothing
        """
        now_ms = self.now_ms()
        return now_ms if now_ms < self._all_visible_ms else None

    def append(
        self,
        topic: str,
        partition: int,
        value: str,
        *,
        timestamp_ms: int | None = None,
        key: str | None = None,
        size: int | None = None,
        message_id: str = "",
        app_id: str = "",
        tag: str = "",
        headers: Mapping[str, str] | None = None,
        source_offset: int | None = None,
    ) -> StoredMessage:
        """
        Write one message to the end of a partition.

        :param topic: topic name
        :param partition: partition number
        :param value: the content
        :param timestamp_ms: epoch ms; default now
        :param key: message key; default none
        :param size: bytes that the service reports; default those of key and value plus 10
        :param message_id: default empty
        :param app_id: default empty
        :param tag: default empty
        :param headers: Kafka headers; default none
        :param source_offset: for a copy, the offset of its source
        :return: the message as stored
        """
        delay_s = self.faults.visible_after_s
        visible_ms = self.now_ms() + round(delay_s * 1000) if delay_s else 0
        self._all_visible_ms = max(self._all_visible_ms, visible_ms)
        message = StoredMessage(
            topic,
            partition,
            self.store.next_offset(topic, partition),
            self.now_ms() if timestamp_ms is None else timestamp_ms,
            key,
            value,
            size_of(key, value) if size is None else size,
            message_id,
            app_id,
            tag,
            headers or {},
            source_offset,
            visible_ms,
        )
        self.store.add([message])
        return message


def size_of(key: str | None, value: str) -> int:
    """
    Count the bytes that the service reports; the seed document's 11-byte value has size 21.

    :param key: message key
    :param value: content
    :return: bytes
    """
    return len((key or "").encode()) + len(value.encode()) + 10
