"""Clients of one event loop share their connections, and the last one closes them."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client import transport_pool as pool
from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.flow import Request
from airflow_provider_mqs.core.client.transport_pool import PooledTransport
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from tests.core.client.recorder import recording
from tests.support import settings_for

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator
    from tests.core.client.certificates import Authority


def lease(settings: ConnectionSettings | None = None, connections: int = 4) -> PooledTransport:
    return PooledTransport(settings or settings_for(), connections=connections)


def at(emulator: MqsEmulator) -> ConnectionSettings:
    connection = emulator.connection()
    connection.pop("conn_type")
    return ConnectionSettings.parse(**connection)


def shares(one: PooledTransport, other: PooledTransport) -> bool:
    return one._shared is other._shared


async def test_many_clients_need_few_sockets() -> None:
    """Fifty clients that ask at once have as many connections as one may have."""
    with recording() as server:
        transports = [lease() for _ in range(50)]
        answers = await asyncio.gather(*(transport.send(Request("GET", server.url, {})) for transport in transports))
        for transport in transports:
            await transport.close()

    assert len(answers) == 50
    assert 1 <= server.sockets <= 4


async def test_many_clients_log_in_once(mqs_emulator: MqsEmulator) -> None:
    """One login and at most four requests at once for twenty clients of the same connection."""
    settings = at(mqs_emulator)
    clients = [AsyncMqsClient(settings, concurrency=4) for _ in range(20)]

    await asyncio.gather(*(client.run(client.api.show_instance()) for client in clients))
    for client in clients:
        await client.aclose()

    assert len(mqs_emulator.requests("login")) == 1
    assert len(mqs_emulator.requests("instance")) == 20


async def test_the_last_one_closes_the_sockets() -> None:
    """Until then the others go on undisturbed."""
    first, second = lease(), lease()
    session = first._shared.transport._session

    await first.close()
    assert not session.closed
    await second.close()

    assert session.closed
    assert not pool._transports


async def test_who_comes_while_the_last_one_closes_gets_a_new_wire() -> None:
    """Nobody is given a session that is about to close."""
    first = lease()
    closing = asyncio.create_task(first.close())
    await asyncio.sleep(0)

    second = lease()
    await closing

    assert not shares(first, second)
    assert not second._shared.transport._session.closed
    await second.close()


async def test_a_client_gives_back_once_however_often_it_is_closed(mqs_emulator: MqsEmulator) -> None:
    """Two closings of one client must not take the wire from another."""
    first, second = (AsyncMqsClient(at(mqs_emulator)) for _ in range(2))
    await asyncio.gather(*(client.run(client.api.show_instance()) for client in (first, second)))

    await asyncio.gather(first.aclose(), first.aclose())

    assert (await second.run(second.api.show_instance()))["engine"] == "kafka"
    await second.aclose()


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "https://other.example.com"},
        {"query_endpoint": "https://other.example.com"},
        {"iam_endpoint": "https://other.example.com"},
        {"proxy": "http://user:other@proxy.example.com:3128"},
        {"connect_timeout_s": 1.5},
        {"read_timeout_s": 1.5},
        {"verify_tls": False},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_only_those_who_connect_likewise_share(change: dict[str, Any]) -> None:
    """One connection's proxy, limits and trust are never another's."""
    plain = settings_for()
    one, other = lease(plain), lease(replace(plain, **change))

    assert not shares(one, other)
    await one.close()
    await other.close()


async def test_a_different_user_shares_the_connections() -> None:
    """Who asks is said by each request, not by the connection."""
    plain = settings_for()
    one, other = lease(plain), lease(replace(plain, login="somebody", password="else"))

    assert shares(one, other)
    await one.close()
    await other.close()


async def test_a_renewed_certificate_is_read(authority: Authority, tmp_path: Path) -> None:
    """Whoever comes after the file was written anew does not get the wire of the old one."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority.path.read_bytes())
    settings = replace(settings_for(), ca_bundle=str(bundle))
    old = lease(settings)
    os.utime(bundle, ns=(1, 1))

    new = lease(settings)

    assert not shares(old, new)
    await old.close()
    await new.close()


def test_loops_do_not_share() -> None:
    """A wire belongs to the loop that it was made in."""

    async def shares_with(other: PooledTransport) -> bool:
        transport = lease()
        await transport.close()
        return shares(transport, other)

    async def leased() -> PooledTransport:
        return lease()

    loop = asyncio.new_event_loop()
    try:
        other = loop.run_until_complete(leased())
        assert not asyncio.run(shares_with(other))
        loop.run_until_complete(other.close())
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_client_that_nobody_closed_leaves_no_wire() -> None:
    """Forgetting a client costs a warning of aiohttp, as ever, and nothing that stays."""
    transport = lease()
    found = weakref.ref(transport._shared)

    del transport
    gc.collect()

    assert found() is None
    assert not pool._transports


def test_a_triggerers_loop_does_not_wait_for_the_import_of_the_wire() -> None:
    """It takes 150 ms, so another thread does it; the interpreter is a fresh one."""
    command = [sys.executable, "-c", _WHO_IMPORTS]
    loaded = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[3]
    )

    assert "refused as expected, " in loaded.stdout
    assert "transport imported by main thread: [False]" in loaded.stdout


_WHO_IMPORTS = """
import asyncio, sys, threading
from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.flow import Request
from airflow_provider_mqs.exceptions import TransportError
from tests.support import settings_for

class Watch:
    seen = []
    def find_spec(self, name, path=None, target=None):
        if name.endswith(".transport_aiohttp"):
            self.seen.append(threading.current_thread() is threading.main_thread())

async def ask():
    async with AsyncMqsClient(settings_for()) as client:
        try:
            await client.perform(Request("GET", "http://127.0.0.1:1", {}))
        except TransportError:
            print("refused as expected,", end=" ")

sys.meta_path.insert(0, Watch())
asyncio.run(ask())
print("transport imported by main thread:", Watch.seen)
"""
