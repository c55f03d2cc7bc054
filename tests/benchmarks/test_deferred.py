"""The deferred sensors of the benchmarks: counts only, because times depend on the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import report
from benchmarks.targets import longest_gap_ms
from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from benchmarks.measuring import Bench

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 0), reason="measured in the triggerer of Airflow 3")


def test_sensors_and_watchers_log_in_once_and_leave_no_connection_open(bench: Bench) -> None:
    """In Airflow's own runner they share a login and a few connections; all poll, go on, and can be cancelled."""
    from benchmarks.deferred import OURS, Load, run

    # each has the time to poll several times
    load = Load(OURS, 40, watchers=10, poke_interval_s=0.3, warm_up_s=0.5, start_s=0.5, seconds=2.0)
    found = run(bench, load)

    assert found["running"] == 51
    assert found["polls"] > 0
    assert bench.counts()["pages"] >= 51
    assert found["logins"] == 1
    assert 1 <= found["topic_lists"] <= 20
    assert 1 <= found["max_open"] <= 16
    assert found["left_open"] == 0
    assert 0 < found["own_s"] <= found["longest_s"]


def test_sleepers_ask_nothing(bench: Bench) -> None:
    """The triggers that the sensors are compared with run in the same runner, and send no request."""
    from benchmarks.deferred import SLEEPERS, Load, run

    found = run(bench, Load(SLEEPERS, 40, warm_up_s=0.1, start_s=0.1, seconds=0.1))

    assert (found["running"], found["polls"], found["connections"]) == (41, 0, 0)


def result(**changes: Any) -> dict[str, Any]:
    times = {"loading_s": 0.01, "longest_s": 0.02, "own_s": 0.015, "cpu_s": 0.5, "memory": 2048}
    counts = {"sensors": 2, "watchers": 0, "polls": 1000, "topic_lists": 4, "max_open": 3, "left_open": 0, "logins": 1}
    return {**times, **counts, **changes}


def test_the_longest_gap_includes_loading() -> None:
    """In each round the longer of the two counts, and of the rounds the median."""
    results = [result(loading_s=0.5), result(), result(longest_s=0.03)]

    assert longest_gap_ms(results) == pytest.approx(30)


def test_the_table_says_what_a_poll_and_a_sensor_cost() -> None:
    """Half a second for a thousand polls, two KiB for two sensors; a trigger that never polled has no cost per poll."""
    rows = report.deferred({"ours": [result()], "sleepers": [result(polls=0)]}).splitlines()[2:]

    assert rows[0] == "| ours | 2 | 0 | 20 ms | 15 ms | 10 ms | 1,000 | 500 µs | 1 KiB | 4 | 3 | 0 | 1 |"
    assert rows[1] == "| sleepers | 2 | 0 | 20 ms | 15 ms | 10 ms | 0 |  | 1 KiB | 4 | 3 | 0 | 1 |"
