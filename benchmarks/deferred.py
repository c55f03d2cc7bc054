"""
A thousand deferred sensors and fifty watchers in one triggerer, next to a thousand ``DateTimeTrigger`` that only sleep.

Airflow's own ``TriggerRunner`` runs them in a process of its own: it imports their classes, decrypts their arguments,
starts, logs and cancels them. Only its supervisor is missing: this module, instead of the database, says what to create
and what to cancel; connections come from the environment, and logs go nowhere. As a program, it is that process.
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
from benchmarks.scenario import END_MS, START_MS, TOPIC, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.executors.workloads.trigger import RunTrigger

    from benchmarks.measuring import Bench

OURS, WATCHERS, SLEEPERS = "MessagesInWindowTrigger", "NewMessagesTrigger", "DateTimeTrigger"
SCENARIO = Scenario(100, latency_ms=20)
_TICK_S = 0.01
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement: one sensor loads everything, then all the others are created at once."""

    trigger: str  # name of the class
    sensors: int  # without the first one
    watchers: int = 0  # NewMessagesTrigger of the topic, each with a cursor of its own
    poke_interval_s: float = 15.0
    warm_up_s: float = 4.0  # from the start of the first sensor to the creation of the others
    start_s: float = 5.0  # from then on until the windows of all sensors become final, at the same moment
    seconds: float = 25.0  # from then on
    port: int = 0  # of the service


class LoopMonitor:
    """
    Measures how late a coroutine wakes up that sleeps for 10 ms again and again.

    Python's garbage collector stops everything when enough objects have been made, by any code; with all that Airflow
    holds, for a tenth of a second. So the gaps are also measured without the time that the collector took.
    """

    def __init__(self) -> None:
        self._collected_s = self._longest_s = self._own_s = self._began_s = 0.0
        gc.callbacks.append(self._collecting)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began_s, collected_s = time.perf_counter(), self._collected_s
            await asyncio.sleep(_TICK_S)
            late_s = time.perf_counter() - began_s - _TICK_S
            self._longest_s = max(self._longest_s, late_s)
            self._own_s = max(self._own_s, late_s - (self._collected_s - collected_s))

    def longest_s(self) -> tuple[float, float]:
        """Return the longest gap since the last call, with and without the collector."""
        found, self._longest_s, self._own_s = (self._longest_s, self._own_s), 0.0, 0.0
        return found

    def _collecting(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        else:
            self._collected_s += time.perf_counter() - self._began_s


def compare(bench: Bench, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Measure both triggers in turns."""
    loads = (Load(SLEEPERS, 1_000), Load(OURS, 1_000, watchers=50))
    turns = [{load.trigger: run(bench, load) for load in loads} for _ in range(rounds)]
    return {load.trigger: [turn[load.trigger] for turn in turns] for load in loads}


def run(bench: Bench, load: Load) -> dict[str, Any]:
    """Take one measurement, and add what the service counted."""
    bench.set_up(SCENARIO)
    found = bench.child("benchmarks.deferred", replace(load, port=bench.port))
    counts = bench.counts()
    assert found["running"] == load.sensors + load.watchers + 1, "Some triggers have ended."
    names = ("logins", "topic_lists", "connections", "max_open", "max_in_flight")
    return {"sensors": load.sensors, "watchers": load.watchers, **found, **{name: counts[name] for name in names}}


async def measured(load: Load) -> dict[str, Any]:
    """Run the triggers in this event loop."""
    monitor, triggerer = LoopMonitor(), _triggerer()
    tasks = [asyncio.create_task(monitor.run()), asyncio.create_task(triggerer.arun())]
    triggerer.add(_workloads(range(1), load.trigger, 1.0, time.time()))
    await asyncio.sleep(load.warm_up_s)
    if load.trigger == OURS:
        await asyncio.wait_for(_first_poll(load.port), _TIMEOUT_S)
    loading, memory, final_s = monitor.longest_s(), resident(), time.time() + load.start_s
    sensors = range(1, load.sensors + 1)
    watchers = range(sensors.stop, sensors.stop + load.watchers)
    triggerer.add(
        _workloads(sensors, load.trigger, load.poke_interval_s, final_s)
        + [one for number in watchers for one in _workloads((number,), WATCHERS, load.poke_interval_s, number)]
    )
    await asyncio.sleep(final_s - time.time())
    await asyncio.wait_for(triggerer.all_started(1 + load.sensors + load.watchers), _TIMEOUT_S)
    before, cpu_s = await asyncio.to_thread(counts_at, load.port), time.process_time()
    await asyncio.sleep(load.seconds)
    after, cpu_s = await asyncio.to_thread(counts_at, load.port), time.process_time() - cpu_s
    running, memory = len(triggerer.triggers), resident() - memory
    longest = monitor.longest_s()
    await asyncio.wait_for(triggerer.end(), _TIMEOUT_S)
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
    """Return Airflow's runner, which takes its work from us instead of from a supervisor."""
    from airflow.jobs.triggerer_job_runner import TriggerRunner, messages

    class Triggerer(TriggerRunner):
        """The runner without a supervisor."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
            self.new: list[RunTrigger] = []
            self.gone: set[int] = set()

        def add(self, workloads: list[RunTrigger]) -> None:
            """Create triggers at the next turn, as if the supervisor had found them in the database."""
            self.new += workloads

        async def all_started(self, count: int) -> None:
            """Wait until this many triggers have been created."""
            while len(self.triggers) < count:  # noqa: ASYNC110 - the runner is Airflow's
                await asyncio.sleep(_TICK_S)

        async def end(self) -> None:
            """Cancel all triggers, as if a user had cleared their tasks, and wait until they have ended."""
            self.gone = set(self.triggers)
            while self.triggers:  # noqa: ASYNC110 - the runner is Airflow's
                await asyncio.sleep(_TICK_S)

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
    Return class path and arguments of a trigger, as Airflow stores it.

    ``when`` is the epoch second at which its window is final; for a watcher, it is its number.
    """
    return _SERIALIZED[name](poke_interval_s, when)


def _ours(poke_interval_s: float, final_s: float) -> tuple[str, dict[str, Any]]:
    """Wait for more messages than there are; written out, so that nothing is imported that a triggerer would not."""
    condition = {
        "topic": TOPIC,
        "window": {"start_ms": START_MS, "end_ms": END_MS, "source": "explicit"},
        "min_messages": 2 * SCENARIO.messages,
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
    """Watch from a moment of its own on, because Airflow takes equal triggers for one."""
    arguments = {"topic": TOPIC, "poll_interval_s": poll_interval_s, "start": START_MS + int(number)}
    return "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger", arguments


def _sleeper(_: float, final_s: float) -> tuple[str, dict[str, Any]]:
    moment = datetime.fromtimestamp(final_s, timezone.utc) + timedelta(days=1)
    return "airflow.providers.standard.triggers.temporal.DateTimeTrigger", {"moment": moment}


_SERIALIZED = {SLEEPERS: _sleeper, OURS: _ours, WATCHERS: _watcher}


async def _first_poll(port: int) -> None:
    while not (await asyncio.to_thread(counts_at, port))["pages"]:  # noqa: ASYNC110 - the service is another process
        await asyncio.sleep(_TICK_S)


def _left_open(port: int) -> int:
    """Return the connections that the service still sees, after up to a second in which it may see them closed."""
    for _ in range(100):
        left = int(counts_at(port)["open"])
        if not left:
            break
        time.sleep(_TICK_S)
    return left


def main(load: Load) -> None:
    """Measure in this process, with the logging of a triggerer, whose lines go nowhere."""
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
