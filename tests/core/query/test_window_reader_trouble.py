"""The reader where the service is difficult: totals that move, refusals, and a service that is down."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Parallel, Request, Response, Step, drive
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import ALWAYS, Rule, Turn
from airflow_provider_mqs.emulator.seeds import seed
from airflow_provider_mqs.emulator.store import StoredMessage, Topic
from airflow_provider_mqs.exceptions import BadRequestError, ServerError, WindowTooLargeError
from tests.support import END_MS, START_MS, Local, local, ref_of

HOUR = Slice(START_MS, END_MS)


def seeded(count: int, behaviour: Behaviour | None = None, **changes: Any) -> Local:
    client = local(behaviour, **changes)
    seed(client.state, "orders", count, START_MS, END_MS, partitions=3)
    return client


def read(client: Local, part: Slice = HOUR) -> tuple[list[tuple[int, int]], list[str]]:
    rows: list[tuple[int, int]] = []
    reader = WindowReader(client.api, "orders", lambda found: rows.extend(map(ref_of, found)), range(3))
    client.run(reader.read(part))
    return rows, reader.why_incomplete


def expected(client: Local, part: Slice = HOUR) -> set[tuple[int, int]]:
    return {
        (row.partition, row.message_offset)
        for row in client.state.store.messages("orders")
        if part.start_ms <= row.timestamp_ms < part.end_ms
    }


def queries(client: Local) -> int:
    return sum(line.operation == "query" for line in client.service.log)


def test_small_window_costs_one_request() -> None:
    """What fits into a page is asked for once."""
    for count in (0, 1, 21, 49):
        client = seeded(count)
        read(client)

        assert queries(client) == 1


@pytest.mark.parametrize(("count", "requests"), [(50, 2 + 2), (51, 2 + 2), (400, 9 + 2), (499, 10 + 2)])
def test_usual_paging_costs_a_request_a_page(count: int, requests: int) -> None:
    """Where offset counts pages, finding that out costs nothing; two compare the rows with those of the halves."""
    client = seeded(count)

    read(client)

    assert queries(client) == requests


@pytest.mark.parametrize("setting", ["auto", "page", "row"])
@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
def test_paging_setting_is_obeyed_where_it_is_right(setting: Any, paging: Any) -> None:
    """A wrong setting is found out by the rows that are missing, and never in silence."""
    client = seeded(350, Behaviour(paging=paging), paging=setting)

    rows, reasons = read(client)

    right = {"auto": True, "page": paging != "row", "row": paging == "row"}[setting]
    if right:
        assert set(rows) == expected(client)
        assert reasons == []
    else:
        assert set(rows) == expected(client) or reasons


@pytest.mark.parametrize("wobble", [1, 5])
@pytest.mark.parametrize("count", [49, 120, 450, 1200])
def test_moving_total_costs_requests_and_no_rows(wobble: int, count: int) -> None:
    """A total that is wrong by a few, anew for each page, hides nothing."""
    client = seeded(count)
    client.state.faults.total_wobble = wobble

    rows, _ = read(client)

    assert set(rows) == expected(client)
    assert queries(client) < 400


@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
@pytest.mark.parametrize("cap", [None, 500])
@pytest.mark.parametrize("behind", [1, 30, 70])
@pytest.mark.parametrize("count", [50, 51, 120, 520])
def test_total_below_the_rows_hides_nothing(paging: Any, cap: int | None, behind: int, count: int) -> None:
    """A total that is behind the rows ends the reading too early where the last page is full."""
    client = seeded(count, Behaviour(paging=paging, cap=cap))

    def perform(step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, perform) for flow in step.flows]
        answer = client.perform(step)
        body = answer.json()
        body["total"] = max(0, body["total"] - behind)
        return Response(200, {}, json.dumps(body).encode())

    rows: set[tuple[int, int]] = set()
    reader = WindowReader(client.api, "orders", lambda found: rows.update(map(ref_of, found)), range(3))
    drive(reader.read(HOUR), perform)

    assert rows == expected(client)


def test_rows_that_arrive_between_pages_are_found() -> None:
    """Messages that are written into the window while it is read make it read again."""
    client = seeded(300)
    client.state.faults.rows_between_pages = 1
    before = expected(client)

    rows, _ = read(client)

    assert set(rows) >= before


@pytest.mark.parametrize("refusal", ["query_too_large", "query_timeout", "internal"])
@pytest.mark.parametrize("limit", [{"query_max_ms": 500_000}, {"query_max_rows": 90}])
def test_range_that_is_too_much_is_cut(refusal: Any, limit: dict[str, int]) -> None:
    """501, 408 and 500 for a large range: its parts are read instead, all of them."""
    client = seeded(600)
    client.state.faults.query_refusal = refusal
    for name, value in limit.items():
        setattr(client.state.faults, name, value)

    rows, reasons = read(client)

    assert set(rows) == expected(client)
    assert reasons == []


@pytest.mark.parametrize("after", range(1, 18))
def test_slice_that_is_refused_after_it_was_read_is_cut(after: int) -> None:
    """At whatever moment the service begins to refuse so many rows."""
    client = seeded(300)
    client.state.faults.turns = [Turn(after=after, of="query", faults={"query_max_rows": 90})]

    rows, reasons = read(client)

    assert set(rows) == expected(client)
    assert reasons == []


@pytest.mark.parametrize("refusal", ["query_too_large", "query_timeout"])
def test_millisecond_that_is_too_much_is_an_error(refusal: Any) -> None:
    """Where not even that can be had, the refusal comes out."""
    client = seeded(10)
    client.state.faults.query_refusal = refusal
    client.state.faults.query_max_ms = -1

    with pytest.raises(WindowTooLargeError):
        read(client, Slice(START_MS, START_MS + 4))


def test_too_deep_page_is_cut() -> None:
    """A page too far in is refused by number, and the range is cut."""
    client = seeded(450, Behaviour(max_skip=100))

    rows, reasons = read(client)

    assert set(rows) == expected(client)
    assert reasons == []


def test_page_size_that_is_refused_becomes_smaller() -> None:
    """Services that take ten rows at most are asked for ten."""
    client = seeded(95, Behaviour(page_size_limit=10, refuse_large_pages=True))

    rows, reasons = read(client)

    assert set(rows) == expected(client)
    assert reasons == []
    assert queries(client) == 1 + 10 + 2


def test_page_size_that_is_never_right_is_an_error() -> None:
    """Below ten rows, the refusal comes out."""
    client = seeded(95, Behaviour(page_size_limit=5, refuse_large_pages=True))

    with pytest.raises(BadRequestError, match="10240042"):
        read(client)

    assert queries(client) == 2


@pytest.mark.parametrize("page_size", [8, 10])
def test_a_refused_page_never_grows(page_size: int) -> None:
    """The owner of the connection allowed no more rows a page, so that a smaller page is not tried with more."""
    client = seeded(95, Behaviour(page_size_limit=5, refuse_large_pages=True), page_size=page_size)

    with pytest.raises(BadRequestError, match="10240042"):
        read(client)
    assert [f"limit={page_size}&" in request.url for request in client.requests] == [True]


def test_other_refusals_come_out() -> None:
    """A wrong parameter is no range that is too large."""
    client = seeded(95)
    client.state.faults.error_400 = ALWAYS

    with pytest.raises(BadRequestError):
        read(client)

    assert queries(client) == 1


@pytest.mark.parametrize(
    ("fault", "requests"), [("error_500", 12), ("error_502", 6), ("error_503", 6), ("html_502", 6), ("lost_504", 6)]
)
def test_service_that_is_down_fails_fast(fault: str, requests: int) -> None:
    """What may mean a range that is too much is told from that by one small question; nothing is asked often."""
    client = seeded(600)
    setattr(client.state.faults, fault, ALWAYS)

    with pytest.raises(ServerError):
        read(client)

    assert queries(client) == requests


def test_service_that_goes_down_on_the_way_ends_it() -> None:
    """After the first answers, too, the number of requests is bounded."""
    client = seeded(3000)
    client.state.faults.error_500 = Rule(probability=1, skip=20)

    with pytest.raises(ServerError):
        read(client)

    assert queries(client) < 600


def test_service_that_fails_for_all_but_tiny_ranges_ends_it() -> None:
    """An hour is not read millisecond by millisecond."""
    client = seeded(600)
    client.state.faults.query_refusal = "internal"
    client.state.faults.query_max_ms = 1

    with pytest.raises(ServerError):
        read(client)

    assert queries(client) < 500


def test_failure_that_passes_costs_a_wait() -> None:
    """Retries belong to the client; the reader sees nothing of them."""
    client = seeded(600)
    client.state.faults.error_503 = Rule(next=3, skip=2)

    rows, reasons = read(client)

    assert set(rows) == expected(client)
    assert reasons == []
    assert [sleep.seconds for sleep in client.sleeps] == [0.25, 0.5, 1.0]


def _messages(times: list[tuple[int, int]]) -> Local:
    client = local(Behaviour(cap=20, page_size_limit=7))
    client.state.store.put_topic(Topic("orders", 3, 10_000))
    ends = [0, 0, 0]
    for partition, timestamp in times:
        client.state.store.add([StoredMessage("orders", partition, ends[partition], START_MS + timestamp)])
        ends[partition] += 1
    return client


@settings(max_examples=60)
@given(
    times=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=60),
    splits=st.sets(st.integers(0, 40), max_size=5),
    inclusive=st.booleans(),
    paging=st.sampled_from(["page0", "page1", "row"]),
)
def test_neighbouring_windows_tile(
    times: list[tuple[int, int]], splits: set[int], inclusive: bool, paging: Any
) -> None:
    """Whatever the messages, the splits and the end of ranges: each message is found by exactly one window."""
    client = _messages(times)
    client.state.behaviour = client.state.behaviour.changed({"end_inclusive": inclusive, "paging": paging, "cap": 500})
    edges = sorted({START_MS, *(START_MS + split for split in splits), START_MS + 41})

    found: list[tuple[int, int]] = []
    for start, end in pairwise(edges):
        window = TimeWindow(start, end)
        rows, reasons = read(client, Slice(window.start_ms, window.end_ms))
        assert reasons == []
        found += set(rows)

    assert sorted(found) == sorted(expected(client, Slice(START_MS, START_MS + 41)))


def test_concurrent_pages_may_end_in_any_order() -> None:
    """Side by side, in whatever order: the same rows."""
    client = seeded(1300)
    rows: set[tuple[int, int]] = set()
    reader = WindowReader(client.api, "orders", lambda found: rows.update(map(ref_of, found)), range(3))
    shuffled = random.Random(1)  # noqa: S311 - an order, no secret

    def perform(step: Step) -> Any:
        if not isinstance(step, Parallel):
            return client.perform(step)
        flows = list(step.flows)
        results: list[Any] = [None] * len(flows)
        for index in shuffled.sample(range(len(flows)), len(flows)):
            results[index] = drive(flows[index], perform)
        return results

    drive(reader.read(HOUR), perform)

    assert rows == expected(client)
    assert reader.why_incomplete == []


def test_pages_that_lose_rows_are_never_taken_for_whole() -> None:
    """If the service never shows a row of its own total, the window is incomplete."""
    client = seeded(60)

    def perform(step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, perform) for flow in step.flows]
        answer = client.perform(step)
        if isinstance(step, Request) and "message_offset=" not in step.url:
            body = answer.json()
            body["messages"] = [row for row in body["messages"] if (row["partition"], row["message_offset"]) != (1, 7)]
            return Response(200, {}, json.dumps(body).encode())
        return answer

    rows: set[tuple[int, int]] = set()
    reader = WindowReader(client.api, "orders", lambda found: rows.update(map(ref_of, found)), range(3))
    drive(reader.read(HOUR), perform)

    assert rows == expected(client) - {(1, 7)}
    assert reader.why_incomplete
