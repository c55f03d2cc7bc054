"""The contestants that need only this project: each reads or resends what the service holds, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.job import Job
from benchmarks.measuring import measured
from benchmarks.scenario import END_MS, START_MS, Scenario, fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measuring import Bench

OWN_READERS = ("QueryMessagesOperator", "MqsHook.query")
READERS = (*OWN_READERS, "requests loop", "bare pool")
SENDERS = ("ResendMessagesOperator", "requests posts", "bare posts")


@pytest.fixture(autouse=True)
def _own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the connections afterwards that a contestant sets for Airflow."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", "")
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", "")


def job_on(bench: Bench, contestant: str, scenario: Scenario, folder: Path) -> Job:
    bench.set_up(scenario)
    return Job(contestant, scenario, url=f"http://127.0.0.1:{bench.port}", folder=str(folder))


@pytest.mark.parametrize("paging", ["row", "page0", "page1"])
@pytest.mark.parametrize("reader", READERS)
def test_each_reader_reads_every_message_once(bench: Bench, reader: str, paging: str, tmp_path: Path) -> None:
    """
    It does so whatever `offset` counts.

    This provider asks for a page to learn what it counts, and for two more to see that the window was not cut off.
    """
    scenario = Scenario(430, 7, paging=paging)
    more = 2 + (paging != "page0") if reader in OWN_READERS else 0

    found = measured(job_on(bench, reader, scenario, tmp_path))

    assert found["read"] == fingerprint(scenario.refs())
    assert bench.counts()["pages"] == scenario.pages + more


@pytest.mark.parametrize("burst", [False, True])
def test_the_operator_reads_a_capped_window_whole(bench: Bench, burst: bool, tmp_path: Path) -> None:
    """The window holds five times as many messages as a query returns, spread evenly or not."""
    scenario = Scenario(2_500, cap=500, hides_total=True, burst=burst)

    found = measured(job_on(bench, "QueryMessagesOperator", scenario, tmp_path))

    assert found["read"] == fingerprint(scenario.refs())


@pytest.mark.parametrize("sender", SENDERS)
def test_each_sender_sends_every_message_once(bench: Bench, sender: str, tmp_path: Path) -> None:
    """The service itself says what was resent."""
    scenario = Scenario(220, 7)

    measured(job_on(bench, sender, scenario, tmp_path))

    assert bench.counts()["resent"] == fingerprint(scenario.refs())


def test_a_measurement_says_what_the_work_took_and_what_the_service_counted(bench: Bench) -> None:
    """It runs in processes of its own; 20 pages of 1 ms through 4 connections take at least 5 ms."""
    result = bench.run(Job("bare pool", Scenario(1_000, latency_ms=1), concurrency=4))

    assert result.wall_s >= 0.005
    assert result.cpu_s > 0
    assert (result.requests, result.connections, result.logins, result.max_in_flight) == (20, 4, 0, 4)


def test_a_contestant_that_misses_messages_fails(bench: Bench) -> None:
    """A window that ends too early fails the measurement instead of looking fast."""
    job = Job("bare pool", Scenario(1_000), end_ms=(START_MS + END_MS) // 2)

    with pytest.raises(AssertionError, match="missed a message"):
        bench.run(job)
