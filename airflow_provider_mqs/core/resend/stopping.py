"""
One way to stop, heeded in every phase of a resend.

*In a hurry* (SIGTERM, a timeout, ``on_kill``, the brake, a ledger that fails, a parent process that is gone) whatever
runs is given a grace, counted from the moment of the stop, and then cancelled:

=====================================================  =================================================================
what runs                                              grace
=====================================================  =================================================================
reading: checks, calibration, looking for copies       none: it changes nothing
waiting: for a rival, a retry, the rate                none
messages in flight                                     ``DRAIN_S``: their answers say what became of them
writing the ledger                                     ``LEDGER_S``: an open ledger makes others wait for its lease
=====================================================  =================================================================

So ledger and report are written within 4.5 s, before the SIGKILL that follows Airflow's SIGTERM after five, although
service, store and brake may hang. A ledger that could not be written leaves what a crash leaves.

*Without hurry* (too many failures, a canary without copies) no further message begins, and everything else goes on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_mqs.core.client.concurrency import results_of, wait_at_most
from airflow_provider_mqs.core.client.flow import Call, Flow, Parallel, Step, adrive
from airflow_provider_mqs.exceptions import ResendError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.client import AsyncMqsClient

    class Caller(Protocol):
        """Makes a call that may block."""

        async def ask(self, call: Callable[..., T], *arguments: Any) -> T:
            """Make a call and wait for its result; if the caller is cancelled, the call still runs to its end."""


T = TypeVar("T")
DRAIN_S = 3.0
"""Seconds after a stop in a hurry until messages in flight are cancelled."""
LEDGER_S = 4.0
"""Seconds after a stop in a hurry until a write of the ledger is given up."""
MOST_CALL_S = 60.0
"""Seconds after which a store that does not answer counts as failed, so that it does not hold up a task for ever."""


class StoppedError(ResendError):
    """Something was ended by a stop before it had a result."""


class Stop:
    """Whether the work is to end, why, and how soon. Belongs to one event loop."""

    def __init__(self) -> None:
        self.reason = ""
        """Half a sentence for the log and the error, of the first stop; empty if there was none."""
        self._stopped, self._hurried = asyncio.Event(), asyncio.Event()
        self._hurried_at = 0.0

    @property
    def hurried(self) -> bool:
        """Whether it is a stop in a hurry."""
        return self._hurried.is_set()

    def stop(self, reason: str, *, hurry: bool = True) -> None:
        """Begin nothing more; the first reason counts, and the first hurry."""
        self.reason = self.reason or reason
        self._stopped.set()
        if hurry and not self.hurried:
            self._hurried_at = asyncio.get_running_loop().time()
            self._hurried.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until a stop."""
        with suppress(asyncio.TimeoutError):
            await wait_at_most(seconds, self._stopped.wait())

    async def guard(self, coroutine: Coroutine[Any, Any, T], *, grace_s: float = 0.0) -> T:
        """Return the result of a coroutine; so long after a stop in a hurry, cancel it and raise ``StoppedError``."""
        work, hurry = asyncio.ensure_future(coroutine), asyncio.ensure_future(self._hurried.wait())
        try:
            await asyncio.wait({work, hurry}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                left_s = self._hurried_at + grace_s - asyncio.get_running_loop().time()
                await asyncio.wait({work}, timeout=max(left_s, 0))
        finally:
            hurry.cancel()
            work.cancel()
            # gathered: if it were awaited, our own cancel could not be told from its end
            await asyncio.gather(work, hurry, return_exceptions=True)
        if work.cancelled():
            raise StoppedError(f"The work was stopped: {self.reason}.")
        return work.result()


class StoppableClient:
    """Runs flows as the client of a resend does, until a stop in a hurry; ``airflow`` makes calls that may block."""

    def __init__(self, client: AsyncMqsClient, airflow: Caller, stop: Stop) -> None:
        self.concurrency = client.concurrency
        self._client = client
        self._airflow = airflow
        self._stop = stop

    @property
    def api(self) -> MqsApi:
        """The calls of the service, as flows."""
        return self._client.api

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._client.requests

    async def run(self, flow: Flow[T], *, grace_s: float = 0.0) -> T:
        """Run a flow, and return its result; for the grace see ``Stop.guard``."""
        return await self._stop.guard(adrive(flow, self.perform), grace_s=grace_s)

    async def perform(self, step: Step) -> Any:
        """Perform one step of a flow."""
        if isinstance(step, Parallel):
            return await results_of((adrive(flow, self.perform) for flow in step.flows), workers=self.concurrency)
        if not isinstance(step, Call):
            return await self._client.perform(step)
        try:
            return await wait_at_most(MOST_CALL_S, self._airflow.ask(step.call))
        except asyncio.TimeoutError:
            raise StoreError(f"A store did not answer for {MOST_CALL_S:.0f} s.") from None
