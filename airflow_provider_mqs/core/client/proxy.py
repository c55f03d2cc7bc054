"""Which proxy a request goes through, the same on both wires."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_mqs.core.connection.endpoints import is_loopback


class Proxies:
    """
    Chooses proxies, once for each host: reading the environment takes longer than anything else about a request.

    :param configured: the connection's ``proxy``
    """

    def __init__(self, configured: str | None) -> None:
        self._configured = configured
        self._known: dict[str, str | None] = {}

    def of(self, url: str) -> str | None:
        """
        Choose the proxy of a request.

        :param url: where the request goes
        :return: see ``proxy_for``
        """
        host = "/".join(url.split("/", 3)[:3])
        if host not in self._known:
            self._known[host] = proxy_for(url, self._configured)
        return self._known[host]


def proxy_for(url: str, configured: str | None) -> str | None:
    """
    Choose the proxy of a request.

    :param url: where the request goes
    :param configured: the connection's ``proxy``
    :return: the connection's, else that of the environment (``HTTPS_PROXY``, ``NO_PROXY``); ``None`` for loopback
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    if configured:
        return configured
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
