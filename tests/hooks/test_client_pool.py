"""Triggers of an event loop that use the same connection share a client."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks import client_pool, mqs
from airflow_provider_mqs.hooks.client_pool import shared_client

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.testing import MqsEmulator

pytestmark = pytest.mark.usefixtures("mqs")
CONNECTION = "mqs_default"


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect which connections are looked up."""
    asked: list[str] = []
    look_up = mqs.asettings_for

    async def spy(conn_id: str) -> ConnectionSettings:
        asked.append(conn_id)
        return await look_up(conn_id)

    monkeypatch.setattr(mqs, "asettings_for", spy)
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


@pytest.fixture
def a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each look-up a minute old by the time somebody joins."""
    monkeypatch.setattr(client_pool, "_LOOK_UP_LASTS_S", 0.0)


async def test_a_crowd_looks_the_connection_up_once(look_ups: list[str]) -> None:
    """All have the same client, however many come during the first look-up."""
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(shared_client(CONNECTION, None)) for _ in range(20)]
        clients = await asyncio.gather(*(one.client() for one in crowd))

    assert len(set(map(id, clients))) == 1
    assert look_ups == [CONNECTION]


async def test_what_one_user_learns_of_topics_the_others_know() -> None:
    """So the topics are listed once for a crowd."""
    async with shared_client(CONNECTION, None) as first, shared_client(CONNECTION, None) as second:
        await first.client()
        await second.client()
        first.topics["orders"] = None

        assert second.topics == {"orders": None}


async def test_the_last_user_closes_the_client(closed: list[AsyncMqsClient]) -> None:
    """The next user gets another one."""
    async with shared_client(CONNECTION, None) as first:
        client = await first.client()
        async with shared_client(CONNECTION, None) as second:
            assert await second.client() is client
        assert closed == []
    assert closed == [client]

    async with shared_client(CONNECTION, None) as third:
        assert await third.client() is not client


async def test_a_user_who_joins_while_the_last_one_closes_gets_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets a client that is about to close."""
    closing, close = asyncio.Event(), asyncio.Event()
    aclose = AsyncMqsClient.aclose

    async def slow(self: AsyncMqsClient) -> None:
        closing.set()
        await close.wait()
        await aclose(self)

    monkeypatch.setattr(AsyncMqsClient, "aclose", slow)

    async def use() -> AsyncMqsClient:
        async with shared_client(CONNECTION, None) as mine:
            return await mine.client()

    first = asyncio.create_task(use())
    await closing.wait()
    async with shared_client(CONNECTION, None) as late:
        client = await late.client()
        close.set()
        assert client is not await first


async def test_an_unchanged_connection_keeps_its_client(look_ups: list[str], a_minute_later: None) -> None:
    """A new user looks it up and, since nothing has changed, shares the client: few sockets, however many users."""
    async with shared_client(CONNECTION, None) as early, shared_client(CONNECTION, None) as late:
        assert await early.client() is await late.client()

    assert look_ups == [CONNECTION] * 2


async def test_a_changed_connection_gets_a_new_client(
    mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch, a_minute_later: None, closed: list[AsyncMqsClient]
) -> None:
    """New users get it, the others keep theirs, and each client closes with its last user."""
    async with shared_client(CONNECTION, None) as early:
        old = await early.client()
        monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json(page_size=7))
        async with shared_client(CONNECTION, None) as late:
            new = await late.client()
            assert new.settings.page_size == 7
            assert await early.client() is old
        assert closed == [new]
    assert closed == [new, old]


async def test_a_renewed_certificate_gets_a_new_client(
    mqs_emulator: MqsEmulator,
    monkeypatch: pytest.MonkeyPatch,
    a_minute_later: None,
    tmp_path: Path,
) -> None:
    """For a user who joins after its file was written, the file is read again."""
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json(ca_bundle=str(bundle)))
    async with shared_client(CONNECTION, None) as early, shared_client(CONNECTION, None) as late:
        old = await early.client()
        os.utime(bundle, ns=(1, 1))

        assert await late.client() is not old


async def test_another_connection_or_instance_is_not_shared() -> None:
    """Each of them has a client of its own."""
    os.environ["AIRFLOW_CONN_OTHER"] = os.environ["AIRFLOW_CONN_MQS_DEFAULT"]
    async with (
        shared_client(CONNECTION, None) as one,
        shared_client(CONNECTION, "other") as two,
        shared_client("other", None) as three,
    ):
        assert len({id(await share.client()) for share in (one, two, three)}) == 3
    del os.environ["AIRFLOW_CONN_OTHER"]


def test_another_event_loop_has_its_own_client() -> None:
    """A client belongs to the loop that opened it."""

    async def mine() -> AsyncMqsClient:
        async with shared_client(CONNECTION, None) as share:
            return await share.client()

    assert asyncio.run(mine()) is not asyncio.run(mine())


async def test_a_missing_connection_is_an_error_for_each() -> None:
    """A failed look-up is not the end for the others: somebody may create the connection."""
    async with shared_client("nowhere", None) as mine:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="'nowhere' does not exist"):
                await mine.client()


async def test_a_user_that_nobody_closed_leaves_no_pool() -> None:
    """A forgotten share keeps neither a client nor its event loop alive."""
    share = shared_client(CONNECTION, None)
    await share.client()
    pool = weakref.ref(share._pool)

    del share
    gc.collect()

    assert pool() is None


def test_a_certificate_that_has_vanished_is_no_error_here() -> None:
    """The transport that reads the file says what is wrong."""
    assert client_pool._written_ns("/nowhere/ca.pem") is None
