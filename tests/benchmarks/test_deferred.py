"""The deferred sensors of the benchmarks: counts only, since times are the machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import report
from benchmarks.bars import longest_gap_ms
from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from benchmarks.measuring import Bench

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 0), reason="measured in the triggerer of Airflow 3")


def test_a_crowd_of_sensors_logs_in_once_and_leaves_no_connection_open(bench: Bench) -> None:
    """In Airflow's own runner, watchers among them: all look, share their connections, run on, and are cancelled."""
    from benchmarks.deferred import OURS, Load, run

    found = run(bench, Load(OURS, 60, watchers=20, poke_interval_s=1.0, seconds=2.5, warm_up_s=1.0, start_s=2.0))

    assert found["running"] == 81
    assert found["polls"] >= 60
    assert found["logins"] == 1
    assert 1 <= found["topic_lists"] <= 40
    assert 1 <= found["max_open"] <= 16
    assert found["left_open"] == 0
    assert 0 < found["own_s"] <= found["longest_s"]


def test_sleepers_ask_nothing(bench: Bench) -> None:
    """What the sensors are compared with runs as long in the same runner."""
    from benchmarks.deferred import SLEEPERS, Load, run

    found = run(bench, Load(SLEEPERS, 60, seconds=0.1, warm_up_s=0.5, start_s=1.0))

    assert (found["running"], found["polls"], found["connections"]) == (61, 0, 0)


def result(**changes: Any) -> dict[str, Any]:
    times = {"loading_s": 0.01, "longest_s": 0.02, "own_s": 0.015, "cpu_s": 0.5, "memory": 2048}
    counts = {"sensors": 2, "watchers": 0, "polls": 1000, "topic_lists": 4, "max_open": 3, "left_open": 0, "logins": 1}
    return {**times, **counts, **changes}


def test_the_longest_gap_includes_loading() -> None:
    """The median over the rounds of the longer of the two."""
    results = [result(loading_s=0.5), result(), result(longest_s=0.03)]

    assert longest_gap_ms(results) == pytest.approx(30)


def test_the_table_says_what_a_poll_and_a_sensor_cost() -> None:
    """Half a second for a thousand polls, two kibibytes for two sensors; who never polled has no such cost."""
    rows = report.deferred({"ours": [result()], "sleepers": [result(polls=0)]}).splitlines()[2:]

    assert rows[0] == "| ours | 2 | 0 | 20 ms | 15 ms | 10 ms | 1,000 | 500 µs | 1 KiB | 4 | 3 | 0 | 1 |"
    assert rows[1] == "| sleepers | 2 | 0 | 20 ms | 15 ms | 10 ms | 0 |  | 1 KiB | 4 | 3 | 0 | 1 |"
