"""
One try in a process of its own, as Airflow runs it: when it counts as ended, and whether it succeeded.

A try that dies is noticed a second later. One that is paused for too long is taken for dead although it may wake, so
two tries of one task can live at once. A try that runs too long gets SIGTERM, and SIGKILL five seconds later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.process import SIGKILL_S

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from simulation.process import Process
    from simulation.schedule import Strike

TIMEOUT_S = 240.0
"""The ``execution_timeout`` of every task."""
_NOTICED_S = 1.0


class Attempt:
    """A try; ``ended`` is a future of Airflow's loop, and says whether it succeeded, as far as Airflow can see."""

    def __init__(
        self,
        process: Process,
        work: Coroutine[Any, Any, None],
        ended: asyncio.Future[bool],
        *,
        undead_s: float,
        timeout_s: float | None,
    ) -> None:
        self.ended = ended
        self._process = process
        self._undead_s = undead_s
        self._task = process.loop.create_task(work)
        self._task.add_done_callback(self._done)
        process.on_kill, process.on_pause = self._died, self._paused
        for (phase, _, nth), strike in process.strikes.items():
            if phase == "time":
                process.world.after(nth / 1000, _suffers(process, strike))
        if timeout_s is not None:
            process.world.after(timeout_s, self._time_out)

    def _end(self, ok: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(ok)

    def _done(self, _: object) -> None:
        process, error = self._process, self._task.exception()
        process.done = True
        if error is not None and process.told is None:
            process.world.note(process.name, f"fails: {type(error).__name__}: {error}"[:300])
        process.end()
        process.world.after(0.0, lambda: self._end(error is None))

    def _died(self) -> None:
        process, told = self._process, self._process.told
        if told is not None:
            told.killed = True
            told.tell(process)
            told.overdue = told.stopped_s is not None and process.world.now >= told.stopped_s + SIGKILL_S
        process.world.after(_NOTICED_S, lambda: self._end(False))

    def _paused(self, seconds: float) -> None:
        if seconds > self._undead_s:
            self._process.world.after(self._undead_s, self._look_again)

    def _look_again(self) -> None:
        if self._process.loop.paused:
            self._end(False)

    def _time_out(self) -> None:
        process = self._process
        if process.alive:
            process.world.note(process.name, "runs into its execution_timeout")
            process.terminate("the execution_timeout of the task has passed")


def _suffers(process: Process, strike: Strike) -> Callable[[], None]:
    return lambda: process.suffer(strike)
