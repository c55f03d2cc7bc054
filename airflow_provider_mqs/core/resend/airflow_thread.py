"""
A thread for what may block while messages are being sent: stores and the masking of secrets; another for the brake.

Calls of one thread are made one after the other, and the event loop never waits for them. The brake is code of the
user, which may be slow or hang, so it has a thread of its own that delays no write of the ledger. Only on Airflow 3.0
and 3.1 both share one: there, a task talks to its supervisor over a connection that has no lock.
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
# ledger and report are due 4.5 s after SIGTERM, and the ledger may take 4 of them
_LAST_CALL_S = 0.2


class AirflowThread:
    """Makes calls one after the other in a thread of its own."""

    def __init__(self, name: str = "mqs-airflow") -> None:
        self._closed = False
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # a daemon, since the threads of an executor keep the process alive until their calls have ended
        self._thread = Thread(target=self._work, name=name, daemon=True)
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
                result, failure = call(), None
            except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
                result, failure = None, error
            if self._closed:
                return  # nobody waits any longer, and the loop of whoever did may be closed
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
