"""An event loop whose time moves only when everything waits, so that minutes of waiting take no time in a test."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Moves the time on instead of waiting for sockets and threads, which must not be used."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        assert ready or timeout is not None, "everything waits for something that never comes"
        if not ready and timeout is not None:
            self.now_s += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, which begins at 0."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now_s


def skip(seconds: float) -> None:
    """Let time pass at once, as if the process had been paused; called by what runs in the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.selector.now_s += seconds


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time, and return its result."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        # tasks that are left, such as those of a process that is said to have crashed
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=0)) if left else None
        loop.close()
