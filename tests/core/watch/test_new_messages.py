"""What a poll finds in a topic, on the local service's core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.watch.cursor import Cursor
from airflow_provider_mqs.core.watch.new_messages import PollResult, find_new_messages, read_topic
from airflow_provider_mqs.core.watch.watch_options import WatchOptions
from airflow_provider_mqs.emulator.seeds import seed
from airflow_provider_mqs.emulator.store import StoredMessage, Topic
from airflow_provider_mqs.exceptions import ConfigurationError
from tests.support import END_MS, NOW_MS, START_MS, Local, local

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef


def seeded(count: int) -> Local:
    client = local()
    seed(client.state, "orders", count, START_MS, END_MS, partitions=3)
    return client


def options(limit: int) -> WatchOptions:
    return WatchOptions("orders", 60, settle_s=0, overlap_s=1, max_messages=limit, start=0, exclude_copies=True)


def poll(
    client: Local, cursor: Cursor, until_ms: int = END_MS, copies: KnownCopies | None = None, limit: int = 9999
) -> PollResult:
    window = cursor.window(until_ms)
    assert window is not None
    reading = client.run(read_topic(client.api, options(limit), cursor, window, copies or KnownCopies()))
    return find_new_messages(client.api, options(limit), cursor, reading, now_ms=NOW_MS)


def stored(client: Local) -> set[MessageRef]:
    return {(row.partition, row.message_offset) for row in client.state.store.messages("orders")}


def test_a_poll_finds_what_the_window_holds() -> None:
    """The document's window begins at the cursor and ends where the next one begins."""
    client = seeded(1300)

    found = poll(client, Cursor.at(START_MS))

    assert set(found.new.timestamps) == stored(client)
    assert found.offsets.count == 1300
    assert (found.offsets.window.start_ms, found.offsets.window.end_ms) == (START_MS, END_MS)
    assert (found.why_incomplete, found.notes, found.offsets.complete) == ((), (), True)


def test_after_a_long_pause_a_shorter_time_is_read() -> None:
    """A million messages that piled up need not fit into memory for a batch of a few."""
    client = seeded(1300)
    cursor, published = Cursor.at(START_MS), []
    first = poll(client, cursor, limit=20)
    assert len(client.requests) < 30

    while len(published) < 1300:
        found = poll(client, cursor, limit=20)
        published += found.new.timestamps
        cursor = found.new.cursor

    assert len(first.new.timestamps) == 20
    assert set(published) == stored(client)
    assert len(set(published)) == len(published)


def test_a_single_millisecond_is_read_whole() -> None:
    """What does not fit into one event comes with the next poll."""
    client = local()
    seed(client.state, "orders", 90, START_MS, START_MS + 1, partitions=3)
    cursor = Cursor.at(START_MS)

    first = poll(client, cursor, START_MS + 1, limit=10)
    second = poll(client, first.new.cursor, START_MS + 1, limit=80)

    assert set(first.new.timestamps) | set(second.new.timestamps) == stored(client)
    assert (first.new.more, second.new.more) == (True, False)
    assert first.offsets.window.end_ms == START_MS + 1


def test_copies_are_left_out_and_counted() -> None:
    """Those in the document's window count."""
    client = seeded(30)

    found = poll(client, Cursor.at(START_MS), copies=KnownCopies({0: ((0, 4),)}))

    assert found.offsets.excluded_copies == 5
    assert found.offsets.count == 25
    assert not found.provisional


def test_a_replay_whose_copies_are_not_known_makes_it_incomplete() -> None:
    """So that the resend refuses the document."""
    found = poll(seeded(30), Cursor.at(START_MS), copies=KnownCopies({}, ("A replay.",)))

    assert found.provisional
    assert found.offsets.complete is False
    assert "A replay." in found.why_incomplete


def test_what_the_service_does_not_show_may_still_be_there() -> None:
    """The poll is provisional, and its document incomplete."""
    client = local()
    client.state.store.put_topic(Topic("orders", 1, 10_000))
    offsets = [*range(499), *range(10**9, 10**9 + 9)]  # too far apart to be read one by one
    client.state.store.add(StoredMessage("orders", 0, offset, START_MS) for offset in offsets)

    found = poll(client, Cursor.at(START_MS), START_MS + 1)

    assert found.provisional
    assert found.offsets.complete is False
    assert "more than 100000 offsets" in found.why_incomplete[0]


def test_a_late_message_moves_the_start_of_the_window_back() -> None:
    """Whoever queries the document's window finds all of its messages."""
    client = seeded(30)
    before = poll(client, Cursor.at(START_MS)).new.cursor
    seed(client.state, "orders", 1, END_MS - 500, END_MS - 499, partitions=3)

    found = poll(client, before, END_MS + 500)

    assert found.offsets.count == 1
    assert (found.offsets.window.start_ms, found.offsets.window.end_ms) == (END_MS - 500, END_MS + 500)


def test_a_cursor_older_than_the_retention_makes_the_document_incomplete() -> None:
    """Messages may be gone that were never published."""
    client = seeded(3)

    found = poll(client, Cursor.at(START_MS - 10_000 * 3_600_000))

    assert found.offsets.complete is False
    assert "may be gone" in found.why_incomplete[0]


def test_an_unknown_topic_is_an_error() -> None:
    """A misspelt name is not taken for an empty topic."""
    with pytest.raises(ConfigurationError, match="'orders' is not in the instance"):
        poll(local(), Cursor.at(START_MS))


def test_a_reading_for_several_watchers_may_begin_earlier_than_one_of_them_needs() -> None:
    """What lies before its own window is neither published nor counted as too much."""
    client = seeded(1300)
    middle_ms = (START_MS + END_MS) // 2
    cursor = Cursor.at(middle_ms)

    window = TimeWindow(START_MS, middle_ms + 60_000, "event")
    reading = client.run(read_topic(client.api, options(100), cursor, window, KnownCopies()))
    found = find_new_messages(client.api, options(100), cursor, reading, now_ms=NOW_MS)

    assert not reading.truncated
    assert len(reading.rows) > 600
    assert found.offsets.window.start_ms == middle_ms
    assert found.offsets.count == sum(middle_ms <= row.timestamp < middle_ms + 60_000 for row in reading.rows.values())


def test_what_had_no_time_to_arrive_is_not_published_yet() -> None:
    """A watcher that reads closer to the present may have read it already."""
    client = seeded(1300)
    cursor, until_ms = Cursor.at(START_MS), START_MS + 60_000
    window = TimeWindow(START_MS, END_MS, "event")
    reading = client.run(read_topic(client.api, options(9999), cursor, window, KnownCopies()))

    found = find_new_messages(client.api, options(9999), cursor, reading, until_ms=until_ms, now_ms=NOW_MS)

    assert found.new.cursor.next_ms == until_ms
    assert 0 < found.offsets.count < 1300
