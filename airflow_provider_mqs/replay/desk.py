"""One thread for everything that talks to Airflow while messages are being sent."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T")


class Desk:
    """
    Does calls one after the other in a thread of its own.

    A task talks to its supervisor over one connection, which before Airflow 3.2 has no lock of its own.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mqs-desk")

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """
        Queue a call.

        :param call: what to do
        :param arguments: for it
        :return: its outcome to be
        """
        return self._thread.submit(call, *arguments)

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
        self._thread.shutdown(wait=False, cancel_futures=True)
