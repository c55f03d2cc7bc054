"""The numbers that the project wants to reach, each with what was measured and whether that is enough."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.deferred import OURS, SLEEPERS
from benchmarks.plan import PARTITIONS, POOL, POSTS, QUERY, RESEND, VERIFIED
from benchmarks.startup import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Found = Mapping[str, Any]

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """One number to reach."""

    work: str  # what is measured
    limit: float
    unit: str  # format of the numbers
    value: Callable[[Found], float]  # returns the measured number
    least: bool = False  # the limit is a least value: more is better

    def row(self, found: Found) -> list[str]:
        """Return the cells of its row."""
        value = self.value(found)
        met = value >= self.limit if self.least else value <= self.limit
        sign = "≥" if self.least else "≤"
        return [
            self.work,
            f"{sign} {self.unit.format(self.limit)}",
            self.unit.format(value),
            "yes" if met else "**no**",
        ]


def ratio(group: Found, name: str, baseline: str, field: str = "wall_s", per: str = "") -> float:
    """
    Return how many times as much of ``field`` a contestant needs as the baseline: the median over the rounds.

    It is compared for each message, or for each of what the field ``per`` counts.
    """

    def each(one: str) -> list[float]:
        messages = group[one]["messages"]
        return [result[field] / (result[per] if per else messages) for result in group[one]["results"]]

    return float(median(mine / its for mine, its in zip(each(name), each(baseline), strict=True)))


def watchdog_gap_ms(result: Found) -> float:
    """Return the longest gap that Airflow's watchdog logged in a triggerer."""
    return float(1000 * max(result["starting_s"], result["longest_s"]))


def largest(found: Found) -> Found:
    """Return the largest query that was measured."""
    points: list[Found] = found["curves"]["query messages"]
    return points[-1]


def _load_ms(found: Found) -> float:
    bare, ours = (found["startup"][name] for name in FILES)
    return 1000 * float(median(mine - its for mine, its in zip(ours, bare, strict=True)))


def longest_gap_ms(results: list[Found]) -> float:
    """Return the longest gap of the event loop, loading included: the median over the rounds."""
    return 1000 * float(median(max(result["loading_s"], result["longest_s"]) for result in results))


def targets(found: Found) -> list[Target]:
    """Return the targets, with the sizes that were measured."""
    queried, resent, most = (
        f"{count:,} messages"
        for count in (
            found["query"][QUERY]["messages"],
            found["resend"][RESEND]["messages"],
            largest(found)["value"],
        )
    )
    sensors, watchers = (found["deferred"][OURS][0][name] for name in ("sensors", "watchers"))
    return [
        Target(
            f"query {queried}: time, over a bare pool",
            1.15,
            "{:.2f} ×",
            lambda found: ratio(found["query"], QUERY, POOL),
        ),
        Target(
            f"query {queried}: speed, over `HttpOperator` with a pagination function",
            12,
            "{:.1f} ×",
            lambda found: ratio(found["query"], "HttpOperator", QUERY),
            least=True,
        ),
        Target(
            f"resend {resent}, ordering none: time, over a bare pool",
            1.15,
            "{:.2f} ×",
            lambda found: ratio(found["resend"], RESEND, POSTS),
        ),
        Target(
            "processor time of a resend, over a bare pool",
            2,
            "{:.2f} ×",
            lambda found: ratio(found["resend"], RESEND, POSTS, "cpu_s"),
        ),
        Target(
            f"query {most}: memory growth at the peak",
            50,
            "{:.0f} MiB",
            lambda found: largest(found)["ours"]["memory"] / _MIB,
        ),
        Target(
            f"query {queried} of {PARTITIONS} partitions: size of the XCom",
            2048,
            "{:.0f} bytes",
            lambda found: found["xcom"][str(PARTITIONS)],
        ),
        Target(
            f"resend {resent}: time with the ledger, over without",
            1.05,
            "{:.3f} ×",
            lambda found: ratio(found["resend"], RESEND, f"{RESEND}, durable=False"),
        ),
        Target(
            f"resend {resent}: requests with verification, over without",
            1.05,
            "{:.3f} ×",
            lambda found: ratio(found["resend"], VERIFIED, RESEND, "requests"),
        ),
        Target(
            f"{sensors:,} deferred sensors and {watchers} watchers: longest gap of the triggerer's event loop",
            max(100.0, longest_gap_ms(found["deferred"][SLEEPERS]) + 20.0),
            "{:.0f} ms",
            lambda found: longest_gap_ms(found["deferred"][OURS]),
        ),
        Target(
            "the same under the program `airflow triggerer`, while it starts and afterwards",
            max(100.0, watchdog_gap_ms(found["triggerer"][SLEEPERS]) + 20.0),
            "{:.0f} ms",
            lambda found: watchdog_gap_ms(found["triggerer"][OURS]),
        ),
        Target(
            "logins of all of them together",
            1,
            "{:.0f}",
            lambda found: max(result["logins"] for result in found["deferred"][OURS]),
        ),
        Target(
            "loading a DAG file with both operators and the sensor, beyond what `airflow.sdk` takes",
            60,
            "{:.0f} ms",
            _load_ms,
        ),
    ]
