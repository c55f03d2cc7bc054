"""
One thread for everything that talks to Airflow while messages are being sent: stores, masking of secrets, the brake.

A task talks to its supervisor over one connection, which before Airflow 3.2 has no lock of its own, so calls are made
one after the other; and the event loop must not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
# together with the drain of three seconds this leaves a second for the report, until Airflow's SIGKILL after five
_LAST_CALL_S = 0.5


class AirflowThread:
    """Makes calls one after the other in a thread of its own."""

    def __init__(self) -> None:
        self._closed = False
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # a daemon, since the threads of an executor keep the process alive until their calls have ended
        self._thread = Thread(target=self._work, name="mqs-airflow", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Queue a call and return its future."""
        if self._closed:
            raise RuntimeError("The thread has ended: nobody would make this call.")
        future: Future[T] = Future()
        self._calls.put((future, partial(call, *arguments)))
        return future

    async def ask(self, call: Callable[..., T], *arguments: Any) -> T:
        """Make a call and wait for its result; if the caller is cancelled, the call still runs to its end."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(call, *arguments)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        while True:
            try:
                item = self._calls.get_nowait()
            except Empty:
                break
            if item is not None:
                item[0].cancel()
        self._calls.put(None)
        # a call that hangs must not hold up a task that must end
        self._thread.join(_LAST_CALL_S)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(result)
