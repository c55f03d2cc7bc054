"""Which proxy a request goes through, the same on both wires."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_mqs.models.endpoints import is_loopback


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
