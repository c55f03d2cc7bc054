"""Deferred sensors under a real scheduler and triggerer: how each waiting ends, and what the service was asked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from airflow_provider_mqs.emulator.faults import ALWAYS, NEVER, Rule
from airflow_provider_mqs.testing import running_emulator
from scripts.demo.airflow import command
from scripts.demo.running import running_airflow
from tests.airflow import AIRFLOW
from tests.stage import TIMEOUT_S, Scenes, Stage, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from airflow_provider_mqs.emulator.service import LoggedRequest
    from scripts.demo.running import Running

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 3), reason="the programs of the demo are those of the main series")
HERE = Path(__file__).resolve().parent
HOUR = timedelta(hours=1)
THIS_HOUR = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
EXAMPLES = {"back_filled", "just_ended", "scheduled"}
SETTINGS = {
    "CORE__PARALLELISM": 8,
    "TRIGGERER__JOB_HEARTBEAT_SEC": 1,
    "TRIGGERER__QUEUES_ENABLED": True,  # so that one triggerer can be killed without the others
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 5,  # so soon the next one takes over what a dead one had
    "WORKERS__MIN_HEARTBEAT_INTERVAL": 2,
}
SCENES = Scenes()
scene = SCENES.scene


@dataclass
class Waiting(Stage):
    """A sensor that waits, with a service and a connection of its own."""

    task_id: str = "wait"

    def connect(self, **extra: Any) -> None:
        """Make the connection that the sensor names; a second try finds it there."""
        fields = self.service.connection(api_style="mqs", **extra)
        body = {"connection_id": self.dag_id, **fields, "extra": json.dumps(fields["extra"])}
        answer = self.api.call("POST", "connections", json=body)
        assert answer.status_code in {httpx.codes.CREATED, httpx.codes.CONFLICT}, answer.text

    def begin(self, count: int = 0, **extra: Any) -> None:
        """Fill the topic with messages of an hour ago, and start a run."""
        now = datetime.now(timezone.utc)
        self.fill(count, now - HOUR, now - HOUR / 2)
        self.connect(**extra)
        self.api.trigger(self.dag_id, "first", {})

    def append(self) -> None:
        """Write a message whose time lies in the window."""
        self.service.append(self.dag_id, timestamp_ms=now_ms() - 3_600_000)

    def deferred(self, *, other_than: str = "") -> dict[str, Any]:
        """Wait until the task waits in the triggerer."""
        task = self.ended("deferred", other_than=other_than)
        assert task["trigger"] is not None
        return task

    def after(self, state: str) -> None:
        """Wait until the task behind it has come to a state."""
        self.until(f"the next task is {state}", lambda: self.task(task_id="after")["state"] == state or None)

    def looks(self, since_ms: int = 0) -> list[LoggedRequest]:
        return [one for one in self.service.requests("query") if one.time_ms > since_ms]

    def until_looks(self, count: int, since_ms: int = 0) -> None:
        self.until(f"{count} looks", lambda: len(self.looks(since_ms)) >= count or None)

    def asked(self, start: datetime | None = None) -> list[LoggedRequest]:
        """List the requests for messages of this topic, of windows with this start only where it is given."""
        mine = [one for one in self.service.requests("query") if one.query["topic"] == self.dag_id]
        return [one for one in mine if start is None or one.query["start_time"] == str(int(start.timestamp() * 1000))]

    def workers(self, task: dict[str, Any]) -> int:
        """Count in the log of a task how many workers had it."""
        return self.api.log(task).count("DAG bundles loaded")

    @property
    def operations(self) -> list[str]:
        return [one.operation for one in self.service.requests()]

    @property
    def sockets(self) -> set[int]:
        """The ports of those that are connected with the service."""
        found = psutil.Process().net_connections("tcp")
        here = [one for one in found if one.laddr.port == self.service.port and one.status == psutil.CONN_ESTABLISHED]
        return {one.raddr.port for one in here}


def ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000)


def example(name: str) -> str:
    """Give the hourly example, under another name and on the topic of that name."""
    text = (HERE.parent / "example_dags/mqs_hourly_replay.py").read_text()
    text = text.replace('"mqs_hourly_replay"', f'"{name}"').replace('"orders"', f'"{name}"')
    if name == "just_ended":  # which is started by hand: nothing is scheduled before the year is over
        text = text.replace("0 * * * *", "0 0 1 1 *").replace("2024, 1, 1", f"{THIS_HOUR.year}, 1, 1")
    return text


def start_triggerer(running: Running, name: str, queue: str) -> None:
    running.programs.start(name, *command("triggerer", "--skip-serve-logs", "--queues", queue))


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[None]]]:
    """Play the scenes of the chosen tests, all at once, under one Airflow; each has a service of its own."""
    folder = tmp_path_factory.mktemp("waiting")
    dags = shutil.copytree(HERE / "waiting_dags", folder / "dags")
    for name in EXAMPLES:
        (dags / f"{name}.py").write_text(example(name))
    with ThreadPoolExecutor(len(SCENES)) as pool, ExitStack() as services:
        default = services.enter_context(running_emulator())
        with running_airflow(folder, dags, default.connection_json(), **SETTINGS) as running:

            def stage(dag_id: str) -> Waiting:
                service = default if dag_id in EXAMPLES else services.enter_context(running_emulator())
                return Waiting(running, service, dag_id)

            start_triggerer(running, "triggerer", "default")
            yield SCENES.played(pool, request, stage)


@scene("just_ended")
def test_the_hourly_example_waits_until_its_hour_is_final(stage: Waiting) -> None:
    """The service is not asked in the minute after the end of the interval, and no worker waits for it."""
    # the first scene, as this moment does not wait for the task
    end = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=30)
    stage.fill(60, end - HOUR, end)
    moments = {"logical_date": end, "data_interval_start": end - HOUR, "data_interval_end": end}
    stage.api.trigger(stage.dag_id, "first", {}, **{name: moment.isoformat() for name, moment in moments.items()})
    stage.api.unpause(stage.dag_id)
    stage.deferred()
    stage.until("the resend has ended", lambda: stage.task(task_id="resend")["state"] == "success" or None)
    window = stage.api.result(stage.dag_id, "first", "wait")["window"]
    assert ms(window["end"]) - ms(window["start"]) == 3_600_000
    assert stage.asked()[0].time_ms >= ms(window["end"]) + 60_000
    assert stage.each_was_sent_once


@scene("satisfied")
def test_a_window_is_looked_at_once_when_it_is_final(stage: Waiting) -> None:
    """Before that the service hears nothing; then one login, one list of topics, one look, from the triggerer."""
    stage.begin(30)
    stage.deferred()
    task = stage.ended("success")
    result = stage.api.result(stage.dag_id, "first", "wait")
    assert result["count"] == 30
    end_ms = ms(result["window"]["end"])
    assert end_ms >= ms(task["start_date"])
    assert stage.operations == ["login", "topics", "query"]
    assert stage.service.requests()[0].time_ms >= end_ms + 10_000
    assert stage.sockets == set()
    assert stage.workers(task) == 2
    stage.after("success")


@scene("ended_there")
def test_the_triggerer_can_end_the_task(stage: Waiting) -> None:
    """With ``end_from_trigger`` no worker has it a second time; its result is there all the same."""
    stage.begin(30)
    stage.deferred()
    task = stage.ended("success")
    assert stage.api.result(stage.dag_id, "first", "wait")["count"] == 30
    assert stage.workers(task) == 1
    stage.after("success")


@scene("skipped_there")
def test_the_triggerer_can_skip_the_task(stage: Waiting) -> None:
    """What comes behind it is skipped, too."""
    stage.begin()
    stage.deferred()
    assert stage.workers(stage.ended("skipped")) == 1
    stage.after("skipped")


@scene("empty")
def test_a_final_window_without_messages_is_skipped_at_once(stage: Waiting) -> None:
    """One look is enough; what comes behind the sensor is skipped, too."""
    stage.begin()
    stage.deferred()
    task = stage.ended("skipped")
    assert task["try_number"] == 1
    assert stage.operations == ["login", "topics", "query"]
    stage.after("skipped")


@scene("refused")
def test_a_final_window_without_messages_can_fail(stage: Waiting) -> None:
    """With ``on_closed_empty="fail"`` it does so for good: no retry could find more."""
    stage.begin()
    stage.deferred()
    task = stage.ended("failed")
    assert task["try_number"] == 1
    assert stage.reason(1).endswith("holds 0 messages; 1 are needed, and it is final.")
    assert len(stage.looks()) == 1
    stage.after("upstream_failed")


@scene("late")
def test_a_late_message_ends_the_waiting(stage: Waiting) -> None:
    """With ``on_closed_empty="wait"`` there is one look each poke interval, and one login a process."""
    stage.begin()
    task = stage.deferred()
    stage.until_looks(4)
    stage.append()
    assert stage.ended("success")["id"] == task["id"]
    assert stage.api.result(stage.dag_id, "first", "wait")["count"] == 1
    times = [one.time_ms for one in stage.looks()][1:]  # the first is the worker's
    assert all(later - earlier >= 1900 for earlier, later in pairwise(times)), times
    assert stage.operations.count("login") == stage.operations.count("topics") == 2


@scene("timed_out")
def test_a_deferred_sensor_times_out(stage: Waiting) -> None:
    """The last look is at the deadline, and the failure is not tried again."""
    stage.begin()
    stage.deferred()
    task = stage.ended("failed")
    assert task["try_number"] == 1
    assert stage.reason(1).startswith("AirflowSensorTimeout: Timed out. The window")
    assert stage.looks()[-1].time_ms >= ms(task["start_date"]) + 12_000
    stage.after("upstream_failed")


@scene("timed_out_softly")
def test_a_deferred_sensor_times_out_softly(stage: Waiting) -> None:
    """With ``soft_fail`` it is skipped."""
    stage.begin()
    stage.deferred()
    task = stage.ended("skipped")
    assert stage.looks()[-1].time_ms >= ms(task["start_date"]) + 12_000
    stage.after("skipped")


@scene("unavailable")
def test_a_service_that_is_away_for_a_while_is_waited_for(stage: Waiting) -> None:
    """Looks that fail are repeated, ever more rarely; the first that succeeds decides."""
    stage.service.faults.error_503 = ALWAYS
    stage.begin(30, max_retries=0)
    stage.deferred()
    stage.until("two looks have failed", lambda: stage.operations.count("topics") >= 2 or None)
    stage.service.faults.error_503 = NEVER
    assert stage.ended("success")["try_number"] == 1
    assert "Looking failed (2 in a row), and will be tried again" in stage.api.log(stage.task())
    assert [one.status for one in stage.looks()] == [200]
    assert stage.operations.count("login") == 1


@scene("forbidden")
def test_a_refusal_fails_at_once(stage: Waiting) -> None:
    """Nobody who may not read is asked for a second time, by a look or by a retry."""
    stage.service.faults.error_403 = Rule(probability=1, operations=frozenset({"query"}))
    stage.begin(30)
    stage.deferred()
    assert stage.ended("failed")["try_number"] == 1
    assert stage.reason(1).startswith("AirflowFailException: ")
    assert [one.status for one in stage.looks()] == [403]


def cut_off(stage: Waiting, act: str) -> dict[str, Any]:
    """Do something to the task while its trigger waits for an answer, and see that it hangs up; give the task."""
    stage.begin()
    task = stage.deferred()
    stage.until_looks(3)
    stage.service.faults.latency_s, stage.service.faults.latency_operations = 50, frozenset({"query"})
    asked = now_ms()
    stage.until_looks(1, asked)
    stage.service.faults.latency_s = 0
    sockets = stage.sockets
    assert len(sockets) == 1
    getattr(stage.api, act)(stage.dag_id, "first", "wait")
    stage.until("the trigger hangs up", lambda: None if sockets & stage.sockets else True, pause_s=0.1)
    assert now_ms() < asked + 50_000
    return task


@scene("marked_failed")
def test_the_trigger_of_a_task_that_is_marked_failed_ends(stage: Waiting) -> None:
    """It hangs up in the midst of a look, and is silent; after a clear the task waits anew."""
    task = cut_off(stage, "mark_failed")
    ended = now_ms()
    assert stage.ended("failed")["id"] == task["id"]
    stage.after("upstream_failed")
    assert stage.looks(ended) == []
    assert stage.sockets == set()

    stage.finished()
    stage.api.clear(stage.dag_id, "first")
    stage.deferred(other_than=task["id"])
    stage.append()
    stage.ended("success", other_than=task["id"])


@scene("cleared")
def test_the_trigger_of_a_task_that_is_cleared_gives_way_to_that_of_the_next_try(stage: Waiting) -> None:
    """It hangs up in the midst of a look, and the next try looks with a login of its own."""
    task = cut_off(stage, "clear")
    again = stage.deferred(other_than=task["id"])
    stage.append()
    assert stage.ended("success", other_than=task["id"])["id"] == again["id"]
    stage.until("no connection is left", lambda: None if stage.sockets else True)


@scene("killed")
def test_a_triggerer_that_is_killed_prolongs_no_deadline(stage: Waiting) -> None:
    """Another one goes on with what is waited for, until the moment that was set at the beginning."""
    start_triggerer(stage.running, "first", "killed")
    expire = Waiting(stage.running, stage.service, stage.dag_id, "expire")
    stage.begin()
    stage.deferred()
    expire.deferred()
    stage.until_looks(4)
    process = stage.running.programs.started.pop("first")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(TIMEOUT_S)
    killed = now_ms()
    start_triggerer(stage.running, "second", "killed")
    stage.until_looks(2, killed)
    stage.append()
    assert stage.ended("success")["try_number"] == 1
    task = expire.ended("failed")
    assert task["try_number"] == 1
    assert expire.reason(1).startswith("AirflowSensorTimeout: Timed out.")
    assert ms(task["start_date"]) + 45_000 <= stage.looks()[-1].time_ms < killed + 45_000


@scene("scheduled")
def test_the_scheduled_run_of_the_hourly_example_posts_nothing(stage: Waiting) -> None:
    """Unpausing starts a run of the last complete hour; it finds the messages, reports a dry run, and sends none."""
    stage.fill(300, THIS_HOUR - 3 * HOUR, datetime.now(timezone.utc))
    stage.api.unpause(stage.dag_id)

    def ended() -> str | None:
        runs = stage.api.get(f"dags/{stage.dag_id}/dagRuns", run_type="scheduled")["dag_runs"]
        return next((run["dag_run_id"] for run in runs if run["state"] in {"success", "failed"}), None)

    report = stage.report(stage.until("the scheduled run has ended", ended))
    assert report["dry_run"] is True
    assert report["requested"] > 0
    posts = stage.service.service.state.store.resend_requests()
    assert not [one for one in posts if f'"{stage.dag_id}"' in one["body"]]


@scene("back_filled")
def test_empty_hours_of_a_back_fill_are_skipped_at_once(stage: Waiting) -> None:
    """One look at each of them; the messages of the other hours are sent once each."""
    hours = [THIS_HOUR.replace(hour=hour) - 24 * HOUR for hour in (10, 11, 12, 13)]
    for hour in hours[::2]:
        stage.fill(60, hour, hour + HOUR)
    stage.api.backfill(stage.dag_id, hours[0].isoformat(), hours[-1].isoformat())
    stage.api.unpause(stage.dag_id)
    runs = [run["dag_run_id"] for run in stage.api.runs(stage.dag_id)]
    states = [
        [stage.ended("success or skipped", run, task_id=task_id)["state"] for task_id in ("wait", "query", "resend")]
        for run in runs
    ]
    assert states == [["success"] * 3, ["skipped"] * 3] * 2
    assert stage.each_was_sent_once
    for hour in hours[1::2]:
        assert len(stage.asked(hour)) == 1
