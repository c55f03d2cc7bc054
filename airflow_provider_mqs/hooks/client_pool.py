"""
One client for all triggers of an event loop that use an instance through the same connection.

A triggerer may hold a thousand sensors of one topic. With a client each, it would look up the connection and list the
topics a thousand times, keep a socket for each, and Python's garbage collector would visit all that they hold, which
stops everything.

The connection is looked up for the first user, and again for one who joins more than a minute later. If it has changed,
new users get a new client, and the others keep theirs. A client is closed when its last user leaves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from typing_extensions import Self

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.core.values.message import Topic

_LOOK_UP_LASTS_S: Final = 60.0

# weak: a pool lives as long as one of its users, and so does the event loop whose id is in its key
_pools: WeakValueDictionary[tuple[int, str, str | None], _Pool] = process_wide(WeakValueDictionary())


def shared_client(mqs_conn_id: str, instance_id: str | None) -> SharedClient:
    """Return this user's share of the client for a connection and instance, to be entered with ``async with``."""
    key = (id(asyncio.get_running_loop()), mqs_conn_id, instance_id)
    pool = _pools.get(key)
    if pool is None:
        pool = _pools[key] = _Pool(mqs_conn_id, instance_id)
    return SharedClient(pool)


class SharedClient:
    """One user's share of a client; ``topics`` is what all users of that client know about topics."""

    __slots__ = ("_pool", "_pooled", "topics")

    def __init__(self, pool: _Pool) -> None:
        self.topics: dict[str, Topic | None] = {}
        self._pool = pool
        self._pooled: _PooledClient | None = None

    async def client(self) -> AsyncMqsClient:
        """Return the client; raise ``ConfigurationError`` if the connection is missing or wrong."""
        if self._pooled is None:
            self._pooled = await self._pool.join()
            self.topics = self._pooled.topics
        return self._pooled.client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            await self._pool.leave(pooled)


@dataclass(eq=False, slots=True)
class _PooledClient:
    """A client, and who uses it."""

    client: AsyncMqsClient
    hook: MqsHook
    version: tuple[ConnectionSettings, int | None, int | None]  # settings, and when their certificates were written
    topics: dict[str, Topic | None] = field(default_factory=dict)
    users: int = 0


class _Pool:
    """The clients of one connection and instance in one event loop: one or, after a change, also older ones."""

    def __init__(self, mqs_conn_id: str, instance_id: str | None) -> None:
        self._mqs_conn_id = mqs_conn_id
        self._instance_id = instance_id
        self._loop = asyncio.get_running_loop()  # kept alive, so that no other loop has its id
        self._one_look_up = asyncio.Lock()
        self._looked_up_s = float("-inf")
        self._newest: _PooledClient | None = None

    async def join(self) -> _PooledClient:
        """Return the newest client, after looking the connection up if the last time was more than a minute ago."""
        async with self._one_look_up:
            if self._newest is None or monotonic() - self._looked_up_s >= _LOOK_UP_LASTS_S:
                hook = MqsHook(self._mqs_conn_id, self._instance_id)
                settings = await hook.asettings()
                # a certificate is renewed while a triggerer runs, so it counts as a change of the connection
                version = (settings, _written_ns(settings.ca_bundle), _written_ns(settings.client_cert))
                self._looked_up_s = monotonic()
                # read again: the last user may have left meanwhile
                if self._newest is None or self._newest.version != version:
                    self._newest = _PooledClient(await hook.aget_conn(), hook, version)
            self._newest.users += 1
            return self._newest

    async def leave(self, pooled: _PooledClient) -> None:
        """End one use of a client."""
        pooled.users -= 1
        if not pooled.users:
            if self._newest is pooled:
                self._newest = None  # before anything is awaited: a user who joins now needs another client
            await pooled.hook.aclose()


def _written_ns(path: str | None) -> int | None:
    try:
        return None if path is None else Path(path).stat().st_mtime_ns
    except OSError:  # reading the file says what is wrong
        return None
