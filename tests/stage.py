"""
One DAG under a real scheduler, the topic of its name, and what the service's own log says was sent.

One Airflow serves all scenes of a test file, and they are played at the same time: most of a scene is waiting.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor
    from datetime import datetime

    import pytest

    from airflow_provider_mqs.emulator.store import Resend
    from airflow_provider_mqs.testing import MqsEmulator
    from scripts.demo.airflow import Airflow
    from scripts.demo.running import Running

T = TypeVar("T")
TIMEOUT_S = 180.0


@dataclass
class Stage:
    """
    Where a scenario is played.

    :param running: the Airflow
    :param service: the local service
    :param dag_id: name of DAG and topic
    :param task_id: the task that it is about
    """

    running: Running
    service: MqsEmulator
    dag_id: str
    task_id: str = "resend"
    held: set[tuple[int, int]] | None = None

    @property
    def api(self) -> Airflow:
        return self.running.api

    @property
    def sends(self) -> list[Resend]:
        return self.service.resends(self.dag_id)

    @property
    def each_was_sent_once(self) -> bool:
        return self.service.resend_counts(self.dag_id) == dict.fromkeys(self.held or (), 1)

    def fill(self, count: int, start: datetime, end: datetime, partitions: int = 4) -> None:
        self.service.seed(self.dag_id, count, start, end, partitions=partitions)
        self.held = self.service.offsets(self.dag_id)

    def trigger(self, start: datetime, end: datetime, run_id: str = "first") -> None:
        self.api.trigger(self.dag_id, run_id, {"start": start.isoformat(), "end": end.isoformat()})

    def until_sent(self, count: int) -> None:
        self.until(f"{count} messages are sent", lambda: len(self.sends) >= count or None, pause_s=0.02)

    def until(self, what: str, answer: Callable[[], T | None], pause_s: float = 0.5) -> T:
        return self.running.programs.until(f"{self.dag_id}: {what}", answer, TIMEOUT_S, pause_s)

    def task(self, run_id: str = "first", task_id: str = "") -> dict[str, Any]:
        return self.api.task(self.dag_id, run_id, task_id or self.task_id)

    def ended(self, state: str, run_id: str = "first", *, task_id: str = "", other_than: str = "") -> dict[str, Any]:
        """Wait until the task, with another id than this one, has come to a state, and give it; or has failed."""

        def reached() -> dict[str, Any] | None:
            task = self.task(run_id, task_id)
            return task if task["state"] in {*state.split(" or "), "failed"} and task["id"] != other_than else None

        task = self.until(f"{run_id} is {state}", reached)
        assert task["state"] in state, self.api.log(task)[-3000:]
        return task

    def finished(self, run_id: str = "first") -> None:
        """Wait until the run has ended, too: with SQLite, a clear in the midst of that is lost."""
        path = f"dags/{self.dag_id}/dagRuns/{run_id}"
        self.until(f"{run_id} has ended", lambda: self.api.get(path)["state"] in {"success", "failed"} or None)

    def back_filled(self) -> bool | None:
        """Say whether no back-fill is running any more; None when not yet. The scheduler looks every 30 s."""
        found = self.api.get("backfills", dag_id=self.dag_id)["backfills"]
        return all(one["completed_at"] for one in found) or None

    def process(self, run_id: str = "first") -> psutil.Process:
        """Wait until the task runs, and give the process that runs it: a descendant of the scheduler."""
        scheduler = self.running.programs.started["scheduler"].pid

        def found() -> psutil.Process | None:
            task = self.task(run_id)
            try:
                process = psutil.Process(task["pid"]) if task["state"] == "running" and task["pid"] else None
                parents = [one.pid for one in process.parents()] if process else []
            except psutil.NoSuchProcess:
                return None
            return process if scheduler in parents else None

        return self.until(f"{run_id} runs", found)

    def report(self, run_id: str = "first") -> dict[str, Any]:
        """Read the report, and see that its numbers add up."""
        report = self.api.result(self.dag_id, run_id, "resend")
        names = ("sent", "already_sent", "failed", "unknown", "not_attempted")
        assert report["schema"] == "mqs.replay/1"
        assert report["requested"] == sum(report[name] for name in names), report
        return report

    def reason(self, try_number: int, run_id: str = "first") -> str:
        """Read in the log of a try what it failed with."""
        lines = self.api.log(self.task(run_id), try_number).splitlines()
        return lines[1 + next(i for i, line in enumerate(lines) if line.endswith("Task failed with exception"))]


class Scenes(dict[str, "Callable[[Any], None]"]):
    """The scenes of a test file, by the name of their DAG."""

    def scene(self, dag_id: str) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
        """Have a test played with the others; the test itself waits for the outcome."""

        def register(play: Callable[[Any], None]) -> Callable[..., None]:
            def outcome(played: dict[str, Future[None]]) -> None:
                played[dag_id].result()

            self[dag_id] = play
            outcome.__name__, outcome.__doc__ = play.__name__, play.__doc__
            return outcome

        return register

    def played(
        self, pool: ThreadPoolExecutor, request: pytest.FixtureRequest, stage: Callable[[str], Stage]
    ) -> dict[str, Future[None]]:
        """Begin the scenes of the chosen tests, once Airflow has read all DAGs; each on the stage of its DAG."""
        chosen = {item.name for item in request.session.items}
        stages = {dag_id: stage(dag_id) for dag_id in self}
        for dag_id, one in stages.items():
            one.until("it is there", partial(one.api.knows, dag_id))
        return {dag_id: pool.submit(play, stages[dag_id]) for dag_id, play in self.items() if play.__name__ in chosen}


def now_ms() -> int:
    return time.time_ns() // 1_000_000
