"""Runs flows of several processes a step at a time, in any order, so that a test decides how they interleave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_mqs.core.client.flow import Call, Flow, Sleep, Step, drive
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
START_MS = 1_700_000_000_000


@dataclass
class World:
    """The true time, which all clocks follow, each in its own way."""

    now_s: float = 1_000.0

    @property
    def now_ms(self) -> int:
        return START_MS + round(self.now_s * 1000)

    def clock(self, *, wall_ahead_s: float = 0.0, known: bool = True) -> ServiceClock:
        """Return the clock of a process; ``wall_ahead_s`` is how wrong that of its machine is."""
        started_s = self.now_s
        clock = ServiceClock(lambda: self.now_s - started_s, lambda: START_MS / 1000 + self.now_s + wall_ahead_s)
        if known:
            date_ms = self.now_ms // 1000 * 1000
            clock.note(date_ms, date_ms + 1000, clock.monotonic(), clock.monotonic())
        return clock

    def run(self, flow: Flow[T]) -> T:
        """Run a flow alone; its waits take no time."""
        return drive(flow, self.perform)

    def perform(self, step: Step) -> Any:
        """Perform a step at once."""
        if isinstance(step, Sleep):
            self.now_s += step.seconds
            return None
        assert isinstance(step, Call)
        return step.call()


@dataclass
class Process(Generic[T]):
    """A flow that runs beside others; ``step`` lets it do one thing: read, write or wake up."""

    world: World
    flow: Flow[T]
    result: T | None = None
    error: MqsError | None = None
    over: bool = False
    killed: bool = False
    wakes_s: float = 0.0
    calls: int = 0
    _pending: Step | None = field(default=None)

    def __post_init__(self) -> None:
        self._resume(lambda: next(self.flow))

    @property
    def ready(self) -> bool:
        """Whether it can do something now."""
        return not self.over and self.wakes_s <= self.world.now_s

    def step(self) -> None:
        """Perform the step that is pending, and let the flow run to the next."""
        step, self._pending = self._pending, None
        try:
            self.calls += 1
            result = step.call() if isinstance(step, Call) else None
        except MqsError as error:
            failure = error  # the name of an exception is unbound after its block
            self._resume(lambda: self.flow.throw(failure))
        else:
            self._resume(lambda: self.flow.send(result))

    def kill(self) -> None:
        """End it without letting it do anything more."""
        self.over = self.killed = True

    def _resume(self, advance: Callable[[], Step]) -> None:
        try:
            self._pending = advance()
        except StopIteration as stop:
            self.over, self.result = True, stop.value
        except MqsError as error:
            self.over, self.error = True, error
        else:
            self.wakes_s = 0.0
            if isinstance(self._pending, Sleep):
                self.wakes_s = self.world.now_s + self._pending.seconds


def let_sleepers_wake(world: World, processes: list[Process[Any]]) -> None:
    """Move the time on to when the next process wakes up, if all of them sleep."""
    living = [process for process in processes if not process.over]
    if living and not any(process.ready for process in living):
        world.now_s = min(process.wakes_s for process in living)
