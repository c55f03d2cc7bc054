"""
Signals that end a resend in order: SIGTERM, and SIGALRM, which Airflow uses for ``execution_timeout``.

An exception that a signal handler raises is lost in an event loop, so the handlers set here only stop the work, and the
caller raises when the report has been written.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REASONS = {
    signal.SIGTERM: "the task received SIGTERM",
    signal.SIGALRM: "the execution_timeout of the task has passed",
    signal.SIGINT: "interrupted",
}


@contextmanager
def interrupts(stop: Callable[[str], None], *more: signal.Signals) -> Iterator[list[int]]:
    """
    Let signals stop the work, and yield the list of those that have come; at the end the former handlers are back.

    ``stop`` is called with the reason, in the handler, so it must only set a flag. Outside the main thread, no handler
    can be set and nothing changes.
    """
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        received.append(number)
        stop(REASONS[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    former = {one: signal.signal(one, handle) for one in (signal.SIGTERM, signal.SIGALRM, *more)}
    try:
        yield received
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
