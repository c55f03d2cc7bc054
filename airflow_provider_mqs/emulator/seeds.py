"""Messages to begin with, made the same way every time: the demo's day, and any shape that a test needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from airflow_provider_mqs.emulator.records import StoredMessage, Topic
from airflow_provider_mqs.emulator.state import HOUR_MS, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_mqs.emulator.state import State

Spread = Literal["even", "equal", "bursts"]

DAY_MS = 24 * HOUR_MS
DEFAULT_RETENTION_HOURS = 168
_BURSTS = 10
_DEMO_GAP_EVERY = 25
_DEMO_MISSING_KEY_EVERY = 7


def seed(
    state: State,
    topic: str,
    count: int,
    start_ms: int,
    end_ms: int,
    *,
    partitions: int = 1,
    spread: Spread = "even",
    gap_every: int = 0,
    missing_key_every: int = 0,
    tags: Sequence[str] = ("",),
    value_bytes: int = 0,
    retention_hours: int | None = None,
) -> None:
    """
    Fill a window, round robin over the partitions, behind what they already hold.

    :param state: where to
    :param topic: topic name; created, or changed when it exists
    :param count: messages in all; 0 only creates the topic
    :param start_ms: first epoch ms
    :param end_ms: end of the window, exclusive
    :param partitions: of the topic, default 1
    :param spread: ``even`` over the window, all ``equal`` at its start, or in ten ``bursts``
    :param gap_every: skip an offset after so many messages of a partition; default never
    :param missing_key_every: every so-manieth message has no key; default none
    :param tags: taken in turn; default none
    :param value_bytes: least length of a value; default as short as it comes
    :param retention_hours: default 168, or more where the window would be out of sight
    """
    age_hours = max(0, state.now_ms() - start_ms) // HOUR_MS + 24
    hours = max(DEFAULT_RETENTION_HOURS, age_hours) if retention_hours is None else retention_hours
    state.store.put_topic(Topic(topic, partitions, hours))
    offsets = [_offsets(state.store.next_offset(topic, one), gap_every) for one in range(partitions)]

    def message(index: int) -> StoredMessage:
        partition = index % partitions
        key = None if missing_key_every and index % missing_key_every == 0 else f"key-{index % 97}"
        value = f"message {index} of {topic}".ljust(value_bytes, ".")
        return StoredMessage(
            topic,
            partition,
            next(offsets[partition]),
            start_ms + _position(index, count, end_ms - start_ms, spread),
            key,
            value,
            size_of(key, value),
            tag=tags[index % len(tags)],
        )

    state.store.add(map(message, range(count)))


def seed_demo(state: State) -> None:
    """
    Write yesterday (UTC), once per day and store: 300 messages an hour in ``orders``, 20 in ``payments``.

    :param state: where to
    """
    today_ms = state.now_ms() // DAY_MS * DAY_MS
    if not state.store.once(f"demo {today_ms}"):
        return
    seed(
        state,
        "orders",
        24 * 300,
        today_ms - DAY_MS,
        today_ms,
        partitions=3,
        gap_every=_DEMO_GAP_EVERY,
        missing_key_every=_DEMO_MISSING_KEY_EVERY,
        tags=("web", "shop", "app", ""),
    )
    seed(state, "payments", 24 * 20, today_ms - DAY_MS, today_ms)


def _offsets(first: int, gap_every: int) -> Iterator[int]:
    offset = first
    while True:
        for _ in range(gap_every or 1):
            yield offset
            offset += 1
        offset += 1 if gap_every else 0


def _position(index: int, count: int, width_ms: int, spread: Spread) -> int:
    if spread == "equal":
        return 0
    steps = min(_BURSTS, count) if spread == "bursts" else count
    return (index * steps // count) * width_ms // steps
