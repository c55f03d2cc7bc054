"""What is measured, how often and how large: in full, or in four minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.job import Job
from benchmarks.scenario import PAGE_SIZE, Scenario
from benchmarks.triggerer import Crowd

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTITIONS = 12  # of the topic whose XCom is counted
QUERY, RESEND, POOL, POSTS = "QueryMessagesOperator", "ResendMessagesOperator", "bare pool", "bare posts"
VERIFIED = f"{RESEND}, verify=True"
CAPPED = "500 rows, total says 500, too"
# each slot in flight is used at least this often, or a curve would show only how the work starts and ends
_TURNS = 8


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int  # of the comparisons of queries and of resends
    query_messages: int
    loop_messages: int  # for contestants that read one page after the other
    resend_messages: int
    post_messages: int  # for the contestant that posts one message after the other
    case_messages: int  # for services that differ from the plain one
    case_rounds: int
    loads: int  # of each DAG file
    crowd: Crowd  # in the triggerer
    curves: Mapping[str, tuple[int, ...]]  # values by the name of the curve


FULL = Size(
    rounds=5,
    query_messages=100_000,
    loop_messages=3_000,
    resend_messages=10_000,
    post_messages=200,
    case_messages=20_000,
    case_rounds=3,
    loads=11,
    crowd=Crowd(),
    curves={
        "query messages": (1_000, 10_000, 100_000, 1_000_000),
        "query concurrency": (1, 4, 16, 64, 256),
        "query latency": (1, 5, 20, 50, 200),
        "query partitions": (1, 16, 100),
        "resend messages": (1_000, 3_000, 10_000),
        "resend concurrency": (1, 4, 16, 64, 256),
        "resend latency": (1, 5, 20, 50, 200),
        "resend partitions": (1, 4, 16, 100),
    },
)
QUICK = Size(
    rounds=2,
    query_messages=20_000,
    loop_messages=1_000,
    resend_messages=1_000,
    post_messages=50,
    case_messages=5_000,
    case_rounds=1,
    loads=3,
    crowd=Crowd(100, 5, 20.0, 10.0),
    curves={"query messages": (1_000, 10_000), "resend partitions": (4, 16)},
)
BASE = Scenario(latency_ms=20)


def queries(size: Size) -> dict[str, Job]:
    """Return a job for each contestant that reads the window."""
    large, small = replace(BASE, messages=size.query_messages), replace(BASE, messages=size.loop_messages)
    fast = {name: Job(name, large) for name in (POOL, QUERY, "MqsHook.query")}
    return {**fast, **{name: Job(name, small) for name in ("HttpOperator", "SDK loop", "requests loop")}}


def resends(size: Size) -> dict[str, Job]:
    """Return a job for each contestant that resends it."""
    ours = Job(RESEND, replace(BASE, messages=size.resend_messages))
    return {
        POSTS: replace(ours, contestant=POSTS),
        RESEND: ours,
        f"{RESEND}, ordering=partition": replace(ours, ordering="partition"),
        f"{RESEND}, durable=False": replace(ours, durable=False),
        VERIFIED: replace(ours, verify=True),
        "requests posts": Job("requests posts", replace(BASE, messages=size.post_messages)),
    }


def cases(size: Size) -> dict[str, Job]:
    """Return a job for each service that differs from the plain one, from which the bare pool reads the same rows."""
    plain = replace(BASE, messages=size.case_messages)
    scenarios = {
        "plain": plain,
        "offset counts rows": replace(plain, paging="row"),
        "offset counts pages from 1": replace(plain, paging="page1"),
        "500 rows a query at most": replace(plain, cap=500),
        CAPPED: replace(plain, cap=500, hides_total=True),
        "the same, all within 10 s": replace(plain, cap=500, hides_total=True, burst=True),
        "1 % of the requests answered 429": replace(plain, throttle=0.01),
    }
    return {POOL: Job(POOL, plain), **{name: Job(QUERY, scenario) for name, scenario in scenarios.items()}}


def documents(size: Size) -> dict[int, Job]:
    """Return the queries whose XCom is counted, by partitions; how long they take does not matter."""
    scenario = replace(BASE, messages=size.query_messages, latency_ms=1)
    return {number: Job(QUERY, replace(scenario, partitions=number)) for number in (1, PARTITIONS)}


def curve(name: str, value: int) -> tuple[Job, Job]:
    """Return the two jobs of a point of a curve: this provider and the bare pool."""
    work, _, what = name.partition(" ")
    baseline = POOL if work == "query" else POSTS
    messages, per_request = {"query": (20_000, PAGE_SIZE), "resend": (500, 1)}[work]
    ours = Job(QUERY if work == "query" else RESEND, replace(BASE, messages=messages))
    if what == "concurrency":
        enough = max(messages, _TURNS * value * per_request)
        ours = replace(ours, concurrency=value, scenario=replace(ours.scenario, messages=enough))
    elif what == "latency":
        ours = replace(ours, scenario=replace(ours.scenario, latency_ms=value))
    elif what == "messages":
        ours = replace(ours, scenario=replace(ours.scenario, messages=value))
    else:
        ours = replace(ours, scenario=replace(ours.scenario, partitions=value), ordering="partition")
    return ours, replace(ours, contestant=baseline, concurrency=in_flight(ours))


def in_flight(job: Job) -> int:
    """Return the requests that a job can have in flight: one for each partition if their order is kept."""
    ordered = job.contestant == RESEND and job.ordering == "partition"
    return min(job.concurrency, job.scenario.partitions) if ordered else job.concurrency


def theory_s(job: Job) -> float:
    """Return the seconds that a job needs if only the latency takes time."""
    requests = job.scenario.pages if job.contestant in (QUERY, POOL) else job.scenario.messages
    return job.scenario.theory_s(requests, in_flight(job))
