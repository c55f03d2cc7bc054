"""Which proxy a request goes through, the same on both wires."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str, configured: str | None) -> str | None:
    """
    Choose the proxy of a request.

    :param url: where the request goes
    :param configured: the connection's ``proxy``
    :return: the connection's, else that of the environment (``HTTPS_PROXY``, ``NO_PROXY``); ``None`` for loopback
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    if configured:
        return configured
    return None if proxy_bypass(host) else getproxies().get(parts.scheme)


def is_loopback(host: str) -> bool:
    """
    Tell whether a host is this machine.

    :param host: name or address, without port
    :return: ``True`` for ``localhost`` and loopback addresses
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
