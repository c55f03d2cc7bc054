"""What the operations of the service share: data, switches, clock. No HTTP."""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import Faults
from airflow_provider_mqs.emulator.identity import Identity
from airflow_provider_mqs.emulator.store import Store, StoredMessage, Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOUR_MS = 3_600_000


@dataclass
class State:
    """Everything that an operation may read or change; assign another behaviour to change how the service answers."""

    store: Store
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: Faults = field(default_factory=Faults)
    identity: Identity = field(default_factory=Identity)
    clock: Callable[[], float] = time.time  # seconds since the epoch
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex  # of a request or a token; 32 hexadecimal digits
    _all_visible_ms: int = field(default=0, init=False, repr=False)  # from then on, no message is hidden

    def now_s(self) -> float:
        """Return the service's own time in epoch seconds, which a fault can move."""
        return self.clock() + self.faults.clock_offset_s

    def now_ms(self) -> int:
        """Return the service's own time in epoch ms, which a fault can move."""
        return math.floor(self.now_s() * 1000)

    def oldest_ms(self, topic: Topic) -> int:
        """Return the epoch ms before which the retention of a topic has removed its messages."""
        if self.faults.retained_from_ms is not None:
            return self.faults.retained_from_ms
        return self.now_ms() - topic.retention_hours * HOUR_MS

    def visible_at_ms(self) -> int | None:
        """Return the moment that decides which messages queries show; ``None`` if they show all of them."""
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
        """Write one message to the end of a partition, by default with the current time and the size of its content."""
        faults = self.faults
        seen_at_once = faults.visible_after_copies and source_offset is None
        if partition not in (faults.visible_after_partitions or {partition}):
            seen_at_once = True
        delay_s = 0.0 if seen_at_once else faults.visible_after_s
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

    def happened(self, what: str) -> None:
        """Count one copy or one request of an operation, and make the changes that were set for this moment."""
        for turn in self.faults.due(what):
            self.behaviour = self.behaviour.changed(turn.behaviour)
            self.faults.update(turn.faults)
            if turn.renew:
                self.store.drop_messages(turn.renew)
            for message in turn.append:
                self.append(**message)

    def clear(self) -> None:
        """Forget data and faults; the behaviour stays."""
        self.store.clear()
        self.faults.clear()
        self._all_visible_ms = 0


def size_of(key: str | None, value: str) -> int:
    """Return the size in bytes that the service reports."""
    # the query document shows size 21 for a value of 11 bytes without a key
    return len((key or "").encode()) + len(value.encode()) + 10
