"""
``MqsClient`` and ``AsyncMqsClient``: the flows of ``MqsApi`` on one of the two transports.

The transports are imported on first use, so importing this file stays cheap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.client.auth import auth_for
from airflow_provider_mqs.core.client.concurrency import results_of
from airflow_provider_mqs.core.client.flow import Call, Flow, Request, Sleep, Step, Wait, adrive, drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from airflow_provider_mqs.core.client.auth import Auth
    from airflow_provider_mqs.core.client.retry import RetryPolicy
    from airflow_provider_mqs.core.client.service_clock import ServiceClock
    from airflow_provider_mqs.core.client.transport import AsyncTransport, Transport
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

T = TypeVar("T")
_log = logging.getLogger(__name__)


class MqsClient:
    """
    Runs flows one step at a time, over ``requests`` or another ``transport``.

    ``on_secret`` is called with each new token, so that it can be masked in logs.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        instance_id: str | None = None,
        on_secret: Callable[[str], object] = lambda _: None,
        policy: RetryPolicy | None = None,
        auth: Auth | None = None,
        service_clock: ServiceClock | None = None,
        sleep: Callable[[float], object] = time.sleep,
        transport: Transport | None = None,
    ) -> None:
        self.settings = settings
        self.api = MqsApi(
            settings,
            auth or auth_for(settings, on_secret),
            instance_id=instance_id,
            policy=policy,
            service_clock=service_clock,
        )
        self._sleep = sleep
        self._given, self._transport = transport, transport

    def run(self, flow: Flow[T]) -> T:
        """Run a flow, such as one of ``self.api``, and return its result."""
        return drive(flow, self.perform)

    def close(self) -> None:
        """Close the pooled connections; the client may be used again."""
        transport, self._transport = self._transport, self._given
        if transport is not None:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def perform(self, step: Step) -> Any:
        """Perform one step of a flow."""
        if isinstance(step, Request):
            if self._transport is None:
                from airflow_provider_mqs.core.client.transport_requests import RequestsTransport  # noqa: PLC0415 - costs 170 ms

                self._transport = RequestsTransport(self.settings)
            return self._transport.send(step)
        if isinstance(step, Sleep):
            _log_sleep(step)
            return self._sleep(step.seconds)
        if isinstance(step, Wait):
            return step.future.result()
        if isinstance(step, Call):
            return step.call()
        return [self.run(flow) for flow in step.flows]


class AsyncMqsClient:
    """
    Runs flows side by side, over ``aiohttp`` or another ``transport``; at most ``concurrency`` requests are in flight.

    ``on_secret`` is called with each new token, so that it can be masked in logs. The monotonic clock of
    ``service_clock`` must be that of the running loop, as ``time.monotonic`` is for an ordinary one.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        instance_id: str | None = None,
        concurrency: int = 16,
        on_secret: Callable[[str], object] = lambda _: None,
        policy: RetryPolicy | None = None,
        auth: Auth | None = None,
        service_clock: ServiceClock | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        self.settings = settings
        self.api = MqsApi(
            settings,
            auth or auth_for(settings, on_secret),
            instance_id=instance_id,
            policy=policy,
            service_clock=service_clock,
        )
        self.concurrency = concurrency
        self.requests = 0
        self._in_flight = asyncio.Semaphore(concurrency)
        self._given, self._transport = transport, transport

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow, such as one of ``self.api``, and return its result."""
        return await adrive(flow, self.perform)

    async def aclose(self) -> None:
        """Close the pooled connections; the client may be used again."""
        transport, self._transport = self._transport, self._given
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def perform(self, step: Step) -> Any:
        """Perform one step of a flow; a caller that waits in its own way wraps this."""
        if isinstance(step, Request):
            async with self._in_flight:
                self.requests += 1
                transport = self._transport or await self._open_transport()
                return await transport.send(step)
        if isinstance(step, Sleep):
            _log_sleep(step)
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Wait):
            # shielded: one waiter that is cancelled must not cancel the login for the others
            return await asyncio.shield(asyncio.wrap_future(step.future))
        if isinstance(step, Call):
            return await asyncio.to_thread(step.call)
        return await results_of((self.run(flow) for flow in step.flows), workers=self.concurrency)

    async def _open_transport(self) -> AsyncTransport:
        if self._transport is None:
            # in a thread: the first import takes 150 ms, which would hold up all other triggers of a triggerer
            module = await asyncio.to_thread(import_module, "airflow_provider_mqs.core.client.transport_aiohttp")
            if self._transport is None:  # another request may have opened it meanwhile
                self._transport = module.AiohttpTransport(self.settings, connections=self.concurrency)
        return self._transport


def _log_sleep(sleep: Sleep) -> None:
    if sleep.trouble:
        _log.warning("Trying again in %.1f s (%s)", sleep.seconds, sleep.reason)
    else:
        _log.debug("Waiting %.1f s (%s)", sleep.seconds, sleep.reason)
