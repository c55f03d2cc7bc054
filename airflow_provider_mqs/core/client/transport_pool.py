"""
The asynchronous wires of this process: one for all clients of an event loop that connect to the same place likewise.

A triggerer has a client for each sensor; a session for each would keep a socket and a certificate store for each.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

from airflow_provider_mqs.core.client.transport_aiohttp import AiohttpTransport
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from collections.abc import Hashable

    from airflow_provider_mqs.core.client.flow import Request, Response
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_Key: TypeAlias = "tuple[Hashable, ...]"


@dataclass(eq=False)
class _Shared:
    """
    A wire and who uses it.

    :param wire: sends
    :param users: how many leases there are
    """

    transport: AiohttpTransport
    users: int = 0


# weak, so that clients that nobody closed keep neither a wire nor its loop alive
_transports: WeakValueDictionary[_Key, _Shared] = process_wide(WeakValueDictionary())


class PooledTransport:
    """
    One client's use of a wire; the sockets close when the last client that uses it has closed its own.

    Made inside a running event loop, and closed in the same. At most ``connections`` requests of all clients together
    are in flight; the others wait for their turn.

    :param settings: the connection
    :param connections: how many sockets to keep at most
    :raises ConfigurationError: a file of the connection holds no certificate
    """

    def __init__(self, settings: ConnectionSettings, *, connections: int) -> None:
        self._key = _key(settings, connections)
        shared = _transports.get(self._key)
        if shared is None:
            shared = _transports[self._key] = _Shared(AiohttpTransport(settings, connections=connections))
        shared.users += 1
        self._shared = shared

    async def send(self, request: Request) -> Response:
        """
        Exchange one request for its answer.

        :param request: sent as it is
        :return: the whole answer, whatever its status
        :raises TransportError: no whole answer came
        """
        return await self._shared.transport.send(request)

    async def close(self) -> None:
        """Give the wire back, once; the last one closes the pooled connections."""
        self._shared.users -= 1
        if not self._shared.users:
            _transports.pop(self._key, None)  # before anything is awaited: whoever comes now needs a new one
            await self._shared.transport.close()


def _key(settings: ConnectionSettings, connections: int) -> _Key:
    """Give all that decides whether two clients may share: loop, addresses, limits, certificates as they are now."""
    return (
        id(asyncio.get_running_loop()),  # a wire keeps its loop alive, so no other can have this number
        connections,
        settings.endpoint,
        settings.query_endpoint,
        settings.iam_endpoint,
        settings.proxy,
        settings.connect_timeout_s,
        settings.read_timeout_s,
        settings.verify_tls,
        *(_version(path) for path in (settings.ca_bundle, settings.client_cert)),
    )


def _version(path: str | None) -> tuple[str, int] | None:
    """Name a file and when it was written: certificates are renewed while a triggerer runs."""
    if path is None:
        return None
    try:
        return path, Path(path).stat().st_mtime_ns
    except OSError:  # reading it says what is wrong
        return path, 0
