"""The asynchronous wire: one pooled session; requests out, whole answers or ``TransportError`` back; no decisions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from airflow_provider_mqs.core.client.flow import USER_AGENT, Response
from airflow_provider_mqs.core.client.proxy import Proxies
from airflow_provider_mqs.core.client.tls import not_trusted, ssl_context
from airflow_provider_mqs.exceptions import TransportError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Request
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_ERRORS: tuple[type[Exception], ...] = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


class AiohttpTransport:
    """
    Send requests over one session, with the connection's timeouts, certificates and proxy; redirects are not followed.

    Made inside a running event loop, and closed in the same.

    :param settings: the connection
    :param connections: how many sockets to keep at most
    :raises ConfigurationError: a file of the connection holds no certificate
    """

    def __init__(self, settings: ConnectionSettings, *, connections: int) -> None:
        self._proxies = Proxies(settings.proxy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=ssl_context(settings) or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.connect_timeout_s,
                sock_read=settings.read_timeout_s,
            ),
        )

    async def send(self, request: Request) -> Response:
        """
        Exchange one request for its answer.

        :param request: sent as it is
        :return: the whole answer, whatever its status
        :raises TransportError: no whole answer came
        """
        try:
            async with self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
                proxy=self._proxies.of(request.url),
            ) as answer:
                body = await answer.read()
        except _ERRORS as error:
            raise transport_error(error) from error
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._session.close()


def transport_error(error: Exception) -> TransportError:
    """
    Say how far a request came.

    :param error: what ``aiohttp`` raised
    :return: a ``TransportError`` whose ``sent`` is false only where the connection never stood
    """
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return TransportError("The host name of the service has no address.", phase="resolve")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return not_trusted(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return TransportError("The service could not be connected to.", phase="connect")
    if isinstance(error, asyncio.TimeoutError):
        return TransportError("The service did not answer in time.", phase="exchange")
    return TransportError(f"The connection broke ({type(error).__name__}).", phase="exchange")
