"""
A thousand deferred sensors and fifty watchers in one triggerer, beside a thousand ``DateTimeTrigger`` that only sleep.

Airflow's own ``TriggerRunner`` runs them in a process of its own: it imports their classes, decrypts their arguments,
starts, logs and cancels them. What it is spared is its supervisor: what to create and to cancel comes from here instead
of the database, connections come from the environment, and logs go nowhere. As a program this is that process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import connect
from benchmarks.measuring import counts_at, resident
from benchmarks.shape import END_MS, START_MS, TOPIC, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.executors.workloads.trigger import RunTrigger

    from benchmarks.measuring import Bench

OURS, WATCHERS, SLEEPERS = "MessagesInWindowTrigger", "NewMessagesTrigger", "DateTimeTrigger"
SHAPE = Shape(100, latency_ms=20)
_BEAT_S = 0.01
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Load:
    """
    One measurement.

    :param trigger: which class
    :param sensors: how many, beside the first one, which loads everything
    :param watchers: how many ``NewMessagesTrigger`` of the topic there are besides, each with a cursor of its own
    :param poke_interval_s: of each; the windows of all become final at the same moment
    :param seconds: how long they are watched from then on
    :param port: of the service
    """

    trigger: str
    sensors: int
    watchers: int = 0
    poke_interval_s: float = 15.0
    seconds: float = 25.0
    port: int = 0
    warm_up_s: float = 4.0
    """Until then the first one has loaded everything."""
    start_s: float = 5.0
    """Until then the others are created; their windows become final."""


class Pulse:
    """
    Measures how late a coroutine is woken that sleeps for 10 ms again and again.

    The interpreter's collector stops everything when enough objects have been made, whoever made them, for a tenth of a
    second with all that Airflow holds. So the gaps are also given without the time that it took.
    """

    def __init__(self) -> None:
        self._collected_s = self._longest_s = self._own_s = self._began_s = 0.0
        gc.callbacks.append(self._collecting)

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            began_s, collected_s = time.perf_counter(), self._collected_s
            await asyncio.sleep(_BEAT_S)
            late_s = time.perf_counter() - began_s - _BEAT_S
            self._longest_s = max(self._longest_s, late_s)
            self._own_s = max(self._own_s, late_s - (self._collected_s - collected_s))

    def longest_s(self) -> tuple[float, float]:
        """Give the longest gap since the last call, with and without the collector."""
        found, self._longest_s, self._own_s = (self._longest_s, self._own_s), 0.0, 0.0
        return found

    def _collecting(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        else:
            self._collected_s += time.perf_counter() - self._began_s


def compare(bench: Bench, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Measure both in turns."""
    loads = (Load(SLEEPERS, 1_000), Load(OURS, 1_000, watchers=50))
    turns = [{load.trigger: run(bench, load) for load in loads} for _ in range(rounds)]
    return {load.trigger: [turn[load.trigger] for turn in turns] for load in loads}


def run(bench: Bench, load: Load) -> dict[str, Any]:
    """Measure one, and add what the service saw."""
    bench.shape(SHAPE)
    found = bench.child("benchmarks.deferred", replace(load, port=bench.port))
    counts = bench.counts()
    assert found["running"] == load.sensors + load.watchers + 1, "Some triggers have ended."
    names = ("logins", "topic_lists", "connections", "max_open", "max_in_flight")
    return {"sensors": load.sensors, "watchers": load.watchers, **found, **{name: counts[name] for name in names}}


async def measured(load: Load) -> dict[str, Any]:
    """Run the triggers in this loop; the first one loads everything, the others are all created at once."""
    pulse, triggerer = Pulse(), _triggerer()
    tasks = [asyncio.create_task(pulse.beat()), asyncio.create_task(triggerer.arun())]
    triggerer.add(_workloads(range(1), load.trigger, 1.0, time.time()))
    await asyncio.wait_for(triggerer.until_running(1), _PATIENCE_S)
    await asyncio.sleep(load.warm_up_s)
    loading, memory, final_s = pulse.longest_s(), resident(), time.time() + load.start_s
    sensors = range(1, load.sensors + 1)
    watchers = range(sensors.stop, sensors.stop + load.watchers)
    triggerer.add(
        _workloads(sensors, load.trigger, load.poke_interval_s, final_s)
        + [one for number in watchers for one in _workloads((number,), WATCHERS, load.poke_interval_s, number)]
    )
    await asyncio.wait_for(triggerer.until_running(1 + load.sensors + load.watchers), _PATIENCE_S)
    await asyncio.sleep(final_s - time.time())
    before, cpu_s = await asyncio.to_thread(counts_at, load.port), time.process_time()
    await asyncio.sleep(load.seconds)
    after, cpu_s = await asyncio.to_thread(counts_at, load.port), time.process_time() - cpu_s
    running, memory = len(triggerer.triggers), resident() - memory
    longest = pulse.longest_s()
    await triggerer.end()
    left_open = await asyncio.to_thread(_left_open, load.port)
    for task in tasks:
        task.cancel()
    return {
        "loading_s": loading[0],
        "longest_s": longest[0],
        "own_s": longest[1],
        "cpu_s": cpu_s,
        "memory": memory,
        "polls": after["pages"] - before["pages"],
        "running": running,
        "left_open": left_open,
    }


