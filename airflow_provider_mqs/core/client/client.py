"""
``MqsClient`` and ``AsyncMqsClient``: the flows of ``MqsApi`` on one of the two wires.

Opened with ``with`` or ``async with``; the wires are imported on first use, so that importing this file stays cheap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.client.auth import auth_for
from airflow_provider_mqs.core.client.flow import Flow, Parallel, Request, Sleep, Step, Wait, adrive, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_mqs.core.client.retry import RetryPolicy
    from airflow_provider_mqs.core.client.transport_pool import PooledTransport
    from airflow_provider_mqs.core.client.transport_requests import RequestsTransport
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

T = TypeVar("T")
_log = logging.getLogger(__name__)


def _forget(_: str) -> None:
    """Nobody asked to be told of new secrets."""


def _api(
    settings: ConnectionSettings,
    instance_id: str | None,
    on_secret: Callable[[str], object] | None,
    policy: RetryPolicy | None,
) -> MqsApi:
    return MqsApi(settings, auth_for(settings, on_secret or _forget), instance_id=instance_id, policy=policy)


def _announce(sleep: Sleep) -> None:
    _log.warning("Trying again in %.1f s (%s)", sleep.seconds, sleep.reason)


class MqsClient:
    """
    Run flows one step at a time, over ``requests``.

    :param settings: the connection
    :param instance_id: default the connection's
    :param on_secret: told of each new token, so that it can be masked in logs
    :param policy: how often and how long to try; default from the connection
    :param sleep: waits for a number of seconds
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        instance_id: str | None = None,
        on_secret: Callable[[str], object] | None = None,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.settings = settings
        self.api = _api(settings, instance_id, on_secret, policy)
        self._sleep = sleep
        self._transport: RequestsTransport | None = None

    def run(self, flow: Flow[T]) -> T:
        """
        Run a flow to its end.

        :param flow: one of ``self.api``, or made of those
        :return: what it returns
        :raises MqsError: what it raises
        """
        return drive(flow, self._perform)

    def close(self) -> None:
        """Close the pooled connections; the client may be used again."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Request):
            return self._open_transport().send(step)
        if isinstance(step, Sleep):
            _announce(step)
            return self._sleep(step.seconds)
        if isinstance(step, Wait):
            return step.future.result()
        return [self.run(flow) for flow in step.flows]

    def _open_transport(self) -> RequestsTransport:
        if self._transport is None:
            from airflow_provider_mqs.core.client.transport_requests import RequestsTransport  # noqa: PLC0415 - costs 170 ms

            self._transport = RequestsTransport(self.settings)
        return self._transport


async def side_by_side(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """
    Run coroutines until all have ended; where one breaks, or the caller is cancelled, none goes on.

    :param workers: what to run
    """
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class AsyncMqsClient:
    """
    Run flows side by side, over ``aiohttp``, whose connections all clients of an event loop share.

    :param settings: the connection
    :param instance_id: default the connection's
    :param concurrency: how many requests may be in flight, in all clients that share the connections
    :param on_secret: told of each new token, so that it can be masked in logs
    :param policy: how often and how long to try; default from the connection
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        instance_id: str | None = None,
        concurrency: int = 16,
        on_secret: Callable[[str], object] | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.settings = settings
        self.api = _api(settings, instance_id, on_secret, policy)
        self.concurrency = concurrency
        self.requests = 0
        self._in_flight = asyncio.Semaphore(concurrency)
        self._transport: PooledTransport | None = None

    async def run(self, flow: Flow[T]) -> T:
        """
        Run a flow to its end.

        :param flow: one of ``self.api``, or made of those
        :return: what it returns
        :raises MqsError: what it raises
        """
        return await adrive(flow, self.perform)

    async def aclose(self) -> None:
        """Close the pooled connections, unless other clients use them; the client may be used again."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def perform(self, step: Step) -> Any:
        """
        Perform one step of a flow; for callers that want a say in how a flow waits.

        :param step: what a flow yielded
        :return: what came of it
        :raises MqsError: what the wire raises
        """
        if isinstance(step, Request):
            async with self._in_flight:
                self.requests += 1
                transport = await self._open_transport()
                return await transport.send(step)
        if isinstance(step, Sleep):
            _announce(step)
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Wait):
            # shielded: one waiter that is cancelled must not cancel the login for the others
            return await asyncio.shield(asyncio.wrap_future(step.future))
        return await self._side_by_side(step)

    async def _side_by_side(self, step: Parallel) -> list[Any]:
        """Run the flows, as many at a time as requests may be in flight; the first error stops all."""
        results: dict[int, Any] = {}
        flows = enumerate(step.flows)
        await side_by_side(self._work(flows, results) for _ in range(self.concurrency))
        return [results[index] for index in sorted(results)]

    async def _work(self, flows: Iterator[tuple[int, Flow[Any]]], results: dict[int, Any]) -> None:
        for index, flow in flows:
            results[index] = await self.run(flow)

    async def _open_transport(self) -> PooledTransport:
        if self._transport is None:
            # in a thread: it takes 150 ms the first time, longer than all other triggers of a triggerer should wait
            await asyncio.to_thread(import_module, "airflow_provider_mqs.core.client.transport_pool")
        if self._transport is None:  # still: another request may have come first
            from airflow_provider_mqs.core.client.transport_pool import PooledTransport  # noqa: PLC0415 - loaded by now

            self._transport = PooledTransport(self.settings, connections=self.concurrency)
        return self._transport
