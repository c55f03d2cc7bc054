"""How a topic is watched. Apart from ``cursor``, since a DAG file needs no more of a watcher than this."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.values.arguments import flag, topic_name, whole_number
from airflow_provider_mqs.core.values.time_window import duration_s, instant_ms
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.values.topic_ref import TopicRef

NOW: Final = "now"
_MIN_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How a topic is watched."""

    topic: str
    poll_interval_s: float
    settle_s: float
    """Seconds that messages get to arrive before they are read."""
    overlap_s: float
    """How late a message may arrive."""
    max_messages: int
    """Of one event."""
    start: int | str
    """When a watcher without a cursor begins: epoch ms, or ``now``."""
    exclude_copies: bool

    @classmethod
    def read(
        cls,
        *,
        topic: Any,
        poll_interval_s: Any,
        settle_s: Any,
        overlap_s: Any,
        max_messages: Any,
        start: Any,
        exclude_copies: Any,
    ) -> WatchOptions:
        """Check the arguments of the trigger."""
        start_ms = NOW if start == NOW else instant_ms(start, "start")
        if start_ms is None:
            raise ConfigurationError("start must be 'now' or a time.")
        return cls(
            topic=topic_name(topic),
            poll_interval_s=max(_MIN_INTERVAL_S, _seconds(poll_interval_s, "poll_interval_s")),
            settle_s=_seconds(settle_s, "settle_s"),
            overlap_s=_seconds(overlap_s, "overlap_s"),
            max_messages=whole_number(max_messages, "max_messages", minimum=1),
            start=start_ms,
            exclude_copies=flag(exclude_copies, "exclude_copies"),
        )

    @property
    def overlap_ms(self) -> int:
        """How late a message may arrive."""
        return int(self.overlap_s * 1000)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; ``WatchOptions.read(**value)`` reads it."""
        return asdict(self)

    def cursor_key(self, ref: TopicRef) -> str:
        """Return the key of the cursor in a store. Other options may change without anything being published twice."""
        identity = {**ref._asdict(), "start": self.start, "exclude_copies": self.exclude_copies}
        return f"cursor-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]}"


def _seconds(value: Any, name: str) -> float:
    seconds = duration_s(value, name)
    if seconds is None:
        raise ConfigurationError(f"{name} is missing.")
    return seconds
