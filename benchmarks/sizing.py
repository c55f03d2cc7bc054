"""
How windows of a thousand to a billion messages are cut, how long they take, and what they leave in Airflow's database.

Times are extrapolated from the last measurement, request by request. Bytes are those of the documents that the package
itself writes for such a batch. No number is typed by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.documents import batch_of, ledger_bytes, xcom_bytes
from benchmarks.plan import BASE, CAPPED, QUERY, VERIFIED
from benchmarks.report import processor_s, table
from benchmarks.scenario import IN_FLIGHT

if TYPE_CHECKING:
    from benchmarks.targets import Found

SIZES = tuple(10**power for power in range(3, 10))
MOST_BATCHES = 1_024  # Airflow's default for [core] max_map_length
MOST_MESSAGES = 100_000  # the resend's default for max_messages
MOST_WORKERS = 16  # Airflow's default for [core] max_active_tasks_per_dag
_SMALLEST = 10_000  # a smaller batch ends before Airflow has started the next one
_STEPS = 1, 2, 5, 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What a message costs."""

    requests: float  # per message
    extra_s: float  # per request, on top of the latency
    cpu_s: float  # per request

    def seconds(self, messages: int, latency_s: float, in_flight: int = IN_FLIGHT) -> float:
        """Return the seconds that one worker needs: those of the latency or of the processor, whichever are more."""
        return messages * self.requests * max((latency_s + self.extra_s) / in_flight, self.cpu_s)


@dataclass(frozen=True, slots=True)
class Cut:
    """How a number of messages is cut."""

    windows: int  # runs of the DAG, one after the other
    batches: int  # of each window
    size: int  # batch_size

    @property
    def workers(self) -> int:
        """The number of batches that Airflow runs at once by default."""
        return min(self.batches, MOST_WORKERS)

    @property
    def turns(self) -> int:
        """The number of batches that a worker runs, one after the other."""
        return self.windows * -(-self.batches // self.workers)


def cut_of(messages: int) -> Cut:
    """Cut messages into windows and batches so that no limit of Airflow or of the resend must be raised."""
    windows = -(-messages // (MOST_BATCHES * MOST_MESSAGES))
    each = -(-messages // windows)
    size = max(_SMALLEST, _round_up(-(-each // MOST_BATCHES)))
    return Cut(windows, -(-each // size), size)


def cost_of(group: Found, name: str, requests: float | None = None) -> Cost:
    """Return what a contestant needed, as medians over the rounds; ``requests`` overrides those per message."""
    results = group[name]["results"]
    slot_s = median(IN_FLIGHT * result["wall_s"] / result["requests"] for result in results)
    return Cost(
        requests or per_message(group, name), max(0.0, slot_s - BASE.latency_ms / 1000), processor_s(group, name)
    )


def per_message(group: Found, name: str) -> float:
    """Return the requests that a contestant made for each message: the median over the rounds."""
    return float(median(result["requests"] for result in group[name]["results"]) / group[name]["messages"])


def page(found: Found) -> str:
    """Return the generated part of the page."""
    query = cost_of(found["query"], QUERY, per_message(found["cases"], CAPPED))
    resend = cost_of(found["resend"], VERIFIED)
    report = int(median(result["xcom"] for result in found["resend"][VERIFIED]["results"]))
    return "\n\n".join(
        [
            "## How long it takes",
            table(_TIME_HEADS, [time_row(messages, query, resend) for messages in SIZES]),
            "## What Airflow's database stores",
            table(_BYTE_HEADS, [byte_row(messages, report) for messages in SIZES]),
            "## What these tables are extrapolated from",
            table(
                _COST_HEADS,
                [cost_row("query", query), cost_row("resend", resend)],
            ),
        ]
    )


_TIME_HEADS = [
    "messages",
    "windows × batches",
    "batch_size",
    "workers",
    "query at 20 ms",
    "at 100 ms",
    "resend at 20 ms",
    "at 100 ms",
    "requests/s at 20 ms",
]
_BYTE_HEADS = [
    "messages",
    "batches",
    "XCom per batch",
    "with gaps",
    "ledger and record per batch",
    "with gaps",
    "total",
]
_COST_HEADS = ["work", "requests per message", "time per request on top of the latency", "processor time per request"]


def time_row(messages: int, query: Cost, resend: Cost) -> list[str]:
    """Return the cells of the table of times."""
    cut = cut_of(messages)
    size = min(cut.size, messages)
    resends = [cut.turns * resend.seconds(size, latency_s) for latency_s in (0.02, 0.1)]
    return [
        f"{messages:,}",
        f"{cut.windows} × {cut.batches:,}",
        f"{cut.size:,}" if cut.batches > 1 else "none",
        str(cut.workers),
        *(duration(query.seconds(messages, latency_s)) for latency_s in (0.02, 0.1)),
        *map(duration, resends),
        f"{messages * resend.requests / resends[0]:,.0f}",
    ]


def byte_row(messages: int, report: int) -> list[str]:
    """Return the cells of the table of bytes; ``report`` is the size of a report."""
    cut = cut_of(messages)
    batches = [batch_of(-(-messages // cut.windows), cut.size, scattered=scattered) for scattered in (False, True)]
    xcoms, ledgers = list(map(xcom_bytes, batches)), list(map(ledger_bytes, batches))
    each = [sum(parts) + report for parts in zip(xcoms, ledgers, strict=True)]
    least, most = (cut.windows * cut.batches * one for one in each)
    return [
        f"{messages:,}",
        f"{cut.windows * cut.batches:,}",
        *map(size_text, (*xcoms, *ledgers)),
        f"{size_text(least)} to {size_text(most)}",
    ]


def cost_row(name: str, cost: Cost) -> list[str]:
    """Return the cells of the table of costs."""
    return [name, f"{cost.requests:.4f}", f"{1000 * cost.extra_s:.2f} ms", f"{1e6 * cost.cpu_s:.0f} µs"]


def duration(seconds: float) -> str:
    """Write a time for a person, in the largest unit of which it has at least two."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{1000 * seconds:,.0f} ms"


def size_text(count: float) -> str:
    """Write a number of bytes for a person, in the largest unit of which it has at least two."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= 2 * unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,.0f} B"


def _round_up(number: int) -> int:
    """Round up to 1, 2 or 5 and zeros."""
    power: int = 10 ** (len(str(number)) - 1)
    return power * next(step for step in _STEPS if step * power >= number)
