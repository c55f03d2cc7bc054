"""What is measured, how often and how large: once in full, once in four minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.job import Job
from benchmarks.shape import PAGE_SIZE, Shape
from benchmarks.triggerer import Crowd

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTITIONS = 12
"""Of the topic whose documents are counted."""
QUERY, RESEND, POOL, POSTS = "QueryMessagesOperator", "ResendMessagesOperator", "bare pool", "bare posts"
VERIFIED = f"{RESEND}, verify=True"
CAPPED = "500 rows, total says 500, too"
_TURNS = 8
"""So often at least each place in flight is used, or a curve would show the beginning and the end of the work only."""


@dataclass(frozen=True, slots=True)
class Size:
    """
    How much is measured.

    :param rounds: of the two comparisons
    :param queried: messages of the query
    :param looped: messages that those read who ask one page after the other
    :param resent: messages of the resend
    :param posted: messages that one sends who posts one after the other
    :param cased: messages of the special cases
    :param case_rounds: of these
    :param loads: of the DAG files
    :param crowd: of the triggerer
    :param curves: by name, the values of the curve
    """

    rounds: int
    queried: int
    looped: int
    resent: int
    posted: int
    cased: int
    case_rounds: int
    loads: int
    crowd: Crowd
    curves: Mapping[str, tuple[int, ...]]


FULL = Size(
    rounds=5,
    queried=100_000,
    looped=3_000,
    resent=10_000,
    posted=200,
    cased=20_000,
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
    queried=20_000,
    looped=1_000,
    resent=1_000,
    posted=50,
    cased=5_000,
    case_rounds=1,
    loads=3,
    crowd=Crowd(100, 5, 20.0, 10.0),
    curves={"query messages": (1_000, 10_000), "resend partitions": (4, 16)},
)
BASE = Shape(latency_ms=20)


def queries(size: Size) -> dict[str, Job]:
    """Name those who read the window."""
    large, small = replace(BASE, messages=size.queried), replace(BASE, messages=size.looped)
    fast = {name: Job(name, large) for name in (POOL, QUERY, "MqsHook.query")}
    return {**fast, **{name: Job(name, small) for name in ("HttpOperator", "SDK loop", "requests loop")}}


def resends(size: Size) -> dict[str, Job]:
    """Name those who send it again."""
    ours = Job(RESEND, replace(BASE, messages=size.resent))
    return {
        POSTS: replace(ours, contestant=POSTS),
        RESEND: ours,
        f"{RESEND}, ordering=partition": replace(ours, ordering="partition"),
        f"{RESEND}, durable=False": replace(ours, durable=False),
        VERIFIED: replace(ours, verify=True),
        "requests posts": Job("requests posts", replace(BASE, messages=size.posted)),
    }


def cases(size: Size) -> dict[str, Job]:
    """Name the services that are not so plain; the bare pool reads the same rows from a plain one."""
    plain = replace(BASE, messages=size.cased)
    shapes = {
        "plain": plain,
        "offset counts rows": replace(plain, paging="row"),
        "offset counts pages from 1": replace(plain, paging="page1"),
        "500 rows a query at most": replace(plain, cap=500),
        CAPPED: replace(plain, cap=500, hides_total=True),
        "the same, all within 10 s": replace(plain, cap=500, hides_total=True, burst=True),
        "1 % of the requests answered 429": replace(plain, throttle=0.01),
    }
    return {POOL: Job(POOL, plain), **{name: Job(QUERY, shape) for name, shape in shapes.items()}}


def documents(size: Size) -> dict[int, Job]:
    """Name the queries whose XCom is counted, by partitions; how long they take does not matter."""
    shape = replace(BASE, messages=size.queried, latency_ms=1)
    return {number: Job(QUERY, replace(shape, partitions=number)) for number in (1, PARTITIONS)}


def curve(name: str, value: int) -> tuple[Job, Job]:
    """Give a point of a curve: ours, and the bare pool."""
    work, _, what = name.partition(" ")
    yardstick = POOL if work == "query" else POSTS
    messages, per_request = {"query": (20_000, PAGE_SIZE), "resend": (500, 1)}[work]
    ours = Job(QUERY if work == "query" else RESEND, replace(BASE, messages=messages))
    if what == "concurrency":
        enough = max(messages, _TURNS * value * per_request)
        ours = replace(ours, concurrency=value, shape=replace(ours.shape, messages=enough))
    elif what == "latency":
        ours = replace(ours, shape=replace(ours.shape, latency_ms=value))
    elif what == "messages":
        ours = replace(ours, shape=replace(ours.shape, messages=value))
    else:
        ours = replace(ours, shape=replace(ours.shape, partitions=value), ordering="partition")
    return ours, replace(ours, contestant=yardstick, concurrency=in_flight(ours))


def in_flight(job: Job) -> int:
    """Say how many requests a job can have in flight; a partition whose order is kept has one."""
    ordered = job.contestant == RESEND and job.ordering == "partition"
    return min(job.concurrency, job.shape.partitions) if ordered else job.concurrency


def theory_s(job: Job) -> float:
    """Give the time that the work needs if nothing but the latency costs any."""
    requests = job.shape.pages if job.contestant in (QUERY, POOL) else job.shape.messages
    return job.shape.theory_s(requests, in_flight(job))
