"""One thread for everything that talks to Airflow while messages are being sent."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T")
_LAST_S = 0.5
"""So long the call under way may take at the end."""


class AirflowThread:
    """
    Does calls one after the other in a thread of its own.

    A task talks to its supervisor over one connection, which before Airflow 3.2 has no lock of its own.
    """

    def __init__(self) -> None:
        self._closed = False
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # a daemon, since the threads of an executor keep the process until their calls have ended
        self._thread = Thread(target=self._work, name="mqs-desk", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """
        Queue a call.

        :param call: what to do
        :param arguments: for it
        :return: its outcome to be
        :raises RuntimeError: the desk is closed
        """
        if self._closed:
            raise RuntimeError("The desk is closed: nobody would make this call.")
        future: Future[T] = Future()
        self._calls.put((future, partial(call, *arguments)))
        return future

    async def ask(self, call: Callable[..., T], *arguments: Any) -> T:
        """
        Queue a call and wait for its outcome; a caller that is cancelled leaves the call to end by itself.

        :param call: what to do
        :param arguments: for it
        :return: what it returns
        """
        return await asyncio.shield(asyncio.wrap_future(self.submit(call, *arguments)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # a call that hangs must not keep a task that was told to stop
        self._closed = True
        self._drop_waiting()
        self._calls.put(None)
        self._thread.join(_LAST_S)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                _settle(future, call)

    def _drop_waiting(self) -> None:
        while True:
            try:
                item = self._calls.get_nowait()
            except Empty:
                return
            if item is not None:
                item[0].cancel()


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        outcome = call()
    except BaseException as error:  # noqa: BLE001 - whoever asked gets it, whatever it was
        future.set_exception(error)
    else:
        future.set_result(outcome)
