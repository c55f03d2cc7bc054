"""Signals that must end bulk work in order: SIGTERM, and SIGALRM, which Airflow uses for ``execution_timeout``."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

REASONS = {
    signal.SIGTERM: "the task was told to end (SIGTERM)",
    signal.SIGALRM: "the execution_timeout of the task has passed",
    signal.SIGINT: "interrupted",
}


@contextmanager
def interrupts(stop: Callable[[str], None], *more: signal.Signals) -> Iterator[list[int]]:
    """
    Let signals stop the work instead of breaking into it: an exception that a handler raises is lost in an event loop.

    Outside the main thread, where no handler can be set, nothing is changed.

    :param stop: told why; called in the handler, so it must only set a flag
    :param more: signals besides SIGTERM and SIGALRM
    :return: the signals that came; the handlers of before are restored at the end
    """
    came: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        came.append(number)
        stop(REASONS[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {one: signal.signal(one, handle) for one in (signal.SIGTERM, signal.SIGALRM, *more)}
    try:
        yield came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
