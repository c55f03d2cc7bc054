"""A cursor publishes every message, and each one once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.watch.cursor import Cursor, EventBatch
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.watch.cursor import NewMessages

OVERLAP_MS = 20
START_MS = 1000
# a message: partition, and how many ms before the end of the last poll it is dated; negative ones lie after it
APPEND = st.tuples(st.just("append"), st.integers(0, 2), st.integers(-15, OVERLAP_MS))
POLL = st.tuples(st.just("poll"), st.integers(0, 12), st.integers(1, 4))
KILL = st.tuples(st.just("kill"), st.integers(0, 12), st.integers(1, 4))


class Topic:
    """A topic that is appended to and polled, by a trigger that may be killed before its cursor is saved."""

    def __init__(self) -> None:
        self.rows: dict[MessageRef, int] = {}
        self.offsets = dict.fromkeys(range(3), 0)
        self.now_ms = START_MS
        self.saved = Cursor.at(START_MS)
        self.published: list[MessageRef] = []

    def append(self, partition: int, late_ms: int) -> None:
        """No message is dated before the start, nor further back than the overlap."""
        self.rows[partition, self.offsets[partition]] = max(START_MS, self.saved.next_ms - late_ms)
        self.offsets[partition] += 1

    def poll(self, step_ms: int, limit: int) -> NewMessages | None:
        self.now_ms += step_ms
        window = self.saved.window(self.now_ms)
        if window is None:
            return None
        inside = {ref: timestamp for ref, timestamp in self.rows.items() if timestamp in window}
        new = self.saved.advance(inside, window.end_ms, overlap_ms=OVERLAP_MS, limit=limit)
        assert len(new.timestamps) <= limit
        self.published += new.timestamps
        return new

    def save(self, new: NewMessages | None) -> None:
        if new is not None:
            self.saved = Cursor.from_json(json.loads(json.dumps(new.cursor.to_json())))

    def play(self, steps: list[tuple[str, int, int]]) -> None:
        for kind, one, other in steps:
            if kind == "append":
                self.append(one, other)
            elif kind == "poll":
                self.save(self.poll(one, other))
            else:
                self.poll(one, other)
        self.now_ms += 50
        while (new := self.poll(0, 3)) and new.more:
            self.save(new)


@given(st.lists(st.one_of(APPEND, POLL), max_size=60))
def test_every_message_is_published_exactly_once_if_each_cursor_is_saved(steps: list[tuple[str, int, int]]) -> None:
    """Out of order, late within the overlap, many in one millisecond, over several partitions, in small batches."""
    topic = Topic()

    topic.play(steps)

    assert sorted(topic.published) == sorted(topic.rows)


@given(st.lists(st.one_of(APPEND, POLL, KILL), max_size=60))
def test_every_message_is_published_at_least_once_whenever_the_trigger_is_killed(
    steps: list[tuple[str, int, int]],
) -> None:
    """A kill between the event and the save repeats messages and loses none."""
    topic = Topic()

    topic.play(steps)

    assert set(topic.published) == set(topic.rows)


@given(st.lists(st.one_of(APPEND, POLL, KILL), max_size=60))
def test_the_cursor_holds_no_more_than_the_overlap(steps: list[tuple[str, int, int]]) -> None:
    """What the next poll does not read is forgotten."""
    topic = Topic()

    topic.play(steps)

    assert topic.saved.next_ms - topic.saved.from_ms <= OVERLAP_MS
    assert all(topic.rows[ref] >= topic.saved.from_ms for ref in partition_offsets.expand(topic.saved.seen))


def test_an_overlap_that_was_made_longer_repeats_nothing() -> None:
    """What the shorter one has forgotten is not read again."""
    rows: Mapping[MessageRef, int] = {(0, 0): 1000, (0, 1): 1100}
    cursor = Cursor.at(1000).advance(rows, 1101, overlap_ms=10, limit=9).cursor

    assert cursor.window(1101) == Cursor.at(1091).window(1101)
    assert cursor.advance({(0, 1): 1100}, 1101, overlap_ms=1000, limit=9).timestamps == {}


def test_an_incomplete_reading_forgets_nothing() -> None:
    """What it missed and was published before is not published twice."""
    cursor = Cursor.at(1000).advance({(0, 0): 1000}, 1001, overlap_ms=10, limit=9).cursor

    cursor = cursor.advance({}, 1002, overlap_ms=10, limit=9, complete=False).cursor

    assert cursor.advance({(0, 0): 1000}, 1003, overlap_ms=10, limit=9).timestamps == {}


def test_there_is_nothing_to_read_before_the_start() -> None:
    """Neither a clock that lags nor a start in the future makes an empty window."""
    assert Cursor.at(1000).window(1000) is None
    assert Cursor.at(1000).window(900) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "schema None"),
        ({"schema": "mqs.cursor/2"}, "schema 'mqs.cursor/2'"),
        ({"schema": "mqs.cursor/1", "from_ms": 5, "next_ms": 4, "seen": {}}, "in order"),
        ({"schema": "mqs.cursor/1", "from_ms": "5", "next_ms": 6, "seen": {}}, "epoch ms"),
        ({"schema": "mqs.cursor/1", "from_ms": 5, "next_ms": 6, "seen": {"0": [[3, 1]]}}, "seen"),
    ],
)
def test_a_cursor_of_another_version_or_a_broken_one_is_refused(value: Any, words: str) -> None:
    """Nothing is guessed: a wrong cursor would lose or repeat messages."""
    with pytest.raises(ConfigurationError, match=words):
        Cursor.from_json(value)


def test_a_batch_survives_as_json() -> None:
    """Whoever continues with it polls again at once, since time has passed."""
    batch = EventBatch({"schema": "mqs.offsets/1"}, Cursor(1, 2, {0: ((3, 4),)}))

    again = EventBatch.from_json(json.loads(json.dumps(batch.to_json())))

    assert (again.document, again.cursor, again.more) == (batch.document, batch.cursor, True)


@pytest.mark.parametrize(
    "broken", [None, [], {}, {"document": {}}, {"document": None, "cursor": Cursor(1, 2).to_json()}]
)
def test_a_broken_batch_is_an_error(broken: Any) -> None:
    """It is not ignored: its messages would never be published."""
    with pytest.raises(ConfigurationError, match="Remove"):
        EventBatch.from_json(broken)
