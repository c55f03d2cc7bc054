"""Replays under a real scheduler survive what users do to tasks, as the service's own log shows."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.testing import running_emulator
from scripts.demo.running import running_airflow
from tests.airflow import AIRFLOW
from tests.stage import TIMEOUT_S, Scenes, Stage, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(AIRFLOW < (3, 3), reason="the programs of the demo are those of Airflow 3.3"),
]
HERE = Path(__file__).resolve().parent
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
START = END - timedelta(hours=1)
SCENES = Scenes()
scene = SCENES.scene
# four partitions and 0.1 s a message make 40 a second
LATENCY_S, COUNT = 0.1, 320


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[None]]]:
    """Run the scenes of the selected tests, all at once, under one Airflow."""
    folder = tmp_path_factory.mktemp("scheduler")
    dags = shutil.copytree(HERE / "dags", folder / "dags")
    with ThreadPoolExecutor(len(SCENES)) as pool, running_emulator() as service:
        service.faults.latency_s, service.faults.latency_operations = LATENCY_S, frozenset({"resend"})
        settings = {"CORE__PARALLELISM": 8, "WORKERS__MIN_HEARTBEAT_INTERVAL": 2}
        with running_airflow(folder, dags, service.connection_json(), **settings) as running:
            yield SCENES.played(pool, request, lambda dag_id: Stage(running, service, dag_id))


@scene("marked_failed")
def test_a_task_that_is_marked_failed_ends_with_its_report_and_goes_on_after_a_clear(stage: Stage) -> None:
    """Nothing is sent after its process has ended; the report shows what was sent, and the next try sends the rest."""
    stage.fill(COUNT, START, END)
    stage.trigger(START, END)
    process = stage.process()
    stage.until_sent(80)
    stage.api.mark_failed(stage.dag_id, "first", "resend")
    process.wait(TIMEOUT_S)
    ended_ms = now_ms()
    sent = len(stage.sends)
    failed = stage.ended("failed")
    assert 80 <= stage.report()["sent"] == sent < COUNT

    stage.finished()
    stage.api.clear(stage.dag_id, "first", "resend")
    task = stage.ended("success", other_than=failed["id"])
    began_ms = datetime.fromisoformat(task["start_date"].replace("Z", "+00:00")).timestamp() * 1000
    assert [one for one in stage.sends if ended_ms < one.time_ms < began_ms] == []
    assert stage.report()["sent"] == COUNT
    assert stage.each_was_sent_once


@scene("cleared")
def test_a_running_task_that_is_cleared_gives_way_to_the_next_try(stage: Stage) -> None:
    """Its ledger refuses the next write, which stops the sending; the next try sends the rest."""
    stage.fill(COUNT, START, END)
    stage.trigger(START, END)
    process = stage.process()
    stage.until_sent(80)
    stage.api.clear(stage.dag_id, "first", "resend")
    process.wait(TIMEOUT_S)
    assert len(stage.sends) < COUNT

    stage.ended("success")
    assert "Airflow cannot read or write the state store of asset" in stage.reason(1)
    assert stage.report()["sent"] == COUNT
    assert stage.each_was_sent_once


@scene("timed_out")
def test_a_task_that_is_too_slow_for_its_timeout_needs_several_tries(stage: Stage) -> None:
    """Each try reports and fails once its ``execution_timeout`` has passed, and the next continues from there."""
    count = COUNT + COUNT // 2
    stage.fill(count, START, END)
    stage.trigger(START, END)
    stage.ended("up_for_retry")
    assert stage.report()["sent"] == len(stage.sends) < count

    last = stage.ended("success")["try_number"]
    reasons = [stage.reason(number) for number in range(1, last)]
    assert len(reasons) > 1
    assert all("the execution_timeout of the task has passed. The report is in" in one for one in reasons), reasons
    assert all(one.startswith("AirflowTaskTimeout: ") for one in reasons), reasons
    assert stage.report()["sent"] == count
    assert stage.each_was_sent_once


@scene("terminated")
def test_a_task_whose_process_is_terminated_reports_and_fails(stage: Stage) -> None:
    """After SIGTERM to the process, the try's report is right, and the retry sends the rest."""
    stage.fill(COUNT, START, END)
    stage.trigger(START, END)
    process = stage.process()
    stage.until_sent(80)
    process.terminate()
    stage.ended("up_for_retry")
    assert 80 <= stage.report()["sent"] == len(stage.sends) < COUNT
    assert "the task received SIGTERM" in stage.reason(1)

    stage.ended("success")
    assert stage.report()["sent"] == COUNT
    assert stage.each_was_sent_once


@scene("killed")
def test_a_task_whose_process_is_killed_again_and_again_sends_each_message_once(stage: Stage) -> None:
    """The next try finds on the topic what was in flight at each SIGKILL."""
    chance = random.Random(2026)  # noqa: S311 - repeatable, nothing to guess
    stage.fill(2 * COUNT, START, END)
    stage.trigger(START, END)
    for _ in range(3):
        process = stage.process()
        stage.until_sent(len(stage.sends) + chance.randint(5, 60))
        process.kill()
        process.wait(TIMEOUT_S)
    assert len(stage.sends) < 2 * COUNT

    assert stage.ended("success")["try_number"] > 3
    assert stage.report()["sent"] == 2 * COUNT
    assert stage.each_was_sent_once


@scene("back_filled")
def test_hours_that_are_backfilled_again_or_cleared_are_not_sent_again(stage: Stage) -> None:
    """The first backfill sends each message; every later run is skipped."""
    start = END.replace(hour=10) - timedelta(days=1)
    last = start + timedelta(hours=1)
    stage.fill(COUNT // 2, start, start + timedelta(hours=2))
    stage.api.backfill(stage.dag_id, start.isoformat(), last.isoformat())
    stage.api.unpause(stage.dag_id)
    runs = [run["dag_run_id"] for run in stage.api.runs(stage.dag_id)]
    assert len(runs) == 2
    tasks = {run: stage.ended("success", run)["id"] for run in runs}
    assert stage.each_was_sent_once

    stage.until("the backfill has ended", stage.back_filled)
    stage.api.pause(stage.dag_id)
    stage.api.backfill(stage.dag_id, start.isoformat(), last.isoformat(), reprocess="completed")
    stage.api.unpause(stage.dag_id)
    # if SQLite is locked, Airflow deletes the run and makes another one of its name, whose tries count from one
    tasks = {run: stage.ended("skipped", run, other_than=task)["id"] for run, task in tasks.items()}
    for run in runs:
        stage.finished(run)
        stage.api.clear(stage.dag_id, run)
    for run, task in tasks.items():
        stage.ended("skipped", run, other_than=task)
    assert stage.each_was_sent_once


@scene("rivals")
def test_one_of_two_concurrent_runs_with_messages_in_common_gives_way(stage: Stage) -> None:
    """It waits, within its first try, until the other has ended; then it sends only the rest."""
    stage.fill(COUNT, START, END, partitions=2)
    windows = {"first": (START, END - timedelta(minutes=20)), "second": (START + timedelta(minutes=20), END)}
    for run_id, window in windows.items():
        stage.trigger(*window, run_id)
    assert [stage.ended("success", run_id)["try_number"] for run_id in windows] == [1, 1]
    went_on, gave_way = sorted(windows, key=lambda run_id: int(stage.report(run_id)["already_sent"]))
    assert "Waiting for another run that has some of these messages" in stage.api.log(stage.task(gave_way))
    assert stage.report(gave_way)["already_sent"] > 0 == stage.report(went_on)["already_sent"]
    assert stage.each_was_sent_once
