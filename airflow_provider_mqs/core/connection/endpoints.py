"""
Addresses: how an address field may be written, and what a host name reveals about region and login.

Pure text work; nothing is resolved or requested here.
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
# segments without "." and "..", which would lead to another path
_PREFIX: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
# <service>.<region>.<cloud>, such as roma.cn-north-4.myhuaweicloud.com; a region has at least two parts
_REGIONAL_HOST: Final = re.compile(r"[a-z0-9-]+\.([a-z]{2,}(?:-[a-z0-9]+)+)\.([a-z0-9-]+(?:\.[a-z0-9-]+)+)")


def parse_endpoint(
    name: str, text: str, *, scheme: str = "", port: int | str | None = None, allow_http: bool = False
) -> str:
    """
    Return an address field as ``scheme://host[:port][/prefix]``, without a slash at the end.

    ``name`` is the field, for errors; ``scheme`` and ``port`` come from fields of their own and may be empty (port 0 is
    too). The default scheme is https, but http for this machine's own addresses. The scheme's default port is left out,
    so that two spellings of one endpoint compare equal.
    """
    url = _split(name, text)
    scheme = _scheme(name, url, scheme.lower())
    host = (url.hostname or "").rstrip(".")
    if ":" not in host and not _HOST_NAME.fullmatch(host):
        raise field_error(name, f"has {shown(host)} as its host name: write it like {_EXAMPLE}")
    local = is_loopback(host)
    scheme = scheme or ("http" if local else "https")
    if scheme == "http" and not (local or allow_http):
        raise field_error(
            name,
            f"asks for http on {shown(host)}: use https, or set extra 'allow_http' if tokens may travel unencrypted",
        )
    number = _port(name, url, port)
    path = url.path.rstrip("/")
    if not _PREFIX.fullmatch(path):
        raise field_error(
            name, f"has the path {shown(path)}: use plain segments such as /gateway, without dots or spaces"
        )
    suffix = "" if number in {None, _DEFAULT_PORTS[scheme]} else f":{number}"
    return f"{scheme}://{bracketed(host)}{suffix}{path}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name: localhost and its sub-names, 127.0.0.0/8 and ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_proxy(text: str) -> bool:
    """Whether a text is the address of an HTTP proxy, with or without credentials."""
    try:
        url = urlsplit(text)
        return bool(url.scheme in {"http", "https"} and url.hostname and url.port != 0 and url.path in {"", "/"})
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def region_of(endpoint: str) -> str | None:
    """Return the region of an endpoint named ``<service>.<region>.<cloud>``, or ``None`` for any other name."""
    match = _REGIONAL_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    return match[1] if match else None


def regional_iam(endpoint: str, region: str | None) -> str | None:
    """
    Return where to log in: on this machine the endpoint itself, else the region's IAM host in the endpoint's cloud.

    That is the public cloud if the endpoint's name does not show one; ``None`` without a region.
    """
    host = urlsplit(endpoint).hostname or ""
    if is_loopback(host):
        return endpoint
    match = _REGIONAL_HOST.fullmatch(host)
    return f"https://iam.{region}.{match[2] if match else _PUBLIC_CLOUD}" if region else None


def _split(name: str, text: str) -> SplitResult:
    if not text:
        raise field_error(name, f"is missing: enter the MQS endpoint, such as {_EXAMPLE}")
    # checked first, so that no other error quotes a password
    if "@" in text.partition("://")[2].partition("/")[0] or "@" in text.partition("/")[0]:
        raise field_error(name, "contains credentials (an @ before the path): enter them as login and password")
    if any(character.isspace() or not character.isprintable() for character in text) or "\\" in text:
        raise field_error(name, f"is {shown(text)}: remove white space, line breaks and backslashes")
    if "?" in text or "#" in text:
        raise field_error(name, "has a query or fragment (? or #): enter only scheme, host, port and path prefix")
    try:
        bare = bracketed(str(ip_address(text)))
    except ValueError:
        bare = text
    try:
        return urlsplit(bare if "://" in bare else f"//{bare}")
    except ValueError:
        raise field_error(name, f"is {shown(text)}, which is not a valid address: write it like {_EXAMPLE}") from None


def _scheme(name: str, url: SplitResult, schema: str) -> str:
    for field, scheme in ((name, url.scheme), ("schema", schema)):
        if scheme and scheme not in _DEFAULT_PORTS:
            raise field_error(field, f"has the scheme {shown(scheme)}: use http or https")
    if url.scheme and schema and url.scheme != schema:
        raise field_error("schema", f"is {shown(schema)} but {name} says {url.scheme}: leave schema empty")
    return url.scheme or schema


def _port(name: str, url: SplitResult, other: int | str | None) -> int | None:
    try:
        mine, others = url.port, int(other or 0) or None
    except ValueError:
        raise field_error(
            "port", f"must be a whole number between 1 and {_HIGHEST_PORT}: correct it, also in {name}"
        ) from None
    if mine == 0 or not 0 < (others or 1) <= _HIGHEST_PORT:
        raise field_error("port", f"must be between 1 and {_HIGHEST_PORT}: correct it or leave it empty")
    if mine and others and mine != others:
        raise field_error("port", f"is {others} but {name} says {mine}: leave port empty, or drop it from {name}")
    return mine or others
