"""A millisecond with more rows than are shown: every way into it, and a sentence where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.query import saturated_millisecond as saturated
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.store import StoredMessage, Topic
from tests.support import START_MS, Local, local, ref_of

if TYPE_CHECKING:
    from collections.abc import Iterable

AT = START_MS + 500
WIDE = Slice(START_MS, START_MS + 1000)
HIDDEN = pytest.mark.parametrize("hidden", [False, True], ids=["total shown", "total hidden"])
IGNORES_PARTITION: dict[str, Any] = {"partition_narrows": False}


def stored(partitions: int, *blocks: tuple[int, Iterable[int], int], behaviour: Behaviour | None = None) -> Local:
    """A service with ``(partition, offsets, timestamp)`` of messages."""
    client = local(behaviour or Behaviour())
    client.state.store.put_topic(Topic("orders", partitions, 10_000))
    client.state.store.add(
        StoredMessage("orders", partition, offset, timestamp)
        for partition, offsets, timestamp in blocks
        for offset in offsets
    )
    return client


def read(client: Local, partitions: int | None, part: Slice = WIDE) -> tuple[set[tuple[int, int]], list[str]]:
    refs: set[tuple[int, int]] = set()
    numbers = None if partitions is None else range(partitions)
    reader = WindowReader(client.api, "orders", lambda rows: refs.update(map(ref_of, rows)), numbers)
    client.run(reader.read(part))
    return refs, reader.why_incomplete


def expected(client: Local, part: Slice = WIDE) -> set[tuple[int, int]]:
    return {
        (row.partition, row.message_offset)
        for row in client.state.store.messages("orders")
        if part.start_ms <= row.timestamp_ms < part.end_ms
    }


@HIDDEN
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("narrows", [False, True])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
def test_one_partition_above_the_cap_is_walked(hidden: bool, inclusive: bool, narrows: bool, beside: bool) -> None:
    """Neither time nor partition can be cut further, so its offsets are asked for one by one."""
    behaviour = Behaviour(cap_hides_total=hidden, end_inclusive=inclusive, partition_narrows=narrows)
    blocks = [(0, range(100), AT - 1), (0, range(100, 1300), AT), (0, range(1300, 1400), AT + 1)]
    client = stored(2, *blocks, *([(1, range(700), AT)] if beside else []), behaviour=behaviour)

    refs, reasons = read(client, 2 if beside else 1)

    assert reasons == []
    assert refs == expected(client)


@pytest.mark.parametrize(("every", "hidden"), [(2, False), (2, True), (7, False)])
def test_gaps_are_walked_over(every: int, hidden: bool) -> None:
    """Offsets have gaps; a walk goes on behind them."""
    behaviour = Behaviour(cap_hides_total=hidden, **IGNORES_PARTITION)
    client = stored(2, (0, range(0, 510 * every, every), AT), (1, range(3, 50 * every, every), AT), behaviour=behaviour)

    refs, reasons = read(client, 2)

    assert reasons == []
    assert refs == expected(client)


def test_rows_too_far_apart_to_be_walked_between_are_not_complete() -> None:
    """A hole of a thousand million offsets is not asked for one by one."""
    client = stored(1, (0, [*range(499), *range(10**9, 10**9 + 9)], AT))

    refs, reasons = read(client, 1)

    assert (0, 10**9) in refs
    assert "more than 100000 offsets" in reasons[0]
    assert len(client.requests) < 100


def test_gap_that_no_walk_crosses_is_incomplete() -> None:
    """Fewer rows than the service says there are is never taken for all."""
    client = stored(1, (0, range(600), AT), (0, range(2000, 2100), AT), behaviour=Behaviour(**IGNORES_PARTITION))

    refs, reasons = read(client, 1)

    assert len(refs) == 600
    assert len(reasons) == 1
    assert "600 of 700" in reasons[0]


@HIDDEN
def test_partition_of_which_no_row_is_shown_is_searched(hidden: bool) -> None:
    """Its offset in the middle of much older and much newer messages is found by halving."""
    behaviour = Behaviour(cap_hides_total=hidden, **IGNORES_PARTITION)
    client = stored(
        3,
        (0, range(600), AT),
        (1, range(5000), AT - 200),
        (1, range(5000, 5010), AT),
        (1, range(5010, 9000), AT + 200),
        (2, range(40), AT),
        behaviour=behaviour,
    )

    refs, reasons = read(client, 3, Slice(AT, AT + 1))

    assert reasons == []
    assert refs == {(0, n) for n in range(600)} | {(1, n) for n in range(5000, 5010)} | {(2, n) for n in range(40)}
    assert len(client.requests) < 2000


def test_partition_that_ended_before_is_searched_to_its_end() -> None:
    """All of its messages are older: there is nothing, and nothing is missing."""
    client = stored(2, (0, range(600), AT), (1, range(333), AT - 200), behaviour=Behaviour(**IGNORES_PARTITION))

    refs, reasons = read(client, 2, Slice(AT, AT + 1))

    assert reasons == []
    assert refs == {(0, n) for n in range(600)}


@pytest.mark.parametrize(("first", "whole"), [(40, True), (128_000, True), (2**40 + 9999, False)])
def test_partition_whose_beginning_aged_out_is_searched(first: int, whole: bool) -> None:
    """Offsets that are gone lie before the beginning; a partition that the search does not hit upon is incomplete."""
    client = stored(
        2,
        (0, range(600), AT),
        (1, range(first, first + 3000), AT - 200),
        (1, range(first + 3000, first + 3020), AT),
        (1, range(first + 3020, first + 5000), AT + 200),
        behaviour=Behaviour(**IGNORES_PARTITION),
    )

    refs, reasons = read(client, 2, Slice(AT, AT + 1))

    assert (reasons == []) is whole
    assert (refs >= {(1, n) for n in range(first + 3000, first + 3020)}) is whole


def test_row_of_another_time_shows_where_to_search() -> None:
    """Rows that were read before give the search a landmark, however far the offsets have got."""
    first = 2**40 + 12_345
    client = stored(
        2,
        (0, range(600), AT),
        (1, range(first, first + 300), AT - 200),
        (1, range(first + 300, first + 310), AT),
        (1, range(first + 310, first + 400), AT + 200),
        behaviour=Behaviour(**IGNORES_PARTITION),
    )

    refs, reasons = read(client, 2)

    assert reasons == []
    assert refs == expected(client)


def test_empty_partition_is_incomplete() -> None:
    """Nothing of it can be found, so that nobody can say that it holds nothing."""
    client = stored(2, (0, range(600), AT), behaviour=Behaviour(cap_hides_total=True, **IGNORES_PARTITION))

    refs, reasons = read(client, 2)

    assert refs == expected(client)
    assert reasons == [
        f"{Slice(AT, AT + 1)} could not be read completely: no message of it could be found in partition 1."
    ]


@pytest.mark.parametrize("narrows", [False, True])
def test_unknown_number_of_partitions_is_incomplete(narrows: bool) -> None:
    """Those that were shown are read; whether there are others is not known."""
    client = stored(
        2,
        (0, range(300), AT),
        (1, range(400), AT),
        behaviour=Behaviour(cap_hides_total=True, partition_narrows=narrows),
    )

    refs, reasons = read(client, None)

    assert refs == expected(client)
    assert len(reasons) == 1
    assert "partitions are not known" in reasons[0]


def test_partition_that_no_row_shows_is_incomplete_if_their_number_is_unknown() -> None:
    """The total says that there is more than was found."""
    client = stored(2, (0, range(600), AT), (1, range(9), AT), behaviour=Behaviour(**IGNORES_PARTITION))

    refs, reasons = read(client, None)

    assert refs == {(0, n) for n in range(600)}
    assert len(reasons) == 1
    assert "600 of 609" in reasons[0]


@pytest.mark.parametrize("narrows", [False, True])
def test_without_content_queries_a_partition_above_the_cap_is_incomplete(narrows: bool) -> None:
    """What is shown is read, and the sentence names the millisecond."""
    behaviour = Behaviour(partition_narrows=narrows, content_by_offset=False)
    client = stored(2, (0, range(600), AT), (1, range(20), AT), behaviour=behaviour)

    refs, reasons = read(client, 2)

    assert {(0, n) for n in range(500)} <= refs <= expected(client)
    assert len(reasons) == 1
    assert "single messages cannot be read" in reasons[0]


def test_walk_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond that would cost too many requests is incomplete."""
    monkeypatch.setattr(saturated, "_MAX_WALKED", 600)
    client = stored(1, (0, range(2000), AT), behaviour=Behaviour(**IGNORES_PARTITION))

    refs, reasons = read(client, 1)

    assert len(refs) < 2000
    assert any("more than 600 offsets" in reason for reason in reasons)


def test_next_millisecond_is_told_from_this_one() -> None:
    """Where the end is counted in, full neighbours do not make a millisecond look too full."""
    client = stored(3, (0, range(400), AT), (1, range(400), AT + 1), (2, range(100), AT + 2))

    refs, reasons = read(client, 3)

    assert reasons == []
    assert refs == expected(client)
    # a few look whether more of the largest follow than the service shows
    assert len([line for line in client.service.log if line.operation == "content"]) <= 40
