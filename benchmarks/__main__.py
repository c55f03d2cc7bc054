"""Measure everything, keep the raw results, and write the pages that are made of them."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import deferred, plan, plots, report, sizing, startup, triggerer
from benchmarks.machine import describe
from benchmarks.measuring import ROOT, Bench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.job import Job

RAW = ROOT / ".data/bench"


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.perf_counter() - BEGAN_S:5.0f} s  {text}", flush=True)


def compare(bench: Bench, jobs: Mapping[str, Job], rounds: int) -> dict[str, Any]:
    """Let the contestants take turns; each round starts with another one."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    for turn in range(rounds):
        names = list(jobs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            result = bench.run(jobs[name])
            say(f"{turn + 1}/{rounds} {name}: {jobs[name].scenario.messages:,} messages in {result.wall_s:.2f} s")
            results[name].append(asdict(result))
    return {name: {"messages": jobs[name].scenario.messages, "results": results[name]} for name in jobs}


def draw(bench: Bench, name: str, values: tuple[int, ...]) -> list[dict[str, Any]]:
    """Measure the points of a curve, each next to the bare pool."""
    points = []
    for value in values:
        ours, bare = plan.curve(name, value)
        results = bench.run(ours), bench.run(bare)
        say(f"{name}, {value:,}: {results[0].wall_s:.2f} s, bare pool {results[1].wall_s:.2f} s")
        points.append(
            {
                "value": value,
                "messages": ours.scenario.messages,
                "theory_s": plan.theory_s(ours),
                "ours": asdict(results[0]),
                "bare": asdict(results[1]),
            }
        )
    return points


def measure(size: plan.Size) -> dict[str, Any]:
    """Measure everything."""
    with Bench() as bench:
        pages, busy = bench.capacity(plan.BASE)
        say(f"the service can serve {pages:,.0f} pages/s")
        return {
            "machine": describe(),
            "capacity": {"pages": pages, "busy": busy},
            "query": compare(bench, plan.queries(size), size.rounds),
            "resend": compare(bench, plan.resends(size), size.rounds),
            "xcom": {number: bench.run(job).xcom for number, job in plan.documents(size).items()},
            "cases": compare(bench, plan.cases(size), size.case_rounds),
            "curves": {name: draw(bench, name, values) for name, values in size.curves.items()},
            "startup": startup.seconds(size.loads),
            "deferred": deferred.compare(bench, size.rounds),
            "triggerer": triggerer.compare(bench, size.crowd),
        }


def main() -> None:
    """Measure, or render the last results again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do less work, in four minutes instead of twenty; the results are not for the pages",
    )
    parser.add_argument("--pages", type=Path, help="folder of the pages whose generated parts to replace")
    parser.add_argument("--again", action="store_true", help="do not measure; use the last results")
    wanted = parser.parse_args()
    raw = RAW / ("quick.json" if wanted.quick else "full.json")
    if not wanted.again:
        RAW.mkdir(parents=True, exist_ok=True)
        raw.write_text(json.dumps(measure(plan.QUICK if wanted.quick else plan.FULL), indent=1))
    found = json.loads(raw.read_text())
    pages = {"benchmarks.md": report.page(found), "sizing.md": sizing.page(found)}
    for name, text in pages.items():
        print(f"\n{text}")
        if wanted.pages:
            report.write(wanted.pages / name, text)
    if wanted.pages:
        plots.draw(found["curves"], wanted.pages)


if __name__ == "__main__":
    BEGAN_S = time.perf_counter()
    main()
