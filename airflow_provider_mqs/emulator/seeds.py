"""Messages of any window that a test needs, and of the demo's day, made the same way every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from airflow_provider_mqs.emulator.state import HOUR_MS, State, size_of
from airflow_provider_mqs.emulator.store import StoredMessage, Topic

if TYPE_CHECKING:
    from collections.abc import Sequence


Spread = Literal["even", "equal", "bursts"]  # times over the window, all at its start, or in ten bursts

DAY_MS = 24 * HOUR_MS
DEFAULT_RETENTION_HOURS = 168
_BURSTS = 10


def seed(
    state: State,
    topic: str,
    count: int,  # 0 only creates the topic
    start_ms: int,
    end_ms: int,
    *,
    partitions: int = 1,
    spread: Spread = "even",
    gap_every: int = 0,  # skip an offset after this many messages of a partition; 0 for no gaps
    missing_key_every: int = 0,  # one message in this many has no key; 0 for none
    tags: Sequence[str] = ("",),  # taken in turn
    value_bytes: int = 0,  # least length of a value
    retention_hours: int | None = None,  # default 168, or more if the window would be too old to be visible
) -> None:
    """Fill a window (end exclusive), round robin over the partitions, after their last messages."""
    age_hours = max(0, state.now_ms() - start_ms) // HOUR_MS + 24
    hours = max(DEFAULT_RETENTION_HOURS, age_hours) if retention_hours is None else retention_hours
    state.store.put_topic(Topic(topic, partitions, hours))
    first_offsets = [state.store.next_offset(topic, partition) for partition in range(partitions)]
    # messages share as many different times as there are steps
    steps = {"even": count, "equal": 1, "bursts": min(_BURSTS, count)}[spread]

    def message(index: int) -> StoredMessage:
        number, partition = divmod(index, partitions)
        key = None if missing_key_every and index % missing_key_every == 0 else f"key-{index % 97}"
        value = f"message {index} of {topic}".ljust(value_bytes, ".")
        return StoredMessage(
            topic,
            partition,
            first_offsets[partition] + number + (number // gap_every if gap_every else 0),
            start_ms + (index * steps // count) * (end_ms - start_ms) // steps,
            key,
            value,
            size_of(key, value),
            tag=tags[index % len(tags)],
        )

    state.store.add(map(message, range(count)))


def seed_demo(state: State) -> None:
    """Write the messages of yesterday (UTC), once per day and store: 300 an hour in ``orders``, 20 in ``payments``."""
    today_ms = state.now_ms() // DAY_MS * DAY_MS
    if not state.store.once(f"demo {today_ms}"):
        return
    yesterday_ms = today_ms - DAY_MS
    tags = ("web", "shop", "app", "")
    seed(state, "orders", 24 * 300, yesterday_ms, today_ms, partitions=3, gap_every=25, missing_key_every=7, tags=tags)
    seed(state, "payments", 24 * 20, yesterday_ms, today_ms)
