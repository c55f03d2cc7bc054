"""The asynchronous transport: one ``aiohttp`` session; a request in, a whole response or ``TransportError`` out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from airflow_provider_mqs.core.client.flow import Request, Response
from airflow_provider_mqs.core.client.transport import USER_AGENT, Proxies, not_trusted, ssl_context
from airflow_provider_mqs.exceptions import TransportError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_ERRORS: tuple[type[Exception], ...] = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


class AiohttpTransport:
    """
    Sends requests over at most ``connections`` sockets; redirects are not followed.

    Opened and closed in the same event loop. Raises ``ConfigurationError`` for an unusable certificate file.
    """

    def __init__(self, settings: ConnectionSettings, *, connections: int) -> None:
        self._proxies = Proxies(settings.proxy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=ssl_context(settings) or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.connect_timeout,
                sock_read=settings.read_timeout,
            ),
        )

    async def send(self, request: Request) -> Response:
        """Return the whole response, whatever its status; raise ``TransportError`` if there is none."""
        try:
            async with self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
                proxy=self._proxies.of(request.url),
            ) as response:
                body = await response.read()
        except _ERRORS as error:
            raise transport_error(error) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, body)

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._session.close()


def transport_error(error: Exception) -> TransportError:
    """Translate an error of ``aiohttp``; ``sent`` is false only if no connection was established."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return TransportError("The host name of the service has no address.", phase="resolve")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return not_trusted(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return TransportError("The service could not be connected to.", phase="connect")
    if isinstance(error, asyncio.TimeoutError):
        return TransportError("The service did not answer in time.", phase="exchange")
    return TransportError(f"The connection broke ({type(error).__name__}).", phase="exchange")
