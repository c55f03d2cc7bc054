"""
Simulated machines and the processes on them: how a process lives, is paused, and dies.

A process meets the rest of the world only in requests and store calls. Each has two moments: before anything has
happened (``before``), and when it has taken effect and nobody has the answer yet (``after``). A schedule kills or
pauses a process at such a moment, so that every way in which a real kill could fall between two effects can be tried.

A dead process runs no callback any more; what it has sent arrives all the same. A paused one runs nothing until it
wakes, while its monotonic clock goes on: its timers are late, and answers wait for it.
"""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.exceptions import StoreError
from simulation.virtual_time import EPOCH_S, World, new_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from simulation.schedule import Strike

SIGKILL_S = 5.0
"""Seconds from SIGTERM to SIGKILL."""
BEFORE, AFTER = "before", "after"
OF_PROCESSES = frozenset({"kill", "pause", "stop", "orphan", "wakes"})
"""Strikes that hit the process, not what it does."""


@dataclass(slots=True)
class Host:
    """A machine: its wall clock may be wrong, and may jump."""

    name: str
    world: World
    ahead_s: float = 0.0
    """How far its wall clock is ahead of the true time."""
    drift: float = 0.0
    """Seconds that it gains in a second."""
    boot_id: str = ""
    pids: dict[int, Process] = field(default_factory=dict)

    def started_at(self, pid: int) -> int | None:
        """Return when the process of an id started, in some ticks; ``None`` if there is none."""
        process = self.pids.get(pid)
        return None if process is None else 1 + int(process.started_s * 100)

    def wall_s(self) -> float:
        """Return what its wall clock shows, epoch seconds."""
        return EPOCH_S + self.world.now * (1 + self.drift) + self.ahead_s

    def wall_ms(self) -> int:
        """Return the same in epoch milliseconds."""
        return int(self.wall_s() * 1000)


class StoreHangsError(Exception):
    """A store call that never returns."""


