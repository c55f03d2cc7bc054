"""The synchronous transport: one ``requests`` session; a request in, a whole response or ``TransportError`` out."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import requests
import urllib3.exceptions
from requests.cookies import RequestsCookieJar

from airflow_provider_mqs.core.client.flow import Request, Response
from airflow_provider_mqs.core.client.transport import USER_AGENT, Proxies, not_trusted, ssl_context
from airflow_provider_mqs.exceptions import TransportError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings


class _NoCookies(RequestsCookieJar):
    """Keeps nothing: a cookie of one response has no business in the next request."""

    def set_cookie(self, cookie: object, *args: object, **kwargs: object) -> None:
        """Drop the cookie."""


class RequestsTransport:
    """Sends requests; redirects are not followed. Raises ``ConfigurationError`` for an unusable certificate file."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._proxies = Proxies(settings.proxy)
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace our Authorization header
        self._session.cookies = _NoCookies()
        self._session.headers.clear()
        self._session.headers["User-Agent"] = USER_AGENT
        ssl_context(settings)  # finds a bad file now; at the first request it would look like a broken connection
        self._session.cert = settings.client_cert
        self._session.verify = (settings.ca_bundle or True) if settings.verify_tls else False

    def send(self, request: Request) -> Response:
        """Return the whole response, whatever its status; raise ``TransportError`` if there is none."""
        proxy = self._proxies.of(request.url)
        try:
            response = self._session.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.body or None,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                allow_redirects=False,
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
        except requests.RequestException as error:
            raise transport_error(error) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, headers, response.content)

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()


def transport_error(error: requests.RequestException) -> TransportError:
    """Translate an error of ``requests``; ``sent`` is false only if no connection was established."""
    causes = list(_causes(error))
    if any(isinstance(cause, urllib3.exceptions.NameResolutionError) for cause in causes):
        return TransportError("The host name of the service has no address.", phase="resolve")
    if any(
        isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
        for cause in causes
    ):
        return TransportError("The service could not be connected to.", phase="connect")
    refusal = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if refusal is not None:
        return not_trusted(refusal)
    if isinstance(error, requests.Timeout):
        return TransportError("The service did not answer in time.", phase="exchange")
    return TransportError(f"The connection broke ({type(error).__name__}).", phase="exchange")


def _causes(error: Any) -> list[BaseException]:
    """Unroll an error as ``requests`` and ``urllib3`` nest it: first argument, reason, context."""
    chain: list[BaseException] = []
    while isinstance(error, BaseException) and error not in chain:
        chain.append(error)
        first = error.args[0] if error.args else None
        nested = first if isinstance(first, BaseException) else None
        error = getattr(error, "reason", None) or nested or error.__cause__ or error.__context__
    return chain
