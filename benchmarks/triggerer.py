"""
The triggers of ``benchmarks.deferred`` under the program ``airflow triggerer``, with its supervisor and a database.

All tasks are deferred in the database at once, as a thousand workers would do it; Airflow does the rest. How long its
event loop was blocked is what its own watchdog logs, to 10 ms.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.contestants import mqs_connection
from benchmarks.deferred import OURS, SCENARIO, SLEEPERS
from benchmarks.measuring import counts_at
from benchmarks.scenario import END_MS, TOPIC
from scripts.demo.airflow import command
from scripts.demo.running import running_airflow

if TYPE_CHECKING:
    from benchmarks.measuring import Bench
    from scripts.demo.running import Running

HERE = Path(__file__).resolve().parent
DAGS = {SLEEPERS: "sleepers", OURS: "sensors"}
_BLOCKED = re.compile(r"^(\S+) .*async thread was blocked for ([0-9.]+) seconds", re.MULTILINE)
_WATCHDOG_S = 0.1  # the sleep of the watchdog, which its measurements include
_LEAST_S = 0.01
_TASKS = 20  # of a run; the supervisor needs most of a minute to hand over the triggers of a run with a thousand
_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many triggers there are, and for how long."""

    sensors: int = 1_000  # deferred tasks
    watchers: int = 50  # watched assets
    start_s: float = 30.0  # in which the triggerer must have started all of them
    seconds: float = 30.0  # from then on


def compare(bench: Bench, crowd: Crowd = Crowd()) -> dict[str, dict[str, Any]]:
    """Measure one triggerer with the sleepers, and one with the sensors and watchers."""
    numbers = {"TASKS": _TASKS, "WATCHERS": crowd.watchers, "TOPIC": TOPIC, "BEGIN_MS": END_MS + 3_600_000}
    settings = {
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 10,  # the triggers of assets are created when a file is read again
        "TRIGGERER__CAPACITY": 2 * (crowd.sensors + crowd.watchers),
        "TRIGGERER__BLOCKED_MAIN_THREAD_WARNING_THRESHOLD": _WATCHDOG_S + _LEAST_S,
    }
    os.environ.update({f"CROWD_{name}": str(value) for name, value in numbers.items()})
    with TemporaryDirectory(prefix="mqs-triggerer-") as folder:
        connection = mqs_connection(bench.url)
        with running_airflow(Path(folder), HERE / "crowd", connection, **settings) as running:
            running.programs.until("the DAGs are there", lambda: running.api.knows("watched"), _TIMEOUT_S)
            _stop(running, "scheduler")  # it would only take processor time
            results = {SLEEPERS: run(bench, running, SLEEPERS, replace(crowd, watchers=0))}
            running.api.unpause("watched")
            running.programs.until("the assets are watched", lambda: _watched(running, crowd), _TIMEOUT_S)
            return {**results, OURS: run(bench, running, OURS, crowd)}


def run(bench: Bench, running: Running, name: str, crowd: Crowd) -> dict[str, Any]:
    """Defer the tasks of a DAG, and measure the triggerer that runs their triggers."""
    for number in range(crowd.sensors // _TASKS):
        running.api.trigger(DAGS[name], f"run_{number}", {})
    bench.set_up(SCENARIO)
    final_s = time.time() + crowd.start_s
    _change(running, "defer", DAGS[name], name, final_s)
    running.programs.start(name, *command("triggerer", "--skip-serve-logs"))
    runner = running.programs.until("the runner is there", lambda: _runner(running, name), _TIMEOUT_S)
    time.sleep(max(0.0, final_s - time.time()))
    before, cpu_s = counts_at(bench.port), _cpu_s(runner)
    time.sleep(crowd.seconds)
    after, cpu_s, memory = counts_at(bench.port), _cpu_s(runner) - cpu_s, runner.memory_info().rss
    waiting = running.api.get("dags/~/dagRuns/~/taskInstances", state="deferred", limit=1)
    assert waiting["total_entries"] == crowd.sensors, "Some sensors have ended, or other tasks are deferred, too."
    _stop(running, name)
    _change(running, "release", DAGS[name])
    starting, waiting_s = longest_gaps((running.programs.logs / f"{name}.log").read_text(), final_s)
    return {
        "sensors": crowd.sensors,
        "watchers": crowd.watchers,
        "starting_s": starting,
        "longest_s": waiting_s,
        "cpu_s": cpu_s,
        "memory": memory,
        "polls": after["pages"] - before["pages"],
        **{name: after[name] for name in ("logins", "topic_lists", "connections", "max_open")},
        "left_open": bench.counts()["open"],
    }


def longest_gaps(log: str, final_s: float) -> tuple[float, float]:
    """
    Return the longest gaps in a triggerer's log in seconds: until ``final_s`` (epoch seconds), and from then on.

    Gaps shorter than 10 ms are not logged.
    """
    gaps: tuple[list[float], list[float]] = ([_LEAST_S], [_LEAST_S])
    for when, took in _BLOCKED.findall(log):
        gaps[datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp() >= final_s].append(
            float(took) - _WATCHDOG_S
        )
    return max(gaps[0]), max(gaps[1])


def _runner(running: Running, name: str) -> psutil.Process | None:
    """Return the process that runs the triggers, a child of the supervisor; ``None`` if it is not there yet."""
    found = psutil.Process(running.programs.started[name].pid).children()
    return found[0] if found else None


def _watched(running: Running, crowd: Crowd) -> bool | None:
    """Return whether Airflow has created the triggers of the assets, which it does when it reads the file again."""
    assets = running.api.get("assets", limit=crowd.watchers)["assets"]
    return sum(len(asset["watchers"]) for asset in assets) == crowd.watchers or None


def _change(running: Running, what: str, *arguments: object) -> None:
    """Change the tasks in Airflow's database."""
    running.programs.start(what, sys.executable, "-m", "benchmarks.defer_tasks", what, json.dumps(arguments))
    running.programs.finish(what, _TIMEOUT_S)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _stop(running: Running, name: str) -> None:
    """Stop a program as an administrator does."""
    process = running.programs.started.pop(name)
    process.terminate()
    process.wait(_TIMEOUT_S)
