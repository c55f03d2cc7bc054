"""The service of the benchmarks: if its answers were wrong, every number measured with it would be wrong."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.scenario import END_MS, PROJECT, START_MS, Scenario, fingerprint

if TYPE_CHECKING:
    from benchmarks.measuring import Bench

MESSAGES = f"/v2/{PROJECT}/mqs/instances/one/messages"
HOUR = f"{MESSAGES}?topic=orders&asc=true&start_time={START_MS}&end_time={END_MS}&limit=50"
RESEND = f"{MESSAGES}/action?action_id=resend"


def ask(bench: Bench, target: str, body: Any = None) -> tuple[int, Any]:
    with closing(HTTPConnection("127.0.0.1", bench.port, timeout=10)) as connection:
        connection.request("GET" if body is None else "POST", target, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def refs(page: Any) -> list[tuple[int, int]]:
    return [(row["partition"], row["message_offset"]) for row in page["messages"]]


@pytest.mark.parametrize(("paging", "skipped"), [("row", 2), ("page0", 100), ("page1", 50)])
def test_offset_means_what_the_shape_says(bench: Bench, paging: str, skipped: int) -> None:
    """`offset=2` skips two rows, two pages, or one page if pages count from 1."""
    scenario = Scenario(170, 3, paging=paging)
    bench.set_up(scenario)

    _, page = ask(bench, f"{HOUR}&offset=2")

    assert refs(page) == list(scenario.refs())[skipped : skipped + 50]
    assert (page["total"], page["size"]) == (170, 50)


@pytest.mark.parametrize(("hides_total", "total"), [(False, 700), (True, 500)])
def test_a_cap_ends_the_pages_and_may_hide_the_total(bench: Bench, hides_total: bool, total: int) -> None:
    """Of 700 rows, the last page with any starts at row 450."""
    bench.set_up(Scenario(700, cap=500, hides_total=hides_total))

    last, beyond = (ask(bench, f"{HOUR}&offset={offset}")[1] for offset in (9, 10))

    assert (len(last["messages"]), len(beyond["messages"]), last["total"]) == (50, 0, total)


def test_a_window_holds_the_rows_from_its_start_to_its_end(bench: Bench) -> None:
    """Both ends are inclusive."""
    scenario = Scenario(100)
    bench.set_up(scenario)
    window = f"start_time={scenario.timestamp(10)}&end_time={scenario.timestamp(12)}"

    _, page = ask(bench, f"{MESSAGES}?topic=orders&{window}&limit=50&offset=0")

    assert [row["timestamp"] for row in page["messages"]] == [scenario.timestamp(number) for number in (10, 11, 12)]


def test_a_burst_lies_within_ten_seconds_of_the_hour() -> None:
    """The first and the last message are less than 10 s apart."""
    scenario = Scenario(1_000, burst=True)

    assert START_MS < scenario.timestamp(0) < scenario.timestamp(999) < scenario.timestamp(0) + 10_000 < END_MS


def test_a_resend_appends_a_copy_that_later_queries_show(bench: Bench) -> None:
    """It has the next offset of the partition, the key of its source and a new time, and is counted."""
    bench.set_up(Scenario(10, 2))
    body = {"topic": "orders", "partition": 1, "message_offset": 3}

    status, echo = ask(bench, RESEND, body)
    _, source = ask(bench, f"{MESSAGES}?topic=orders&partition=1&message_offset=3")
    _, copy = ask(bench, f"{MESSAGES}?topic=orders&partition=1&message_offset=5")

    assert (status, echo) == (200, body)
    assert copy["messages"][0]["key"] == source["messages"][0]["key"]
    assert copy["messages"][0]["timestamp"] > END_MS
    assert (bench.counts()["resends"], bench.counts()["resent"]) == (1, fingerprint([(1, 3)]))


def test_a_resend_of_nothing_is_refused(bench: Bench) -> None:
    """An offset that the topic does not have is answered with 404, and nothing is counted as resent."""
    bench.set_up(Scenario(10, 2))

    status, _ = ask(bench, RESEND, {"topic": "orders", "partition": 1, "message_offset": 5})

    assert (status, bench.counts()["resends"]) == (404, 0)


def test_every_request_is_counted_except_admin_calls(bench: Bench) -> None:
    """These are three connections of one request each; asking for the counts does not count."""
    bench.set_up(Scenario(10))

    ask(bench, "/v3/auth/tokens", {})
    ask(bench, f"/v2/{PROJECT}/mqs/instances/one/topics")
    ask(bench, f"{HOUR}&offset=0")

    counts = bench.counts()
    assert (counts["requests"], counts["connections"], counts["logins"], counts["pages"]) == (3, 3, 1, 1)


def test_a_share_of_the_requests_is_throttled(bench: Bench) -> None:
    """A share of a quarter is every fourth request."""
    bench.set_up(Scenario(10, throttle=0.25))

    statuses = [ask(bench, f"{HOUR}&offset=0")[0] for _ in range(8)]

    assert statuses == [200, 200, 200, 429] * 2


def test_the_service_is_far_faster_than_the_contestants_need(bench: Bench) -> None:
    """They ask for 800 pages a second; it serves many times as many."""
    pages, _ = bench.capacity(Scenario(1_000), rounds=5)

    assert pages > 800
