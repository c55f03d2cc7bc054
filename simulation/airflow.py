"""
What starts processes: DAG runs with their tasks and tries, people who call the command, and the epilogue.

It runs on a loop of its own that nothing kills. A try that dies, or that is paused for too long, is noticed and
followed by the next, as Airflow would do it; in the second case the first try may wake beside its successor.

In the epilogue nothing goes wrong any more. Whatever the schedule has left must then come to a good end, or to one
that names what nobody can know: the ``stuck`` of the oracle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from simulation import engine
from simulation.attempt import TIMEOUT_S, Attempt
from simulation.facts import Facts, Published, Queried, Resent, Sensed, refs_of
from simulation.network import Network
from simulation.process import Host, Process, ProcessStore, SharedStore
from simulation.schedule import HOUR_S, WINDOWS, Run, Schedule, Written
from simulation.virtual_time import EPOCH_S, World, new_loop

if TYPE_CHECKING:
    from simulation.service import Ref, SimulatedService

LIMIT_S = 3600.0
"""The schedule ends at this time at the latest."""
_LAST_S = 900.0
_TRIES = 3
"""Of the epilogue: so many further runs must be enough."""


Work: TypeAlias = Callable[[Process, Network, list[ProcessStore]], Coroutine[Any, Any, None]]
"""What a task does in its process."""


def epoch_ms(at_s: float) -> int:
    """Return a moment in epoch milliseconds."""
    return int((EPOCH_S + at_s) * 1000)


class Airflow:
    """Carries out one schedule."""

    def __init__(self, schedule: Schedule, service: SimulatedService, world: World) -> None:
        self.schedule, self.service, self.world = schedule, service, world
        self.facts = Facts()
        self.stores = [SharedStore(f"store {number}") for number in range(schedule.stores)]
        self.hosts = [
            Host(f"host{number}", world, one.ahead_s, one.drift, f"boot{number}")
            for number, one in enumerate(schedule.machines)
        ]
        self.triggerer = Host("triggerer", world)
        """Its clock is right: a watcher goes by it."""
        self.processes: list[Process] = []
        self.loop = new_loop(world)
        self._strikes: dict[str, dict[tuple[str, str, int], Any]] = {}
        for fault in schedule.faults:
            self._strikes.setdefault(fault.process, {})[fault.phase, fault.kind, fault.nth] = fault.strike
        self._healed = False

    def run(self) -> Facts:
        """Carry out the schedule and the epilogue."""
        schedule, world = self.schedule, self.world
        self._plan()
        runs = [self.loop.create_task(self._dag_run(run)) for run in schedule.runs]
        watching = [self.loop.create_task(self._watch())] if schedule.watched else []
        world.run(lambda: all(run.done() for run in runs), LIMIT_S)
        self._heal()
        end = self.loop.create_task(self._epilogue())
        world.run(end.done, world.now + 4 * LIMIT_S)
        if watching:
            self.facts.watched_until_s = world.now
            world.run(lambda: False, world.now + 2 * engine.HOLD_S + 30)
            watching[0].cancel()
        for run in (*runs, end):
            if run.done():
                run.result()  # a fault of the simulation itself
            else:
                self.facts.stuck.append("the epilogue does not end")
        self.bury()
        return self.facts

    def _plan(self) -> None:
        """Plan what happens whatever anybody does."""
        schedule, world = self.schedule, self.world
        for one in schedule.messages:
            if one.at_s <= 0:
                self._produce(one)
            else:
                world.at(one.at_s, partial(self._produce, one))
        for host, machine in zip(self.hosts, schedule.machines, strict=True):
            if machine.jump_at_s is not None:
                world.at(machine.jump_at_s, partial(self._jump, host, machine.jump_s))
        for change in schedule.changes:
            world.at(change.at_s, partial(self._change, change.name, change.value))

    def bury(self) -> None:
        """Close what is left of every process."""
        for process in self.processes:
            process.loop.bury()
        self.loop.bury()

    def _produce(self, one: Written) -> None:
        self.service.produce(
            one.partition,
            value=one.value,
            key=one.key,
            tag=one.tag,
            timestamp_ms=epoch_ms(one.at_s) if one.at_s <= 0 else None,
        )

    def _jump(self, host: Host, by_s: float) -> None:
        self.world.note(host.name, f"sets its clock by {by_s:+.0f} s")
        host.ahead_s += by_s

    def _change(self, name: str, value: Any) -> None:
        if self._healed:
            return
        self.world.note("the service", f"{name} = {value}")
        setattr(self.service.state.faults, name, value)

    def _heal(self) -> None:
        self._healed = True
        self.world.note("everything", "is well from now on")
        self.service.heal()
        for process in self.processes:
            process.heal()
        others = [process for process in self.processes if process.host is not self.triggerer]
        self.world.run(lambda: not any(one.alive and not one.done for one in others), self.world.now + _LAST_S)
        for process in others:
            process.kill()
        self.world.run(lambda: False, self.world.now + 30)  # what is still on its way arrives

    async def _dag_run(self, run: Run) -> None:
        await asyncio.sleep(run.at_s)
        if run.waits and not await self._sense(run):
            return
        documents = await self._query(run)
        if documents is None:
            return
        batches = [self._resend(run, f"resend{number}", document) for number, document in enumerate(documents)]
        await asyncio.gather(*batches)
        if run.proves:
            await self._prove(run)

    async def _sense(self, run: Run) -> bool:
        told = Sensed("", epoch_ms(run.start_s), epoch_ms(run.end_s), run.min_messages, 0.0)

        async def work(process: Process, network: Network, _: list[ProcessStore]) -> None:
            told.process, told.began_s = process.name, self.world.now
            told.status = await engine.sense(process, network, run, told.start_ms, told.end_ms)
            told.ended_s = self.world.now
            self.facts.sensed.append(told)
            self.world.note(process.name, f"decides: {told.status}")

        return await self._tried(run, "sensor", work) and told.status == "satisfied"

    async def _tried(self, run: Run, task: str, work: Work) -> bool:
        """Run a task, with its retries; return whether it succeeded."""
        for attempt in range(1, run.retries + 2):
            if await self._attempt(run, task, attempt, work):
                return True
            await asyncio.sleep(run.retry_delay_s)
        return False

    async def _watch(self) -> None:
        """Keep a watcher running, as a triggerer does that is started again when it dies."""
        run = Run("W", 0.0, 0.0, 0.0)

        async def work(process: Process, network: Network, stores: list[ProcessStore]) -> None:
            def publish(document: dict[str, Any]) -> None:
                refs = _refs_of(document)
                self.facts.published.append(Published(self.world.now, refs, document["complete"]))
                said = "complete" if document["complete"] else "not complete"
                self.world.note(process.name, f"publishes {sorted(refs)}, {said}")

            await engine.watch(process, network, stores, publish)

        attempt = 0
        while True:
            attempt += 1
            await self._attempt(run, "watch", attempt, work)
            await asyncio.sleep(2)

    async def _query(self, run: Run) -> list[dict[str, Any]] | None:
        start_ms, end_ms = epoch_ms(run.start_s), epoch_ms(run.end_s)
        found: list[dict[str, Any]] = []

        async def work(process: Process, network: Network, stores: list[ProcessStore]) -> None:
            told = Queried(process.name, start_ms, end_ms, self.world.now)
            self.facts.queried.append(told)
            try:
                documents = await engine.query(process, network, stores, run, start_ms, end_ms)
            except Exception as error:
                told.error = f"{type(error).__name__}: {error}"
                raise
            told.ended_s = self.world.now
            told.complete = all(one["complete"] for one in documents)
            told.excluded = documents[0]["excluded_copies"]
            told.refs = frozenset().union(*map(_refs_of, documents))
            self.world.note(process.name, f"finds {sorted(told.refs)}")
            found[:] = documents

        return found if await self._tried(run, "query", work) else None

    async def _prove(self, run: Run) -> None:
        async def work(process: Process, network: Network, stores: list[ProcessStore]) -> None:
            said = await engine.prove(process, network, stores, run)
            self.world.note(process.name, f"proves all but this: {said}" if said else "proves all")

        await self._tried(run, "verify", work)

    async def _resend(self, run: Run, task: str, document: dict[str, Any]) -> None:
        attempt, wish = 0, 0
        max_tries = run.retries + 1
        while True:
            for _ in range(run.retries + 1):
                attempt += 1
                if await self._resend_once(run, task, document, attempt, max_tries, wish):
                    break
                await asyncio.sleep(run.retry_delay_s)
            if run.clear_after_s is None or wish:
                return
            await asyncio.sleep(run.clear_after_s)
            self.world.note(f"{run.name}-{task}", "is cleared")
            wish, max_tries = wish + 1, attempt + run.retries + 1

    async def _resend_once(
        self, run: Run, task: str, document: dict[str, Any], attempt: int, max_tries: int, wish: int
    ) -> bool:
        planned = _refs_of(document)
        names = {"dag_id": "dag", "run_id": run.name, "task_id": task, "map_index": -1, "try_number": attempt}
        # a person who calls the command once more may wish for one more copy
        wished = attempt if run.command else wish

        async def work(process: Process, network: Network, stores: list[ProcessStore]) -> None:
            told = Resent(process.name, f"{run.name}-{task}", wished, run, document, planned, self.world.now)
            self.facts.resent.append(told)
            process.told = told
            who = ({} if run.command else names, max_tries)
            try:
                if planned:
                    await engine.resend(process, network, stores, who, told)
            except Exception as error:
                if process.alive:  # nothing of a dead process counts
                    told.error, told.error_type = str(error), type(error).__name__
                raise
            finally:
                if process.alive:
                    told.ended_s = self.world.now
                    told.tell(process)
                    self.world.note(process.name, f"ends: {_summary(told)}")

        return await self._attempt(run, task, attempt, work)

    async def _attempt(self, run: Run, task: str, attempt: int, work: Work) -> bool:
        """Run one try in a process of its own; return whether it succeeded, as far as Airflow can see."""
        name = f"{run.name}-{task}-{attempt}"
        number = (run.host + (attempt if run.moves else 0)) % len(self.hosts)
        watches = task == "watch"
        process = Process(
            self.world,
            self.triggerer if watches else self.hosts[number],
            name,
            f"{self.schedule.seed} {name}",
            {} if self._healed else self._strikes.get(name, {}),
            pid=100 + len(self.processes),
        )
        process.store_s = self.schedule.store_s
        self.processes.append(process)
        self.world.note(name, f"starts on {process.host.name}")
        network = Network(process, self.service, self.schedule.network_s, self.schedule.page_size)
        stores = [ProcessStore(one, process) for one in self.stores]
        ended = self.loop.create_future()
        timeout_s = None if watches else TIMEOUT_S
        Attempt(process, work(process, network, stores), ended, undead_s=run.undead_s, timeout_s=timeout_s)
        return bool(await ended)

    async def _epilogue(self) -> None:
        """Run every plan once more that is not done, and then query everything, until all is well or named."""
        last = {(one.planned, one.run.consumer_key): one for one in self.facts.resent}
        for number, one in enumerate(last.values()):
            if one.planned and not one.succeeded:  # if it has, the oracle sees whether that is so
                await self._finish(f"Z{number}", one)
        if self.facts.resent:
            await self._query_all()

    async def _query_all(self) -> None:
        """Query everything there is; what stands in the way must be what nobody can settle."""
        run = Run("Z", 0.0, -WINDOWS * HOUR_S, self.world.now + 1, retries=0)
        await asyncio.sleep(2)
        if await self._query(run) is not None:
            return
        await self._prove(run)
        await asyncio.sleep(2)
        if await self._query(replace(run, name="Zz", end_s=self.world.now - 1)) is None:
            self.facts.unsettled.append(f"a query of everything: {self.facts.queried[-1].error}")

    async def _finish(self, name: str, last: Resent) -> None:
        plain = Run(name, 0.0, last.run.start_s, last.run.end_s, retries=0, on_failure="continue")
        plain = replace(plain, consumer_key=last.run.consumer_key, command=last.run.command, ordering=last.run.ordering)
        for attempt, on_unknown in enumerate(("verify", "verify", "resend"), 1):
            run = replace(plain, on_unknown=on_unknown)
            if await self._resend_once(run, "resend0", last.document, attempt, attempt, 0):
                return
            await asyncio.sleep(100)
        told = self.facts.resent[-1]
        counts = told.report or {"verified": None}
        left = not told.report or counts["failed"] + counts["unknown"] + counts["not_attempted"]
        if left or counts["verified"] is not False:  # else a copy is gone, and it says so
            self.facts.stuck.append(f"{sorted(last.planned)}: {told.error_type} {told.error}")


def _refs_of(document: dict[str, Any]) -> frozenset[Ref]:
    return frozenset().union(*(refs_of({number: part["ranges"]}) for number, part in document["partitions"].items()))


def _summary(told: Resent) -> str:
    report = told.report
    if report is None:
        return f"{told.error_type} {told.error[:200]}"
    counts = {name: report[name] for name in ("sent", "already_sent", "failed", "unknown", "not_attempted", "verified")}
    return f"{counts} {told.error_type} {told.error[:200]}"
