"""A watched topic under a real triggerer that is killed: every message starts a run, and no copy does."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.testing import running_emulator
from scripts.demo.airflow import command
from scripts.demo.running import running_airflow
from tests.airflow import AIRFLOW
from tests.stage import TIMEOUT_S, now_ms

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.testing import MqsEmulator
    from scripts.demo.running import Running

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(AIRFLOW < (3, 3), reason="the programs of the demo are those of Airflow 3.3"),
]
HERE = Path(__file__).resolve().parent
TOPIC = "watched"
SETTINGS = {
    "CORE__PARALLELISM": 4,
    "TRIGGERER__JOB_HEARTBEAT_SEC": 1,
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 5,  # so soon the next one takes over what a dead one had
}


@dataclass(frozen=True)
class Run:
    """A run that events started."""

    events: list[Offsets]
    found: Offsets
    """The result of its query."""
    dry_run: dict[str, Any]
    """The report of its dry run."""
    refusal: str
    """The log of its resend to the same topic."""

    @property
    def received(self) -> OffsetsByPartition:
        return partition_offsets.union(*map(offsets_in, self.events))

    @property
    def window(self) -> TimeWindow:
        windows = [event.window for event in self.events]
        return TimeWindow(min(one.start_ms for one in windows), max(one.end_ms for one in windows), "event")


def offsets_in(offsets: Offsets) -> OffsetsByPartition:
    return {number: part.ranges for number, part in offsets.partitions.items()}


class Watching:
    """An Airflow whose triggerer watches a topic."""

    def __init__(self, running: Running, service: MqsEmulator) -> None:
        self.running = running
        self.service = service
        self.triggerers = 0
        self.copies: OffsetsByPartition = {}

    def start_triggerer(self) -> None:
        self.triggerers += 1
        self.running.programs.start(self._name, *command("triggerer", "--skip-serve-logs"))

    def kill_triggerer(self) -> None:
        process = self.running.programs.started.pop(self._name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT_S)

    def append(self, count: int) -> None:
        for number in range(count):
            self.service.append(TOPIC, partition=number % 3, timestamp_ms=now_ms() - number * 40)

    def until_polled(self) -> None:
        """Wait until the trigger has asked for the newest message; its event comes a moment later."""
        last_ms = max(message.timestamp_ms for message in self.service.messages(TOPIC))

        def polled() -> bool | None:
            asked = [int(one.query["end_time"]) for one in self.service.requests("query") if "end_time" in one.query]
            return max(asked, default=0) > last_ms or None

        self.running.programs.until("it is polled", polled, TIMEOUT_S, pause_s=0.02)

    def until_published(self) -> None:
        """Wait until each message except the copies is in an event."""
        self.running.programs.until("all are published", lambda: self.published() == self.stored() or None, TIMEOUT_S)

    def until_saved(self) -> None:
        """Wait until the cursor is behind the newest message."""
        last_ms = max(message.timestamp_ms for message in self.service.messages(TOPIC))
        self.running.programs.until("it is saved", lambda: self._next_ms() > last_ms or None, TIMEOUT_S)

    def events(self) -> list[OffsetsByPartition]:
        found = self.running.api.get("assets/events", limit=100, order_by="timestamp")["asset_events"]
        return [self._offsets(event["extra"]["payload"]) for event in found if event["extra"].get("from_trigger")]

    def published(self) -> OffsetsByPartition:
        return partition_offsets.union(*self.events())

    def stored(self) -> OffsetsByPartition:
        """Return the offsets of all messages except the copies that the report of the resend names."""
        rows = [(message.partition, message.message_offset) for message in self.service.messages(TOPIC)]
        return partition_offsets.difference(partition_offsets.from_refs(rows), self.copies)

    def runs(self) -> list[Run] | None:
        """Return the runs once all have ended and together have received everything that was published."""
        runs = self.running.api.get(f"dags/{TOPIC}/dagRuns", limit=100)["dag_runs"]
        if any(run["state"] not in ("success", "failed") for run in runs):
            return None
        ended = [self._run(run["dag_run_id"]) for run in runs]
        return ended if partition_offsets.union(*(run.received for run in ended)) == self.published() else None

    def resend(self, messages: OffsetsByPartition) -> None:
        items = [
            {"partition": partition, "message_offset": offset}
            for partition, offset in partition_offsets.expand(messages)
        ]
        self.running.api.trigger("resent", "once", {"messages": items})
        self.running.programs.until("it is resent", self._resent, TIMEOUT_S)
        report = self.running.api.result("resent", "once", "resend")
        self.copies = partition_offsets.from_json(report["copies"], "copies")

    def _resent(self) -> bool | None:
        state = self.running.api.task("resent", "once", "resend")["state"]
        assert state != "failed"
        return True if state == "success" else None

    def _next_ms(self) -> int:
        assets = self.running.api.get("assets", name_pattern=f"%{TOPIC}")["assets"]
        (entry,) = self.running.api.get(f"assets/{assets[0]['id']}/state-store")["asset_state_store"]
        return int(entry["value"]["next_ms"])

    def _run(self, run_id: str) -> Run:
        record, find, dry_run = (self.running.api.result(TOPIC, run_id, name) for name in ("record", "find", "look"))
        events = [Offsets.from_xcom(payload) for payload in record["payloads"]]
        refusal = self.running.api.log(self.running.api.task(TOPIC, run_id, "back"))
        return Run(events, Offsets.from_xcom(find), dry_run, refusal)

    @staticmethod
    def _offsets(payload: dict[str, Any]) -> OffsetsByPartition:
        return offsets_in(Offsets.from_xcom(payload))

    @property
    def _name(self) -> str:
        return f"triggerer-{self.triggerers}"


def are_disjoint(events: list[OffsetsByPartition]) -> bool:
    return partition_offsets.count(partition_offsets.union(*events)) == sum(map(partition_offsets.count, events))


def test_every_message_starts_a_run_though_the_triggerer_is_killed(tmp_path: Path) -> None:
    """Each is published at least once, the same if again; no copy starts a run, and no run resends to its own topic.

    The query of a run has the window of its events, and the resend has their messages.
    """
    dags = shutil.copytree(HERE / "watched_dags", tmp_path / "dags")
    with (
        running_emulator() as service,
        running_airflow(tmp_path, dags, service.connection_json(), **SETTINGS) as running,
    ):
        watching = Watching(running, service)
        service.seed(TOPIC, 0, 1_700_000_000_000, 1_700_000_000_001, partitions=3, retention_hours=1_000_000)
        watching.start_triggerer()
        running.programs.until("the DAGs are there", lambda: running.api.knows("resent"), TIMEOUT_S)

        watching.append(30)
        watching.until_published()
        watching.until_saved()
        watching.kill_triggerer()
        watching.append(30)
        watching.start_triggerer()
        watching.until_published()
        watching.until_saved()
        once = watching.events()
        assert len(once) > 1
        assert are_disjoint(once)

        watching.append(10)
        watching.until_polled()
        watching.kill_triggerer()
        watching.start_triggerer()
        watching.until_published()

        watching.resend(once[0])
        watching.append(10)
        watching.until_published()
        watching.kill_triggerer()
        watching.append(10)
        watching.start_triggerer()
        watching.until_published()

        published = watching.published()
        events = watching.events()
        assert are_disjoint([event for number, event in enumerate(events) if event not in events[:number]])
        assert partition_offsets.count(watching.copies) == partition_offsets.count(once[0])
        assert not partition_offsets.intersection(published, watching.copies)
        runs = running.programs.until("each event has its run", watching.runs, TIMEOUT_S)
        assert len(service.resends(TOPIC)) == partition_offsets.count(once[0])
        for run in runs:
            assert "allow_self_trigger=True" in run.refusal
            assert partition_offsets.from_json(run.dry_run["plan"]["ranges"], "ranges") == run.received
            assert run.found.window == run.window
            assert not partition_offsets.difference(run.received, offsets_in(run.found))
