"""The part of ``MqsHook`` that knows Airflow: the connection, and the two clients that it opens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_mqs._compat import amask_secret, mask_secret
from airflow_provider_mqs.core.client.client import AsyncMqsClient, MqsClient
from airflow_provider_mqs.core.connection.fields import CONNECTION_TYPE, HOOK_NAME
from airflow_provider_mqs.core.connection.settings import path_segment
from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, is_absent
from airflow_provider_mqs.hooks.connection import asettings_for, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

T = TypeVar("T")


class MqsBaseHook(BaseHook):
    """
    Open a connection of type ``mqs``.

    The connection is read on first use. With ``with`` or ``async with`` the sockets are closed at the end.

    :param mqs_conn_id: connection to use
    :param instance_id: instance to ask; default the connection's
    """

    conn_name_attr = "mqs_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONNECTION_TYPE
    hook_name = HOOK_NAME

    def __init__(self, mqs_conn_id: str = default_conn_name, instance_id: str | None = None) -> None:
        super().__init__()
        self.mqs_conn_id = mqs_conn_id
        self._instance_id = None if is_absent(instance_id) else path_segment("instance_id", str(instance_id))
        self._settings: ConnectionSettings | None = None
        self._client: MqsClient | None = None
        self._async_client: AsyncMqsClient | None = None
        self._masking: set[asyncio.Task[None]] = set()

    @property
    def settings(self) -> ConnectionSettings:
        """The connection, checked; read on first use. Raises ``ConfigurationError`` where a field is wrong."""
        if self._settings is None:
            self._settings = settings_for(self.mqs_conn_id)
        return self._settings

    @property
    def instance_id(self) -> str:
        """The instance that is asked. Raises ``ConfigurationError`` where neither hook nor connection names one."""
        return self.get_conn().api.instance_id

    async def asettings(self) -> ConnectionSettings:
        """
        Give the connection, checked; the asynchronous twin of ``settings``.

        :return: the settings, read on first use
        :raises ConfigurationError: a field is wrong
        """
        if self._settings is None:
            self._settings = await asettings_for(self.mqs_conn_id)
        return self._settings

    def get_conn(self) -> MqsClient:
        """
        Give the client for single calls.

        :return: the same one until ``close``
        :raises ConfigurationError: a field of the connection is wrong
        """
        if self._client is None:
            self._client = MqsClient(self.settings, instance_id=self._instance_id, on_secret=mask_secret)
        return self._client

    async def aget_conn(
        self, *, concurrency: int = 16, on_secret: Callable[[str], object] | None = None
    ) -> AsyncMqsClient:
        """
        Give the client for calls from a coroutine; to be used in the event loop that asked first.

        :param concurrency: how many requests may be in flight; heeded by the first call
        :param on_secret: told of each new token instead of Airflow's masker; heeded by the first call
        :return: the same one until ``aclose``
        :raises ConfigurationError: a field of the connection is wrong
        """
        if self._async_client is None:
            self._async_client = AsyncMqsClient(
                await self.asettings(),
                instance_id=self._instance_id,
                concurrency=concurrency,
                on_secret=on_secret or self._mask_soon,
            )
        return self._async_client

    def run_concurrently(self, flow_of: Callable[[MqsApi], Flow[T]], *, concurrency: int = 16) -> T:
        """
        Run a flow with many requests in flight, in an event loop of its own.

        Called from a coroutine (a notebook, say), where no second loop may run, it asks one by one instead.

        :param flow_of: makes the flow from the API
        :param concurrency: how many requests may be in flight
        :return: what the flow returns
        :raises MqsError: the connection is wrong, or what the flow raises
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run_in_loop(flow_of, concurrency))
        client = self.get_conn()
        return client.run(flow_of(client.api))

    async def _run_in_loop(self, flow_of: Callable[[MqsApi], Flow[T]], concurrency: int) -> T:
        # a hook of its own, since the asynchronous client of this one may belong to another loop
        async with type(self)(self.mqs_conn_id, self._instance_id) as hook:
            hook._settings = self.settings  # noqa: SLF001 - of the same class
            client = await hook.aget_conn(concurrency=concurrency)
            return await client.run(flow_of(client.api))

    def close(self) -> None:
        """Close the sockets of ``get_conn``; the hook may be used again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def aclose(self) -> None:
        """Close the sockets of ``aget_conn``; the hook may be used again."""
        client, self._async_client = self._async_client, None
        try:
            await asyncio.gather(*self._masking)
        finally:
            if client is not None:
                await client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _mask_soon(self, secret: str) -> None:
        # the set keeps the task alive; a loop holds only weak references
        task = asyncio.get_running_loop().create_task(amask_secret(secret))
        self._masking.add(task)
        task.add_done_callback(self._masking.discard)
