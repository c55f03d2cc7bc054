"""What work may cost, in counts that do not depend on the machine: requests, writes of the ledger, memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_mqs.core.client.flow import Parallel, Request, Response, Step, drive
from airflow_provider_mqs.core.query.query import Query, query_offsets
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.resend.claims import CLAIM
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.store import StoredMessage, Topic
from tests.core.resend.test_replay import BOTH, replayed, seeded
from tests.support import END_MS, START_MS, Local, MemoryStore, local, ref_of

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

PAGE, PARTITIONS = 50, 8
WIDTH_MS = END_MS - START_MS
BURST_MS = 10_000


def spread(count: int, width_ms: int, **behaviour: Any) -> Local:
    """A topic whose messages lie at random moments of the middle of an hour."""
    client = local(Behaviour(**behaviour))
    rng, start_ms = random.Random(count), (START_MS + END_MS - width_ms) // 2  # noqa: S311 - repeatable
    times = sorted(start_ms + rng.randrange(width_ms) for _ in range(count))
    client.state.store.put_topic(Topic("orders", PARTITIONS, 72))
    client.state.store.add(
        StoredMessage("orders", number % PARTITIONS, number // PARTITIONS, time, None, "x", 1, "")
        for number, time in enumerate(times)
    )
    client.now_s[0] = END_MS / 1000 + 3600
    return client


@pytest.mark.parametrize("count", [7_500, 15_000])
@pytest.mark.parametrize(
    ("width_ms", "behaviour", "most"),
    [
        pytest.param(WIDTH_MS, {"cap": None}, 1.0, id="even"),
        pytest.param(WIDTH_MS, {"cap": 500}, 1.2, id="even, capped"),
        pytest.param(WIDTH_MS, {"cap": 500, "cap_hides_total": True}, 1.35, id="even, capped, total hidden"),
        pytest.param(BURST_MS, {"cap": None}, 1.0, id="burst"),
        pytest.param(BURST_MS, {"cap": 500}, 2.0, id="burst, capped"),
        pytest.param(BURST_MS, {"cap": 500, "cap_hides_total": True}, 2.5, id="burst, capped, total hidden"),
    ],
)
def test_a_window_takes_few_requests_more_than_it_has_pages(
    count: int, width_ms: int, behaviour: dict[str, Any], most: float
) -> None:
    """Ten seconds of an hour that hold everything cost twice as many if the service shows 500 rows at a time."""
    client, refs = spread(count, width_ms, paging="page0", **behaviour), set()
    reader = WindowReader(client.api, "orders", lambda rows: refs.update(map(ref_of, rows)), range(PARTITIONS))

    client.run(reader.read(Slice(START_MS, END_MS)))

    assert (len(refs), reader.why_incomplete) == (count, [])
    # three more compare the largest slice with its halves, and the total with that of the beginning
    assert len(client.requests) <= most * -(-count // PAGE) + 3


@BOTH
@pytest.mark.parametrize("verify", [False, True])
async def test_a_replay_takes_few_requests_and_writes_more_than_it_has_messages(
    mqs_emulator: MqsEmulator, ordering: str, verify: bool
) -> None:
    """One POST each, one write of the ledger for each claim; verification reads sources and copies, page by page."""
    writes = []

    class Counting(MemoryStore):
        def set(self, key: str, value: Any) -> None:
            writes.append(key)
            super().set(key, value)

    mqs_emulator.behave(cap=None)
    plan = seeded(mqs_emulator, 2_000, 8)

    replay = await replayed(mqs_emulator, plan, Counting(), ordering=ordering, verify=verify)

    assert replay.report.counts.sent == 2_000
    assert len(mqs_emulator.requests("resend")) == 2_000
    assert len(mqs_emulator.requests("login")) == 1
    others = len(mqs_emulator.requests()) - 2_000
    ends = 2 * len(plan.partitions)
    # twice: the path of the query is found out while they are asked for side by side
    # and what the first copy looks like takes five
    assert others <= (0.05 * 2_000 if verify else 0) + 2 * ends + 9
    ledger = [key for key in writes if key.startswith("x-")]
    assert len(ledger) <= 2 * (2_000 // CLAIM) + 10


@pytest.mark.parametrize("every", [1, 2])
def test_a_query_needs_little_memory_for_each_offset(every: int) -> None:
    """30,000 offsets in ranges take less than 2.25 MiB at the peak; with a gap after each, less than 12 MiB."""
    count, api = 30_000, local().api

    def perform(step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, perform) for flow in step.flows]
        assert isinstance(step, Request)
        return Response(200, {}, answer(step, count, every))

    tracemalloc.start()
    try:
        found = drive(query_offsets(api, Query("orders", TimeWindow(START_MS, END_MS)), now_ms=END_MS), perform)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found.offsets.count == count
    assert peak < (2.25 if every == 1 else 12) * 2**20


def answer(request: Request, count: int, every: int) -> bytes:
    """A page of a topic whose every so-manieth offset is a message, made when it is asked for."""
    parts = urlsplit(request.url)
    if parts.path.endswith("/topics"):
        return json.dumps({"topics": [{"name": "orders", "partition": PARTITIONS}], "total": 1}).encode()
    asked = {name: int(values[0]) for name, values in parse_qs(parts.query).items() if values[0].isdigit()}
    # rows are evenly spread, so that their numbers follow from the times
    begin, end = (
        min(count, max(0, -(-(asked[name] + after - START_MS) * count // WIDTH_MS)))
        for name, after in (("start_time", 0), ("end_time", 1))
    )
    first = begin + asked["offset"] * PAGE
    rows = [
        {
            "partition": number % PARTITIONS,
            "message_offset": number // PARTITIONS * every,
            "timestamp": START_MS + number * WIDTH_MS // count,
        }
        for number in range(first, min(first + PAGE, end))
    ]
    return json.dumps({"messages": rows, "total": end - begin}).encode()
