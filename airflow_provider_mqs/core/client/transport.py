"""What the two transports share: the user agent, the choice of a proxy, and the certificates of a connection."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_mqs import __version__
from airflow_provider_mqs.core.connection.endpoints import is_loopback
from airflow_provider_mqs.core.connection.field_types import field_error
from airflow_provider_mqs.exceptions import TransportError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Request, Response
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

# set by the transports and not in ``Request.headers``: a proxy may change it, so it must not be signed
USER_AGENT: Final = f"airflow-provider-mqs/{__version__}"


class Transport(Protocol):
    """What a synchronous client sends its requests with."""

    def send(self, request: Request) -> Response:
        """Return the whole response, whatever its status; raise ``TransportError`` if there is none."""
        ...

    def close(self) -> None:
        """Close the pooled connections."""
        ...


class AsyncTransport(Protocol):
    """What an asynchronous client sends its requests with."""

    async def send(self, request: Request) -> Response:
        """Return the whole response, whatever its status; raise ``TransportError`` if there is none."""
        ...

    async def close(self) -> None:
        """Close the pooled connections."""
        ...


class Proxies:
    """Chooses the proxy once per host: reading the environment takes longer than the rest of a request."""

    def __init__(self, configured: str | None) -> None:
        self._configured = configured
        self._by_host: dict[str, str | None] = {}

    def of(self, url: str) -> str | None:
        """Return the proxy for a request to this URL."""
        host = "/".join(url.split("/", 3)[:3])
        if host not in self._by_host:
            self._by_host[host] = proxy_for(url, self._configured)
        return self._by_host[host]


def proxy_for(url: str, configured: str | None) -> str | None:
    """
    Return the connection's proxy, else that of the environment (``HTTPS_PROXY``, ``NO_PROXY``).

    This machine's own addresses are reached without one.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    if configured:
        return configured
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def ssl_context(settings: ConnectionSettings) -> ssl.SSLContext | None:
    """Return the TLS context of a connection, or ``None`` if the platform's defaults will do."""
    bundle = settings.ca_bundle
    if settings.verify_tls and not bundle and not settings.client_cert:
        return None
    is_folder = bundle is not None and Path(bundle).is_dir()
    try:
        context = ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as error:
        raise field_error("ca_bundle", "cannot be read: name a PEM file with the certificates to trust") from error
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert:
        try:
            context.load_cert_chain(settings.client_cert, password=_refuse_encrypted_key)
        except (OSError, ValueError) as error:
            raise field_error(
                "client_cert", "cannot be read: name a PEM file with the certificate and its unencrypted key"
            ) from error
    return context


def _refuse_encrypted_key() -> str:
    raise ValueError("encrypted")  # without this callback, OpenSSL asks the terminal for a password


def not_trusted(error: Exception) -> TransportError:
    """Return the error for a refused certificate, with OpenSSL's reason, such as "self-signed certificate"."""
    reason = getattr(error, "verify_message", "") or "no reason given"
    return TransportError(f"The service's TLS certificate is not trusted ({reason}).", phase="tls")
