"""
The clients that triggers share: one for all of an event loop that ask an instance through the same connection.

A triggerer may hold a thousand sensors of one topic. With a client for each, it would look up the connection and list
the topics a thousand times, and Python's garbage collector would visit all they hold, which stops everything.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakValueDictionary

from airflow_provider_mqs.hooks.base import MqsBaseHook
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.values.message import Topic

_Key: TypeAlias = "tuple[int, str, str | None]"
_YOUNG_S: Final = 60.0
"""So long newcomers take what is there; later ones read the connection anew, since somebody may have changed it."""

_clients: WeakValueDictionary[_Key, SharedClient] = process_wide(WeakValueDictionary())


class SharedClient:
    """
    A client with several users; the last one that leaves closes it. Get one with ``shared_client``.

    :param mqs_conn_id: connection
    :param instance_id: instance to ask; default the connection's
    """

    def __init__(self, mqs_conn_id: str, instance_id: str | None) -> None:
        self.topics: dict[str, Topic | None] = {}
        self._hook = MqsBaseHook(mqs_conn_id, instance_id)
        self._loop = asyncio.get_running_loop()  # kept alive, so that no other loop has its number
        self._one_look_up = asyncio.Lock()
        self._users = 0
        self._born_s = monotonic()

    @property
    def is_young(self) -> bool:
        """Whether newcomers may still join."""
        return monotonic() - self._born_s < _YOUNG_S

    async def client(self) -> AsyncMqsClient:
        """
        Give the client; the first user looks up the connection.

        :return: the same one for all users
        :raises ConfigurationError: the connection does not exist, or a field of it is wrong
        """
        async with self._one_look_up:
            return await self._hook.aget_conn()

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if not self._users:
            self._born_s = float("-inf")  # before anything is awaited: whoever comes now needs another one
            await self._hook.aclose()


def shared_client(mqs_conn_id: str, instance_id: str | None) -> SharedClient:
    """
    Give what the others of this event loop use, to be used with ``async with`` at once.

    Settings are read once and hold as long as it is used; whoever comes a minute after that reads them anew.

    :param mqs_conn_id: connection
    :param instance_id: instance to ask; default the connection's
    :return: a client that may be shared
    """
    key = (id(asyncio.get_running_loop()), mqs_conn_id, instance_id)
    shared = _clients.get(key)
    if shared is None or not shared.is_young:
        shared = _clients[key] = SharedClient(mqs_conn_id, instance_id)
    return shared
