"""What a look at a topic finds, on the local service's core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.watch.cursor import Cursor
from airflow_provider_mqs.core.watch.new_messages import PollResult, WatchOptions, find_news, read_topic
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


def look(
    client: Local, cursor: Cursor, until_ms: int = END_MS, copies: KnownCopies | None = None, most: int = 9999
) -> PollResult:
    window = cursor.window(until_ms)
    assert window is not None
    watch = WatchOptions("orders", 1000, most, copies or KnownCopies())
    reading = client.run(read_topic(client.api, "orders", cursor, window, most=most))
    return find_news(client.api, watch, cursor, reading, now_ms=NOW_MS)


def stored(client: Local) -> set[MessageRef]:
    return {(row.partition, row.message_offset) for row in client.state.store.messages("orders")}


def test_a_look_finds_what_the_window_holds() -> None:
    """The document's window begins at the cursor and ends where the next one begins."""
    client = seeded(1300)

    found = look(client, Cursor.at(START_MS))

    assert set(found.news.told) == stored(client)
    assert found.offsets.count == 1300
    assert (found.offsets.window.start_ms, found.offsets.window.end_ms) == (START_MS, END_MS)
    assert (found.doubts, found.notes, found.offsets.complete) == ((), (), True)


def test_after_a_long_pause_a_shorter_time_is_looked_at() -> None:
    """A million messages behind do not have to fit into memory for a batch of a few."""
    client = seeded(1300)
    cursor, told = Cursor.at(START_MS), []
    first = look(client, cursor, most=20)
    assert len(client.requests) < 30

    while len(told) < 1300:
        found = look(client, cursor, most=20)
        told += found.news.told
        cursor = found.news.cursor

    assert len(first.news.told) == 20
    assert set(told) == stored(client)
    assert len(set(told)) == len(told)


def test_a_single_millisecond_is_not_cut_further() -> None:
    """Its rest comes with the next look."""
    client = local()
    seed(client.state, "orders", 90, START_MS, START_MS + 1, partitions=3)
    cursor = Cursor.at(START_MS)

    first = look(client, cursor, START_MS + 1, most=10)
    second = look(client, first.news.cursor, START_MS + 1, most=80)

    assert set(first.news.told) | set(second.news.told) == stored(client)
    assert (first.news.more, second.news.more) == (True, False)
    assert first.offsets.window.end_ms == START_MS + 1


def test_copies_are_left_out_and_counted() -> None:
    """Those in the document's window."""
    client = seeded(30)

    found = look(client, Cursor.at(START_MS), copies=KnownCopies({0: ((0, 4),)}))

    assert found.offsets.excluded_copies == 5
    assert found.offsets.count == 25
    assert not found.unsettled


def test_a_replay_whose_copies_are_not_known_makes_it_incomplete() -> None:
    """So that the resend refuses the document."""
    found = look(seeded(30), Cursor.at(START_MS), copies=KnownCopies({}, ("A replay.",)))

    assert found.unsettled
    assert found.offsets.complete is False
    assert "A replay." in found.doubts


def test_what_the_service_does_not_show_is_no_end_of_it() -> None:
    """The look is unsettled, and its document incomplete."""
    client = local()
    client.state.store.put_topic(Topic("orders", 1, 10_000))
    offsets = [*range(499), *range(10**9, 10**9 + 9)]  # too far apart to be looked for one by one
    client.state.store.add(StoredMessage("orders", 0, offset, START_MS) for offset in offsets)

    found = look(client, Cursor.at(START_MS), START_MS + 1)

    assert found.unsettled
    assert found.offsets.complete is False
    assert "more than 100000 offsets" in found.doubts[0]


def test_a_late_message_stretches_the_window_to_the_front() -> None:
    """Whoever queries the document's window finds all of its messages."""
    client = seeded(30)
    before = look(client, Cursor.at(START_MS)).news.cursor
    seed(client.state, "orders", 1, END_MS - 500, END_MS - 499, partitions=3)

    found = look(client, before, END_MS + 500)

    assert found.offsets.count == 1
    assert (found.offsets.window.start_ms, found.offsets.window.end_ms) == (END_MS - 500, END_MS + 500)


def test_what_the_service_no_longer_keeps_is_said() -> None:
    """A cursor that is older than the retention means that something may be lost."""
    client = seeded(3)

    found = look(client, Cursor.at(START_MS - 10_000 * 3_600_000))

    assert found.offsets.complete is False
    assert "may be gone" in found.doubts[0]


def test_an_unknown_topic_is_an_error() -> None:
    """A misspelt name is not silence for ever."""
    with pytest.raises(ConfigurationError, match="'orders' is not in the instance"):
        look(local(), Cursor.at(START_MS))


def test_a_reading_for_several_watchers_may_begin_earlier_than_one_of_them_needs() -> None:
    """What lies before its own window is neither told nor too much to read."""
    client = seeded(1300)
    middle_ms = (START_MS + END_MS) // 2
    cursor = Cursor.at(middle_ms)

    reading = client.run(
        read_topic(client.api, "orders", cursor, TimeWindow(START_MS, middle_ms + 60_000, "event"), most=100)
    )
    found = find_news(client.api, WatchOptions("orders", 1000, 100), cursor, reading, now_ms=NOW_MS)

    assert not reading.cut
    assert len(reading.rows) > 600
    assert found.offsets.window.start_ms == middle_ms
    assert found.offsets.count == sum(middle_ms <= row.timestamp < middle_ms + 60_000 for row in reading.rows.values())


def test_what_had_no_time_to_settle_is_not_told_yet() -> None:
    """Somebody who reads closer to the present may have read it."""
    client = seeded(1300)
    cursor, until_ms = Cursor.at(START_MS), START_MS + 60_000
    reading = client.run(read_topic(client.api, "orders", cursor, TimeWindow(START_MS, END_MS, "event"), most=9999))

    found = find_news(client.api, WatchOptions("orders", 1000, 9999), cursor, reading, until_ms=until_ms, now_ms=NOW_MS)

    assert found.news.cursor.next_ms == until_ms
    assert 0 < found.offsets.count < 1300