class Process:
    """One process on a host; ``strikes`` are what the schedule does to it, by the moment in which it does so."""

    def __init__(
        self,
        world: World,
        host: Host,
        name: str,
        seed: str,
        strikes: Mapping[tuple[str, str, int], Strike],
        *,
        pid: int,
    ) -> None:
        self.world, self.host, self.name, self.pid = world, host, name, pid
        self.rng = random.Random(seed)
        self.loop = new_loop(world, offset_s=self.rng.uniform(0, 1e6))
        self.loop.blocking = self.call
        self.started_s = world.now
        self.killed = self.was_paused = False
        self.stop: Callable[[str], object] | None = None
        """Asks the work to stop, as a signal does."""
        self.stopped_s: float | None = None
        self.store_s = (0.0, 0.0)
        """How long a store call takes, one way: least and most."""
        self.done = False
        self.orphaned_s: float | None = None
        self.parent = 1
        """The id of its parent process."""
        self.told: Any = None
        self.on_kill: Callable[[], object] = lambda: None
        self.on_pause: Callable[[float], object] = lambda _: None
        self.strikes = strikes
        self._counts: Counter[tuple[str, str]] = Counter()
        self._calls: deque[tuple[Callable[..., Any], asyncio.Future[Any]]] = deque()
        self._calling = False
        self._waking: list[Callable[[], object]] = []
        host.pids[pid] = self
        world.processes[name] = self

    @property
    def alive(self) -> bool:
        """Whether it has not been killed; a paused process is alive."""
        return self.loop.alive

    def strike(self, phase: str, kind: str) -> Strike | None:
        """Count a moment, and return what the schedule does in it."""
        if not self.strikes:
            return None
        self._counts[phase, kind] += 1
        self._counts[phase, "any"] += 1
        for name in (kind, "any"):
            found = self.strikes.get((phase, name, self._counts[phase, name]))
            if found is not None:
                return found
        return None

    def suffer(self, strike: Strike | None) -> None:
        """Let a strike do what it does to a process: kill, pause or stop it."""
        if strike is None or not self.alive:
            return
        if strike.what == "orphan":
            self.world.note(self.name, "loses its parent")
            self.parent = 0
            self.orphaned_s = self.world.now
        elif strike.what == "wakes":
            sleeper = self.world.processes.get(strike.whom)
            if sleeper is not None:
                sleeper.wake()
        elif strike.what == "kill":
            self.kill()
        elif strike.what == "pause":
            self.pause(strike.seconds)
        elif strike.what == "stop":
            self.world.note(self.name, "receives SIGTERM")
            self.terminate("the task received SIGTERM")

    def terminate(self, reason: str) -> None:
        """Ask it to stop, and end it five seconds later, as Airflow does."""
        if self.stopped_s is None:
            self.stopped_s = self.world.now
            if self.stop is not None:
                self.loop.call_soon(self.stop, reason)
            self.world.after(SIGKILL_S, self.kill)

    def kill(self) -> None:
        """End it, without any last word."""
        if self.alive and not self.done:
            self.world.note(self.name, "is killed")
            self.killed = True
            self.end()
            self.on_kill()

    def end(self) -> None:
        """End it, one way or another."""
        self.loop.end()
        self.host.pids.pop(self.pid, None)

    def heal(self) -> None:
        """Let nothing happen to it any more."""
        self.strikes = {}
        self.wake()

    def pause(self, seconds: float) -> None:
        """Stop it for some seconds, as SIGSTOP or a suspended machine does."""
        if self.loop.paused or not self.alive:
            return
        self.world.note(self.name, f"is paused for {seconds:.1f} s")
        self.loop.paused = self.was_paused = True
        self.world.after(seconds, self.wake)
        self.on_pause(seconds)

    def wake(self) -> None:
        """Go on after a pause."""
        if not self.loop.paused or not self.alive:
            return
        self.world.note(self.name, "wakes")
        self.loop.resume()
        waking, self._waking = self._waking, []
        for callback in waking:
            callback()

    def when_awake(self, callback: Callable[[], object]) -> None:
        """Call something now, or when the pause is over; never if the process dies before."""
        if not self.alive:
            return
        if self.loop.paused:
            self._waking.append(callback)
        else:
            callback()

    async def moment(self, kind: str) -> Strike | None:
        """
        Pass the moment before a request; never return if the process is killed in it.

        A pause begins when the request is out: the engine checks its lease just before, and no program can help a pause
        that comes between such a check and the write to the socket.
        """
        strike = self.strike(BEFORE, kind)
        self.suffer(strike)
        if not self.alive:
            await self.loop.create_future()
        return strike

    def call(self, call: Callable[..., Any]) -> asyncio.Future[Any]:
        """Make a call that may block, such as to a store, after those before it: one connection serves them all."""
        future = self.loop.create_future()
        self._calls.append((call, future))
        self._next_call()
        return future

    async def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make such a call and wait for its result; if the caller is cancelled, it is made all the same."""
        return await self.call(partial(call, *arguments) if arguments else call)

    def _next_call(self) -> None:
        if self._calling or not self._calls or not self.alive:
            return
        self._calling = True
        call, future = self._calls.popleft()

        def effect() -> None:
            try:
                result, error = call(), None
            except StoreHangsError:
                return  # for ever: nobody behind it is served either
            except Exception as caught:  # noqa: BLE001 - the caller gets it, whatever it is
                result, error = None, caught
            self.world.after(self.rng.uniform(*self.store_s), lambda: answer(result, error))

        def answer(result: Any, error: Exception | None) -> None:
            self._calling = False
            if not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
                    future.exception()  # whoever was cancelled does not ask for it
            self._next_call()

        self.world.after(self.rng.uniform(*self.store_s), lambda: self.when_awake(effect))


class ProcessStore:
    """A store as one process sees it; ``shared`` is what all of them have in common."""

    def __init__(self, shared: SharedStore, process: Process) -> None:
        self.name = shared.name
        self.shared, self.process = shared, process

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcessStore) and other.shared is self.shared

    def __hash__(self) -> int:
        return id(self.shared)

    def get(self, key: str) -> Any | None:
        """Return a value, ``None`` if there is none."""
        strike = self._before("get", key)
        value = self.shared.get(
            key, self.process.world.now - (strike.seconds if strike and strike.what == "stale" else 0.0)
        )
        if strike and strike.what == "stale":
            self.process.world.note(self.process.name, f"reads an old value of {key[:14]}")
        self.process.suffer(self.process.strike(AFTER, "get"))
        return value

    def set(self, key: str, value: Any) -> None:
        """Write a value."""
        strike = self._before("set", key)
        self.shared.set(key, value, self.process.world.now)
        if strike and strike.what == "fail_after":
            self.process.world.note(self.process.name, f"is told that a write of {key[:14]} failed, which it did not")
            raise StoreError(f"{self.name} did not answer in time.")
        if strike and strike.what == "hang_after":
            raise StoreHangsError
        self.process.suffer(self.process.strike(AFTER, "set"))

    def _before(self, kind: str, key: str) -> Strike | None:
        process = self.process
        strike = process.strike(BEFORE, kind)
        process.suffer(strike)
        if not process.alive:
            raise StoreHangsError
        if strike and strike.what == "fail":
            process.world.note(process.name, f"cannot {kind} {key[:14]}")
            raise StoreError(f"{self.name} cannot be reached.")
        if strike and strike.what == "hang":
            process.world.note(process.name, f"waits for ever to {kind} {key[:14]}")
            raise StoreHangsError
        return strike


class SharedStore:
    """Values by key, each with the times since when it has had them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, list[tuple[float, str]]] = {}

    def get(self, key: str, as_of_s: float) -> Any | None:
        """Return the value that a key had at a time."""
        for since_s, text in reversed(self.values.get(key, ())):
            if since_s <= as_of_s:
                return json.loads(text)
        return None

    def set(self, key: str, value: Any, now_s: float) -> None:
        """Write a value."""
        self.values.setdefault(key, []).append((now_s, json.dumps(value)))
