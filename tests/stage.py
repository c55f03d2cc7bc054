"""One DAG under a real scheduler, the topic of its name, and what the service's own log says was sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_mqs.emulator.records import Resend
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
    """

    running: Running
    service: MqsEmulator
    dag_id: str
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

    def task(self, run_id: str = "first", task_id: str = "resend") -> dict[str, Any]:
        return self.api.task(self.dag_id, run_id, task_id)

    def ended(self, state: str, run_id: str = "first", *, other_than: str = "") -> dict[str, Any]:
        """Wait until the resend, with another id than this one, has come to a state, and give it; or has failed."""

        def reached() -> dict[str, Any] | None:
            task = self.task(run_id)
            return task if task["state"] in {*state.split(" or "), "failed"} and task["id"] != other_than else None

        task = self.until(f"{run_id} is {state}", reached)
        assert task["state"] in state, self.api.log(task)[-3000:]
        return task

    def back_filled(self) -> bool | None:
        """Say whether no back-fill is running any more; None when not yet. The scheduler looks every 30 s."""
        found = self.api.get("backfills", dag_id=self.dag_id)["backfills"]
        return all(one["completed_at"] for one in found) or None

    def process(self, run_id: str = "first") -> psutil.Process:
        """Wait until the resend runs, and give the process that runs it: a descendant of the scheduler."""
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


def now_ms() -> int:
    return time.time_ns() // 1_000_000
