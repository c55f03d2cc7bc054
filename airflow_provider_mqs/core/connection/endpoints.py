"""
Addresses: what a host field may look like, what it becomes, and what its name tells of region and login.

Pure text work; nothing is resolved or asked here.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from airflow_provider_mqs.core.connection.field_types import field_error, shown

_EXAMPLE: Final = "https://roma.cn-north-4.myhuaweicloud.com"
_PUBLIC_CLOUD: Final = "myhuaweicloud.com"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HIGHEST_PORT: Final = 65_535
_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")
_PREFIX: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
_REGIONAL_HOST: Final = re.compile(r"[a-z0-9-]+\.([a-z]{2,}(?:-[a-z0-9]+)+)\.([a-z0-9-]+(?:\.[a-z0-9-]+)+)")


def parse_endpoint(
    name: str, text: str, *, scheme: str = "", port: int | str | None = None, allow_http: bool = False
) -> str:
    """
    Turn an address field into ``scheme://host[:port][/prefix]``.

    The scheme is https where none is given, http on this machine's own addresses. The usual port of the
    scheme is left out, so that two spellings of one endpoint compare equal.

    :param name: the connection field, for errors
    :param text: host with or without scheme, port and path prefix; IPv6 with or without brackets
    :param scheme: ``http``, ``https`` or ``""``, where another field gives it
    :param port: where another field gives it; ``None`` and 0 mean absent
    :param allow_http: whether http may be used for hosts that are not this machine
    :return: the endpoint, without a slash at the end
    :raises ConfigurationError: if the address is missing or unfit; the message names the field and the remedy
    """
    url = _split(name, text)
    scheme = _scheme(name, url, scheme)
    host = _host_name(name, url)
    local = is_loopback(host)
    scheme = scheme or ("http" if local else "https")
    if scheme == "http" and not (local or allow_http):
        raise field_error(
            name,
            f"asks for http on {shown(host)}: use https, or set extra 'allow_http' if tokens may travel open",
        )
    number = _port(name, url, port)
    shown_port = "" if number in {None, _DEFAULT_PORTS[scheme]} else f":{number}"
    return f"{scheme}://{bracketed(host)}{shown_port}{_prefix(name, url)}"


def is_loopback(host: str) -> bool:
    """
    Tell whether a host is this machine by its very name.

    :param host: name or address, without brackets
    :return: true for localhost and its sub-names, 127.0.0.0/8 and ::1
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def bracketed(host: str) -> str:
    """
    Return a host as it stands in a URL.

    :param host: name or address
    :return: the same, IPv6 in brackets
    """
    return f"[{host}]" if ":" in host else host


def region_of(endpoint: str) -> str | None:
    """
    Read the region from an endpoint's name.

    :param endpoint: as ``parse_endpoint`` returns it
    :return: the region of ``<service>.<region>.<cloud>``, or ``None`` for any other name
    """
    match = _REGIONAL_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    return match[1] if match else None


def regional_iam(endpoint: str, region: str | None) -> str | None:
    """
    Derive where to log in.

    :param endpoint: as ``parse_endpoint`` returns it
    :param region: the region, if known
    :return: the endpoint itself on this machine, else the region's IAM host in the endpoint's cloud (the
        public one where the endpoint's name tells none), or ``None`` without a region
    """
    host = urlsplit(endpoint).hostname or ""
    if is_loopback(host):
        return endpoint
    match = _REGIONAL_HOST.fullmatch(host)
    return f"https://iam.{region}.{match[2] if match else _PUBLIC_CLOUD}" if region else None


def _split(name: str, text: str) -> SplitResult:
    if not text:
        raise field_error(name, f"is missing: enter the MQS endpoint, such as {_EXAMPLE}")
    if "@" in text.partition("://")[2].partition("/")[0] or "@" in text.partition("/")[0]:
        raise field_error(name, "holds credentials (an @ before the path): enter them as login and password")
    if any(character.isspace() or not character.isprintable() for character in text) or "\\" in text:
        raise field_error(name, f"is {shown(text)}: remove white space, line breaks and backslashes")
    with_scheme = text if "://" in text else f"//{_bare_ipv6(text)}"
    try:
        url = urlsplit(with_scheme)
    except ValueError:
        raise field_error(name, f"is {shown(text)}, which is no valid address: write it like {_EXAMPLE}") from None
    if "?" in text or "#" in text:
        raise field_error(name, "has a query or fragment (? or #): enter only scheme, host, port and path prefix")
    return url


def _bare_ipv6(text: str) -> str:
    try:
        return bracketed(str(ip_address(text)))
    except ValueError:
        return text


def _scheme(name: str, url: SplitResult, other: str) -> str:
    for scheme in filter(None, (url.scheme, other.lower())):
        if scheme not in _DEFAULT_PORTS:
            raise field_error(
                name if scheme == url.scheme else "schema",
                f"is or starts with {shown(scheme)}: use http or https",
            )
    if url.scheme and other and url.scheme != other.lower():
        raise field_error("schema", f"is {shown(other)} but {name} says {url.scheme}: leave schema empty")
    return url.scheme or other.lower()


def _host_name(name: str, url: SplitResult) -> str:
    host = (url.hostname or "").rstrip(".")
    if ":" in host or _HOST_NAME.fullmatch(host):
        return host
    raise field_error(name, f"has {shown(host)} where the host belongs: write it like {_EXAMPLE}")


def _port(name: str, url: SplitResult, other: int | str | None) -> int | None:
    try:
        mine, others = url.port, int(other or 0) or None
    except ValueError:
        raise field_error(
            "port", f"must be a whole number between 1 and {_HIGHEST_PORT}: correct it, also inside {name}"
        ) from None
    if mine == 0 or not 0 < (others or 1) <= _HIGHEST_PORT:
        raise field_error("port", f"must be between 1 and {_HIGHEST_PORT}: correct it or leave it empty")
    if mine and others and mine != others:
        raise field_error("port", f"is {others} but {name} says {mine}: leave port empty, or drop it from {name}")
    return mine or others


def _prefix(name: str, url: SplitResult) -> str:
    path = url.path.rstrip("/")
    if _PREFIX.fullmatch(path):
        return path
    raise field_error(name, f"has the path {shown(path)}: use plain segments such as /gateway, without dots or spaces")
