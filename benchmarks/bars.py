"""The bars that the project sets itself, each with what was measured and whether it is met."""

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
class Bar:
    """
    One bar.

    :param work: what is done
    :param most: the bar, or the least where ``least`` is set
    :param unit: how the numbers are shown
    :param value: finds the measured value
    :param least: whether more is better
    """

    work: str
    most: float
    unit: str
    value: Callable[[Found], float]
    least: bool = False

    def row(self, found: Found) -> list[str]:
        """Give the cells of its row."""
        value = self.value(found)
        met = value >= self.most if self.least else value <= self.most
        sign = "≥" if self.least else "≤"
        return [self.work, f"{sign} {self.unit.format(self.most)}", self.unit.format(value), "yes" if met else "**no**"]


def ratio(group: Found, name: str, yardstick: str, field: str = "wall_s", per: str = "") -> float:
    """
    Compare two contestants, round by round, and take the median.

    :param group: the results of a comparison
    :param name: the one
    :param yardstick: the other
    :param field: what is compared, for each message
    :param per: ``requests`` to compare it for each request instead
    :return: how many times as much the one needs
    """

    def each(one: str) -> list[float]:
        messages = group[one]["messages"]
        return [result[field] / (result[per] if per else messages) for result in group[one]["results"]]

    return float(median(mine / its for mine, its in zip(each(name), each(yardstick), strict=True)))


def watchdog_gap_ms(result: Found) -> float:
    """
    Give the longest gap that Airflow's watchdog has logged of a triggerer.

    :param result: of one triggerer
    :return: milliseconds
    """
    return float(1000 * max(result["starting_s"], result["longest_s"]))


def largest(found: Found) -> Found:
    """Give the largest query that was measured."""
    points: list[Found] = found["curves"]["query messages"]
    return points[-1]


def _load_ms(found: Found) -> float:
    bare, ours = (found["startup"][name] for name in FILES)
    return 1000 * float(median(mine - its for mine, its in zip(ours, bare, strict=True)))


def longest_gap_ms(results: list[Found]) -> float:
    """Give the median over the rounds of the longest gap of the event loop, loading included."""
    return 1000 * float(median(max(result["loading_s"], result["longest_s"]) for result in results))


def bars(found: Found) -> list[Bar]:
    """
    List the bars.

    :param found: all results; the sizes are said as they were measured
    :return: in the order of the design
    """
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
        Bar(
            f"query {queried}: time, over a bare pool",
            1.15,
            "{:.2f} ×",
            lambda found: ratio(found["query"], QUERY, POOL),
        ),
        Bar(
            f"query {queried}: speed, over `HttpOperator` with a pagination function",
            12,
            "{:.1f} ×",
            lambda found: ratio(found["query"], "HttpOperator", QUERY),
            least=True,
        ),
        Bar(
            f"resend {resent}, ordering none: time, over a bare pool",
            1.15,
            "{:.2f} ×",
            lambda found: ratio(found["resend"], RESEND, POSTS),
        ),
        Bar(
            "processor time of a resend, over a bare pool",
            2,
            "{:.2f} ×",
            lambda found: ratio(found["resend"], RESEND, POSTS, "cpu_s"),
        ),
        Bar(
            f"query {most}: memory growth at the peak",
            50,
            "{:.0f} MiB",
            lambda found: largest(found)["ours"]["memory"] / _MIB,
        ),
        Bar(
            f"query {queried} of {PARTITIONS} partitions: size of the XCom",
            2048,
            "{:.0f} bytes",
            lambda found: found["xcom"][str(PARTITIONS)],
        ),
        Bar(
            f"resend {resent}: time with the ledger, over without",
            1.05,
            "{:.3f} ×",
            lambda found: ratio(found["resend"], RESEND, f"{RESEND}, durable=False"),
        ),
        Bar(
            f"resend {resent}: requests with verification, over without",
            1.05,
            "{:.3f} ×",
            lambda found: ratio(found["resend"], VERIFIED, RESEND, "requests"),
        ),
        Bar(
            f"{sensors:,} deferred sensors and {watchers} watchers: longest gap of the triggerer's event loop",
            max(100.0, longest_gap_ms(found["deferred"][SLEEPERS]) + 20.0),
            "{:.0f} ms",
            lambda found: longest_gap_ms(found["deferred"][OURS]),
        ),
        Bar(
            "the same under the program `airflow triggerer`, while it starts and afterwards",
            max(100.0, watchdog_gap_ms(found["triggerer"][SLEEPERS]) + 20.0),
            "{:.0f} ms",
            lambda found: watchdog_gap_ms(found["triggerer"][OURS]),
        ),
        Bar(
            "logins of all of them",
            1,
            "{:.0f}",
            lambda found: max(result["logins"] for result in found["deferred"][OURS]),
        ),
        Bar("a DAG file with both operators and the sensor, over `airflow.sdk` only", 60, "{:.0f} ms", _load_ms),
    ]