def _triggerer() -> Any:
    """Make Airflow's runner, which is given its work by us instead of a supervisor."""
    from airflow.jobs.triggerer_job_runner import TriggerRunner, messages

    class Triggerer(TriggerRunner):
        """The runner without a supervisor."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
            self.new: list[RunTrigger] = []
            self.gone: set[int] = set()

        def add(self, workloads: list[RunTrigger]) -> None:
            """Create triggers at the next turn, as for what the supervisor has found in the database."""
            self.new += workloads

        async def until_running(self, count: int) -> None:
            """Wait until so many have been created."""
            while len(self.triggers) < count:  # noqa: ASYNC110 - the runner is Airflow's
                await asyncio.sleep(_BEAT_S)

        async def end(self) -> None:
            """Cancel all, as when a user has cleared their tasks, and wait until they have ended."""
            cancelled: set[int] = set()
            while self.triggers:
                self.gone |= set(self.triggers) - cancelled
                cancelled |= self.gone
                await asyncio.sleep(_BEAT_S)

        async def init_comms(self) -> None:
            reader: Any = SimpleNamespace(_reader_task=asyncio.create_task(asyncio.Event().wait()))
            self.comms_decoder = reader

        async def asend(self, msg: object) -> messages.TriggerStateSync:
            del msg
            new, self.new, gone, self.gone = self.new, [], self.gone, set()
            return messages.TriggerStateSync(to_create=new, to_cancel=gone)

    return Triggerer()


def _workloads(numbers: Sequence[int], name: str, poke_interval_s: float, when: float) -> list[RunTrigger]:
    from airflow.executors.workloads.trigger import RunTrigger
    from airflow.models.trigger import Trigger

    path, arguments = serialized(name, poke_interval_s, when)
    encrypted = Trigger.encrypt_kwargs(arguments)  # once: in a triggerer, the supervisor has done this
    return [RunTrigger(id=number, classpath=path, encrypted_kwargs=encrypted) for number in numbers]


def serialized(name: str, poke_interval_s: float, when: float) -> tuple[str, dict[str, Any]]:
    """
    Give a trigger as Airflow stores it.

    :param name: which class
    :param poke_interval_s: how often it asks
    :param when: when its window is final, epoch seconds; of a watcher, its number
    :return: class path and arguments
    """
    return _SERIALIZED[name](poke_interval_s, when)


def _ours(poke_interval_s: float, final_s: float) -> tuple[str, dict[str, Any]]:
    """Wait for more messages than there are, by hand so that nothing is imported that a triggerer would not."""
    condition = {
        "topic": TOPIC,
        "start_ms": START_MS,
        "end_ms": END_MS,
        "source": "start and end",
        "min_messages": 2 * SHAPE.messages,
        "settle_s": final_s - END_MS / 1000,
        "on_closed_empty": "wait",
    }
    arguments = {
        "condition": condition,
        "poll_policy": {"poke_interval_s": poke_interval_s},
        "deadline_s": final_s + 3_600,
    }
    return "airflow_provider_mqs.triggers.mqs.MessagesInWindowTrigger", arguments


def _watcher(poll_interval_s: float, number: float) -> tuple[str, dict[str, Any]]:
    """Watch from a moment of its own on: those that are equal are one to Airflow."""
    arguments = {"topic": TOPIC, "poll_interval_s": poll_interval_s, "start": START_MS + int(number)}
    return "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger", arguments


def _sleeper(_: float, final_s: float) -> tuple[str, dict[str, Any]]:
    moment = datetime.fromtimestamp(final_s, timezone.utc) + timedelta(days=1)
    return "airflow.providers.standard.triggers.temporal.DateTimeTrigger", {"moment": moment}


_SERIALIZED = {SLEEPERS: _sleeper, OURS: _ours, WATCHERS: _watcher}


def _left_open(port: int) -> int:
    """Count the connections that the service still sees, once it had time to see them closed."""
    for _ in range(100):
        left = int(counts_at(port)["open"])
        if not left:
            break
        time.sleep(_BEAT_S)
    return left


def main(load: Load) -> None:
    """Measure in this process; logs are written as a triggerer writes them, to nowhere."""
    connect(f"http://127.0.0.1:{load.port}")
    from airflow.sdk.log import configure_logging, reset_logging

    reset_logging()  # type: ignore[no-untyped-call]  # Airflow's
    with Path(os.devnull).open("wb") as nowhere, TemporaryDirectory() as cursors:
        configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)
        os.environ["AIRFLOW__MQS__LEDGER_PATH"] = cursors
        found = asyncio.run(measured(load))
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main(Load(**json.loads(sys.argv[1])))
