"""How measurements become ratios, tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import plan, report
from benchmarks.measuring import ROOT
from benchmarks.scenario import Scenario
from benchmarks.targets import Target, ratio

if TYPE_CHECKING:
    from pathlib import Path


def group(**walls: list[float]) -> dict[str, Any]:
    return {name: {"messages": 10, "results": [{"wall_s": wall} for wall in walls[name]]} for name in walls}


def test_ratios_are_taken_inside_a_round() -> None:
    """A machine that is slow for one round does not change them."""
    assert ratio(group(ours=[1.1, 5.5, 1.2], pool=[1.0, 5.0, 1.0]), "ours", "pool") == pytest.approx(1.1)


def test_contestants_with_fewer_messages_are_compared_message_by_message() -> None:
    """Half the messages in the same time are half as fast."""
    both = group(ours=[1.0], pool=[1.0])
    both["ours"]["messages"] = 5

    assert ratio(both, "ours", "pool") == 2


@pytest.mark.parametrize(("value", "least", "met"), [(1.2, False, "**no**"), (1.1, False, "yes"), (1.2, True, "yes")])
def test_a_target_says_whether_it_is_met(value: float, least: bool, met: str) -> None:
    """The limit is a largest value, or a least one."""
    assert Target("work", 1.15, "{:.2f}", lambda _: value, least=least).row({})[-1] == met


def test_theory_counts_requests_in_flight() -> None:
    """Ten messages of two partitions need five turns if their order is kept, otherwise one."""
    job = plan.Job(plan.RESEND, Scenario(10, 2, latency_ms=20), ordering="partition")

    assert plan.theory_s(job) == pytest.approx(0.1)
    assert plan.theory_s(plan.Job(plan.RESEND, Scenario(10, 2, latency_ms=20))) == pytest.approx(0.02)


@pytest.mark.parametrize(("work", "least"), [("query", 50 * 256), ("resend", 256)])
def test_a_point_of_a_curve_uses_each_slot_in_flight_several_times(work: str, least: int) -> None:
    """Otherwise a curve by concurrency would show only how the work starts and ends."""
    ours, bare = plan.curve(f"{work} concurrency", 256)

    assert ours.scenario == bare.scenario
    assert ours.scenario.messages >= 8 * least


def test_the_formula_takes_the_slower_of_latency_and_processor() -> None:
    """A point that the processor limits is off the theory, but on the formula."""
    point = {"theory_s": 0.1, "ours": {"wall_s": 0.4, "cpu_s": 0.4}, "bare": {"wall_s": 0.2}}

    assert report.growth(point) == ["0.40 s", "4.00 ×", "2.00 ×", "2.00 ×", "100%", "1.00 ×"]


def test_the_knee_is_where_the_processor_takes_as_long_as_the_service() -> None:
    """At 20 ms, a page that costs 1 ms keeps a process busy from 20 in flight on."""
    found = {
        work: {name: {"messages": 1, "results": [{"cpu_s": 0.1, "requests": 100}]}}
        for work, name in (("query", plan.QUERY), ("resend", plan.RESEND))
    }

    assert "at 20 and 20 requests in flight" in report.knee(found)
    assert "at 16.0 ms and 16.0 ms a request" in report.knee(found)


def test_each_partition_adds_its_share_to_the_xcom() -> None:
    """Eleven more partitions, 1,100 more bytes."""
    assert "adds 100 bytes" in report.partition({"xcom": {"1": 800, "12": 1_900}})


def test_only_what_was_generated_is_written_again(tmp_path: Path) -> None:
    """The text above the mark stays."""
    page = tmp_path / "page.md"
    page.write_text(f"text\n\n{report.MARK}\nold\n")

    report.write(page, "new")

    assert page.read_text() == f"text\n\n{report.MARK}\nnew\n"


def test_the_page_has_its_mark() -> None:
    """Otherwise the next run would leave the old numbers there."""
    assert (ROOT / "docs/benchmarks.md").read_text().count(report.MARK) == 1
