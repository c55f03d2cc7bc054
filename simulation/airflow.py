"""
What starts processes: DAG runs with their tasks and tries, people who call the command, and the epilogue.

It runs on a loop of its own that nothing kills. A try that dies, or that is paused for too long, is noticed and
followed by the next, as Airflow would do it; in the second case the first try may wake beside its successor.

In the epilogue nothing goes wrong any more. Whatever the schedule has left must then come to a good end, or to one
that names what nobody can know: the ``stuck`` of the oracle.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation import engine
from simulation.facts import Facts, Published, Queried, Resent, Sensed, refs_of
from simulation.network import Network
from simulation.process import SIGKILL_S, Host, Process, ProcessStore, SharedStore
from simulation.schedule import HOUR_S, WINDOWS, Run, Schedule
from simulation.virtual_time import EPOCH_S, VirtualLoop, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulation.service import Ref, SimulatedService

LIMIT_S = 3600.0
"""The schedule ends at this time at the latest."""
TIMEOUT_S = 240.0
"""The ``execution_timeout`` of every task."""
_NOTICED_S = 1.0
_TRIES = 3
"""Of the epilogue: so many further runs must be enough."""


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
        self.loop = VirtualLoop(world)
        self._strikes: dict[str, dict[tuple[str, str, int], Any]] = {}
        for fault in schedule.faults:
            self._strikes.setdefault(fault.process, {})[fault.phase, fault.kind, fault.nth] = fault.strike
        self._healed = False

    def run(self) -> Facts:
        """Carry out the schedule and the epilogue."""
        schedule, world = self.schedule, self.world
        for one in schedule.messages:
            if one.at_s <= 0:
                self._produce(one)
            else:
                world.at(one.at_s, lambda one=one: self._produce(one))
        for host, machine in zip(self.hosts, schedule.machines, strict=True):
            if machine.jump_at_s is not None:
                world.at(machine.jump_at_s, lambda host=host, by_s=machine.jump_s: self._jump(host, by_s))
        for change in schedule.changes:
            world.at(change.at_s, lambda change=change: self._change(change.name, change.value))
        runs = [self.loop.create_task(self._dag_run(run)) for run in schedule.runs]
        watching = [self.loop.create_task(self._watch())] if schedule.watched else []
        world.run(lambda: all(run.done() for run in runs), LIMIT_S)
        self._heal()
        world.run(lambda: not any(p.alive and not p.done for p in self.processes if p.name[0] != "W"), world.now + 900)
        for process in self.processes:
            if process.name[0] != "W":
                process.kill()
        world.run(lambda: False, world.now + 30)  # what is still on its way arrives
        self.facts.healed_s = world.now
        end = self.loop.create_task(self._epilogue())
        world.run(end.done, world.now + 4 * LIMIT_S)
        if watching:
            self.facts.watched_until_s = world.now
            world.run(lambda: False, world.now + 2 * engine.HOLD_S + 30)
            watching[0].cancel()
        for run in (*runs, end):
            if not run.done():
                self.facts.stuck.append("the epilogue does not end")
            elif run.exception() is not None:
                raise run.exception()
        self.bury()
        return self.facts

    def bury(self) -> None:
        """Close what is left of every process."""
        for process in self.processes:
            process.loop.bury()
        self.loop.bury()

    def _produce(self, one: Any) -> None:
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
        self.world.note("the service", f"{name} = {value}")
        setattr(self.service.state.faults, name, value)

    def _heal(self) -> None:
        self._healed = True
        self.world.note("everything", "is well from now on")
        self.service.heal()
        for process in self.processes:
            process.heal()

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
        start_ms, end_ms = epoch_ms(run.start_s), epoch_ms(run.end_s)

        async def work(process: Process, network: Network, _: list[ProcessStore]) -> None:
            told = Sensed(process.name, start_ms, end_ms, run.min_messages, self.world.now)
            told.status = await engine.sense(process, network, run, start_ms, end_ms)
            told.ended_s = self.world.now
            self.facts.sensed.append(told)
            self.world.note(process.name, f"decides: {told.status}")

        for attempt in range(1, run.retries + 2):
            if await self._attempt(run, "sensor", attempt, work):
                return self.facts.sensed[-1].status == "satisfied" if self.facts.sensed else False
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

    async def _query(self, run: Run, task: str = "query") -> list[dict[str, Any]] | None:
        start_ms, end_ms = epoch_ms(run.start_s), epoch_ms(run.end_s)
        for attempt in range(1, run.retries + 2):
            found: list[list[dict[str, Any]]] = []

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
                ranges = [{number: part["ranges"]} for one in documents for number, part in one["partitions"].items()]
                told.refs = frozenset(ref for one in ranges for ref in refs_of(one))
                self.world.note(process.name, f"finds {sorted(told.refs)}")
                found.append(documents)

            if await self._attempt(run, task, attempt, work) and found:
                return found[0]
            await asyncio.sleep(run.retry_delay_s)
        return None

    async def _prove(self, run: Run) -> None:
        async def work(process: Process, network: Network, stores: list[ProcessStore]) -> None:
            said = await engine.prove(process, network, stores, run)
            self.world.note(process.name, f"proves all but this: {said}" if said else "proves all")

        for attempt in range(1, run.retries + 2):
            if await self._attempt(run, "verify", attempt, work):
                return
            await asyncio.sleep(run.retry_delay_s)

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
        who = (
            {}
            if run.command
            else {"dag_id": "dag", "run_id": run.name, "task_id": task, "map_index": -1, "try_number": attempt}
        )

        async def work(process: Process, network: Network, stores: list[ProcessStore]) -> None:
            # a person who calls the command once more may wish for one more copy
            wished = attempt if run.command else wish
            told = Resent(process.name, f"{run.name}-{task}", wished, run, document, planned, self.world.now)
            self.facts.resent.append(told)
            process.told = told
            try:
                if planned:
                    await engine.resend(process, network, stores, run, document, who, max_tries, told)
            except Exception as error:
                if process.alive:  # nothing of a dead process counts
                    told.error, told.error_type = str(error), type(error).__name__
                raise
            finally:
                if not process.alive:
                    return  # noqa: B012
                told.ended_s, told.stopped_s, told.was_paused = self.world.now, process.stopped_s, process.was_paused
                told.orphaned_s = process.orphaned_s
                self.world.note(process.name, f"ends: {_summary(told)}")

        return await self._attempt(run, task, attempt, work)

    async def _attempt(
        self, run: Run, task: str, attempt: int, work: Callable[[Process, Network, list[ProcessStore]], Awaitable[None]]
    ) -> bool:
        """Run one try in a process of its own; return whether it succeeded, as far as Airflow can see."""
        name = f"{run.name}-{task}-{attempt}"
        number = (run.host + (attempt if run.moves else 0)) % len(self.hosts)
        process = Process(
            self.world,
            self.triggerer if task == "watch" else self.hosts[number],
            name,
            f"{self.schedule.seed} {name}",
            {} if self._healed else self._strikes.get(name, {}),
            pid=100 + len(self.processes),
        )
        low, high = self.schedule.store_s
        process.latency = lambda: process.rng.uniform(low, high)
        self.processes.append(process)
        network = Network(process, self.service, self.schedule.network_s, self.schedule.page_size)
        self.world.note(name, f"starts on {process.host.name}")
        ended = self.loop.create_future()
        task_ = process.loop.create_task(work(process, network, [ProcessStore(one, process) for one in self.stores]))

        def end(*, ok: bool) -> None:
            if not ended.done():
                ended.set_result(ok)

        def done(_: object) -> None:
            process.done = True
            error = task_.exception()
            ok = error is None
            if error is not None and process.told is None:
                self.world.note(name, f"fails: {type(error).__name__}: {error}"[:300])
            process.end()
            self.world.at(self.world.now, lambda: end(ok=ok))

        def died() -> None:
            if process.told is not None:
                process.told.orphaned_s = process.orphaned_s
                told = process.told
                told.killed, told.stopped_s, told.was_paused = True, process.stopped_s, process.was_paused
                told.overdue = told.stopped_s is not None and self.world.now >= told.stopped_s + SIGKILL_S
            self.world.after(_NOTICED_S, lambda: end(ok=False))

        def paused(seconds: float) -> None:
            if seconds > run.undead_s:
                self.world.after(run.undead_s, lambda: process.loop.paused and end(ok=False))

        def time_out() -> None:
            if process.alive:
                self.world.note(name, "runs into its execution_timeout")
                process.terminate("the execution_timeout of the task has passed")

        process.on_kill, process.on_pause = died, paused
        for (phase, _, nth), strike in process.strikes.items():
            if phase == "time":
                self.world.after(nth / 1000, lambda strike=strike: process.suffer(strike))
        if task != "watch":
            self.world.after(TIMEOUT_S, time_out)
        task_.add_done_callback(done)
        return await ended

    async def _epilogue(self) -> None:
        """Run every plan once more, and then query everything, until all is well or named."""
        plans = {}
        for one in self.facts.resent:
            plans.setdefault((one.planned, one.run.consumer_key), one)
        for number, ((planned, key), one) in enumerate(plans.items()):
            await self._finish(number, planned, key, one)
        if self.facts.resent:
            await self._query_all()

    async def _query_all(self) -> None:
        """Query everything there is; what stands in the way must be what nobody can settle."""
        run = Run("Z", 0.0, -WINDOWS * HOUR_S, self.world.now + 1, retries=0)
        await asyncio.sleep(2)
        if await self._query(run) is None:
            await self._prove(run)
            run = replace(run, name="Zz", end_s=self.world.now + 1)
            await asyncio.sleep(2)
            if await self._query(run) is not None:
                return
            said = self.facts.queried[-1].error
            self.facts.unsettled.append(f"a query of everything: {said}")

    async def _finish(self, number: int, planned: frozenset[Any], key: str | None, one: Resent) -> None:
        run = Run(
            f"Z{number}",
            0.0,
            one.run.start_s,
            one.run.end_s,
            consumer_key=key,
            command=one.run.command,
            retries=0,
            ordering=one.run.ordering,
            on_failure="continue",
        )
        said = ""
        for on_unknown in ("verify", "verify", "resend"):
            again = Run(
                **{
                    **{name: getattr(run, name) for name in Run.__slots__},
                    "on_unknown": on_unknown,
                    "name": f"Z{number}{on_unknown[0]}",
                }
            )
            attempt = sum(1 for other in self.facts.resent if other.run.name == again.name) + 1
            if not planned or await self._resend_once(again, "resend0", one.document, attempt, attempt, 0):
                return
            said = f"{self.facts.resent[-1].error_type}: {self.facts.resent[-1].error}"
            await asyncio.sleep(100)
        last = self.facts.resent[-1].report
        if (
            last is not None
            and last["verified"] is False
            and not (last["failed"] + last["unknown"] + last["not_attempted"])
        ):
            return  # a copy is gone, and it says so
        self.facts.stuck.append(f"{sorted(planned)} for {key}: {said}")


def _refs_of(document: dict[str, Any]) -> frozenset[Ref]:
    return frozenset().union(*(refs_of({number: part["ranges"]}) for number, part in document["partitions"].items()))


def _summary(told: Resent) -> str:
    report = told.report
    if report is None:
        return f"{told.error_type} {told.error[:200]}"
    counts = {name: report[name] for name in ("sent", "already_sent", "failed", "unknown", "not_attempted", "verified")}
    return f"{counts} {told.error_type} {told.error[:200]}"
