"""Triggers that ask the same connection at about the same time share a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks import base, client_pool
from airflow_provider_mqs.hooks.client_pool import shared_client

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.testing import MqsEmulator

CONNECTION = "mqs_default"


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect which connections are looked up."""
    asked: list[str] = []
    run_query = base.asettings_for

    async def spy(conn_id: str) -> ConnectionSettings:
        asked.append(conn_id)
        return await run_query(conn_id)

    monkeypatch.setattr(base, "asettings_for", spy)
    return asked


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[AsyncMqsClient]:
    """Collect the clients that were closed."""
    found: list[AsyncMqsClient] = []
    aclose = AsyncMqsClient.aclose

    async def spy(self: AsyncMqsClient) -> None:
        found.append(self)
        await aclose(self)

    monkeypatch.setattr(AsyncMqsClient, "aclose", spy)
    return found


async def test_a_crowd_looks_the_connection_up_once(mqs: MqsEmulator, look_ups: list[str]) -> None:
    """All have the same client, however many come while the first still looks."""

    async def use(together: list[AsyncMqsClient]) -> AsyncMqsClient:
        async with shared_client(CONNECTION, None) as mine:
            client = await mine.client()
            together.append(client)
            while len(together) < 20:  # noqa: ASYNC110 - all stay until all are there
                await asyncio.sleep(0)
            return client

    arrived: list[AsyncMqsClient] = []
    clients = await asyncio.gather(*(use(arrived) for _ in range(20)))

    assert len(set(map(id, clients))) == 1
    assert look_ups == [CONNECTION]


async def test_the_last_one_closes_it(mqs: MqsEmulator, closed: list[AsyncMqsClient]) -> None:
    """Whoever comes then has another one."""
    async with shared_client(CONNECTION, None) as first:
        client = await first.client()
        async with shared_client(CONNECTION, None) as second:
            assert second is first
        assert closed == []
    assert closed == [client]

    async with shared_client(CONNECTION, None) as third:
        assert third is not first


async def test_a_newcomer_a_minute_later_reads_the_connection_anew(
    mqs: MqsEmulator, look_ups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have changed it; those who are there go on with what they have."""
    async with shared_client(CONNECTION, None) as early:
        kept = await early.client()
        born_s = early._born_s
        monkeypatch.setattr(client_pool, "monotonic", lambda: born_s + 60.0)
        async with shared_client(CONNECTION, None) as late:
            assert late is not early
            await late.client()
        assert await early.client() is kept

    assert look_ups == [CONNECTION] * 2


async def test_what_asks_elsewhere_is_not_shared(mqs: MqsEmulator) -> None:
    """Neither with another connection nor with another instance."""
    mine = shared_client(CONNECTION, None)

    assert shared_client(CONNECTION, None) is mine
    assert shared_client(CONNECTION, "other") is not mine
    assert shared_client("other", None) is not mine


def test_another_event_loop_has_its_own(mqs: MqsEmulator) -> None:
    """A client belongs to the loop that opened it."""

    async def mine() -> client_pool.SharedClient:
        return shared_client(CONNECTION, None)

    assert asyncio.run(mine()) is not asyncio.run(mine())


async def test_a_connection_that_is_missing_is_an_error_for_each(mqs: MqsEmulator) -> None:
    """The first failure is no end for the others: somebody may create it."""
    async with shared_client("nowhere", None) as mine:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="'nowhere' does not exist"):
                await mine.client()
