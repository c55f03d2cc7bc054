"""What the transports are tested with: each of the two, and certificates of our own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest

from airflow_provider_mqs.core.client.transport_aiohttp import AiohttpTransport
from airflow_provider_mqs.core.client.transport_requests import RequestsTransport
from tests.core.client.certificates import Authority

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Request, Response
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings


class Exchange(Protocol):
    """Sends requests over one transport, one after the other, and returns the responses."""

    def __call__(self, settings: ConnectionSettings, *requests: Request) -> list[Response]:
        """Open the transport, send, close it."""
        ...


def _by_requests(settings: ConnectionSettings, *requests: Request) -> list[Response]:
    transport = RequestsTransport(settings)
    try:
        return [transport.send(request) for request in requests]
    finally:
        transport.close()


def _by_aiohttp(settings: ConnectionSettings, *requests: Request) -> list[Response]:
    async def exchange() -> list[Response]:
        transport = AiohttpTransport(settings, connections=4)
        try:
            return [await transport.send(request) for request in requests]
        finally:
            await transport.close()

    return asyncio.run(exchange())


@pytest.fixture(params=[_by_requests, _by_aiohttp], ids=["requests", "aiohttp"])
def exchange(request: pytest.FixtureRequest) -> Exchange:
    """Run the test on each of the two transports."""
    transport: Exchange = request.param
    return transport


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a CA that no platform trusts."""
    return Authority(tmp_path_factory.mktemp("ca"))
