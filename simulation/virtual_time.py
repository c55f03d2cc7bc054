"""
One clock and one order of events for everything that is simulated, and an event loop for each simulated process.

``World`` holds what happens later in a heap, by time and then by the order in which it was planned. Nothing else moves
the clock, so a run depends on its schedule alone. A ``VirtualLoop`` is an asyncio event loop whose timers lie in that
heap. It runs what is ready as soon as the event that made it ready is over. Between two events of the heap nothing can
interleave, and nothing has to: processes meet only at the service and in the stores, and each request, store call and
answer is an event.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from simulation.process import Process

# some Monday at noon, UTC
MOST_EVENTS = 150_000
"""An ordinary schedule has some thousand."""
EPOCH_S = 1_700_481_600.0
"""The true time when the clock shows 0, epoch seconds."""


class EndlessError(Exception):
    """So much has happened that something must be going round in circles."""


class World:
    """The clock, what is still to happen, and the log of what has happened."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[tuple[float, str, str]] = []
        """When, to whom, and what."""
        self.processes: dict[str, Process] = {}
        """By name."""
        self.events = 0
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._ready: deque[VirtualLoop] = deque()

    def note(self, who: str, what: str) -> None:
        """Log something that happened."""
        self.log.append((round(self.now, 6), who, what))

    def at(self, when: float, callback: Callable[[], object]) -> None:
        """Plan a call; one in the past happens next."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), callback))

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Plan a call."""
        self.at(self.now + seconds, callback)

    def wake(self, loop: VirtualLoop) -> None:
        """Let a loop run what it has ready once the present event is over."""
        self._ready.append(loop)

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let things happen until a condition holds, and return whether it does; no further than to a time."""
        self._settle()
        while not until():
            self.events += 1
            if self.events > MOST_EVENTS:
                raise EndlessError(f"{MOST_EVENTS} events")
            if not self._heap or self._heap[0][0] > limit_s:
                self.now = max(self.now, limit_s)
                return False
            self.now, _, callback = heapq.heappop(self._heap)
            callback()
            self._settle()
        return True

    def _settle(self) -> None:
        while self._ready:
            self._ready.popleft().run_ready()


class VirtualLoop(asyncio.AbstractEventLoop):
    """What asyncio needs of an event loop, and no more."""

    def __init__(self, world: World, offset_s: float = 0.0) -> None:
        self.alive = True
        self.paused = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.blocking: Callable[[Callable[..., Any]], asyncio.Future[Any]] | None = None
        """Makes a call that may block, such as one to a store."""
        self._world = world
        self._offset_s = offset_s
        self._queue: deque[_Handle] = deque()
        self._awake = False

    def run_ready(self) -> None:
        """Run callbacks until none is ready."""
        self._awake = False
        if not self.alive or self.paused:
            return
        queue = self._queue
        asyncio._set_running_loop(self)  # there is no other way to step a loop of one's own
        try:
            while queue and self.alive and not self.paused:
                handle = queue.popleft()
                if not handle.done:
                    try:
                        handle.callback(*handle.arguments)
                    except Exception as error:  # noqa: BLE001 - as in any event loop
                        self.call_exception_handler({"message": "a callback failed", "exception": error})
        finally:
            asyncio._set_running_loop(None)

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused = False
        self._world.wake(self)

    def end(self) -> None:
        """Run nothing ever again."""
        self.alive = False
        self._queue.clear()

    def bury(self) -> None:
        """Close what the dead loop left, so that nothing of it runs when it is garbage."""
        self.end()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        self.tasks.clear()

    def time(self) -> float:
        """Return the monotonic clock, which begins anywhere."""
        return self._world.now + self._offset_s

    def call_soon(self, callback: Callable[..., Any], *args: Any, **_: Any) -> _Handle:  # type: ignore[override]
        """Run a callback as soon as possible."""
        handle = _Handle(callback, args)
        if self.alive:
            self._queue.append(handle)
            if not self._awake:
                self._awake = True
                self._world.wake(self)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, **_: Any
    ) -> _Handle:
        """Run a callback after some seconds."""
        return self.call_at(self.time() + delay, callback, *args)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, **_: Any
    ) -> _Handle:
        """Run a callback at a time of the monotonic clock; late if the process is paused."""
        handle = _Handle(callback, args)
        self._world.at(when - self._offset_s, partial(self._fire, handle))
        return handle

    def _fire(self, handle: _Handle) -> None:
        if self.alive and not handle.done:
            self._queue.append(handle)
            self._world.wake(self)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, **_: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """Start a task."""
        task = asyncio.Task(coro, loop=self, name=name)
        self.tasks.append(task)
        return task

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Make a blocking call, in virtual time."""
        if self.blocking is None:
            raise RuntimeError("This loop makes no blocking calls.")
        return self.blocking(lambda: func(*args))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep an error that nobody has taken; the oracle looks at it."""
        if self.alive:
            self.errors.append(context)

    def get_debug(self) -> bool:
        """Return whether asyncio should be strict, and slow."""
        return False

    def is_running(self) -> bool:
        """Return whether it runs; it always may."""
        return True

    def is_closed(self) -> bool:
        """Return whether it is closed; a dead process does not close it."""
        return False


class _Handle:
    """A callback that is planned. It runs in no context of its own, since nothing here uses context variables."""

    __slots__ = ("arguments", "callback", "done")

    def __init__(self, callback: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.callback, self.arguments, self.done = callback, arguments, False

    def cancel(self) -> None:
        """Run it no more."""
        self.done = True

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.done


def new_loop(world: World, offset_s: float = 0.0) -> VirtualLoop:
    """Return a loop whose monotonic clock is so far ahead of the world's."""
    return VirtualLoop(world, offset_s)  # type: ignore[abstract] # the engine uses nothing else of a loop


def _close(coroutine: Any) -> None:
    for _ in range(_MOST_FINALLY):
        try:
            coroutine.close()
        except RuntimeError:
            continue  # a ``finally`` of it awaits something, and nobody is there: close that, too
        except Exception:  # noqa: BLE001 - it has no loop any more, and may say so in any way
            return
        return


_MOST_FINALLY = 20
