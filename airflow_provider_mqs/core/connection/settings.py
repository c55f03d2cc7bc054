"""
The connection, checked and typed, and every rule about what may be left empty.

Knows neither Airflow nor HTTP: plain values of a connection go in; addresses, credentials and limits that the client
can trust come out.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from airflow_provider_mqs.core.connection.endpoints import is_proxy, parse_endpoint, region_of, regional_iam
from airflow_provider_mqs.core.connection.field_types import field_error, shown
from airflow_provider_mqs.core.connection.fields import CONNECTION_FIELDS, FIELDS_BY_NAME, ConnectionFields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# not "." or "..", which would lead to another path
_SEGMENT: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
_REGION: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings(ConnectionFields):
    """
    The fields of a connection, with all defaults applied and all checks passed.

    Beyond what ``ConnectionFields`` says: ``iam_endpoint`` and ``region`` are derived from the host if possible.
    """

    endpoint: str
    """``scheme://host[:port][/prefix]`` of MQS, without a slash at the end or the scheme's default port."""
    query_endpoint: str
    """The same for queries; equal to ``endpoint`` unless the connection names another one."""
    login: str
    """IAM user name, or access key id."""
    password: str = field(repr=False)
    """IAM password, or secret access key."""
    unknown_extras: tuple[str, ...]
    """Keys of ``extra`` that this package does not know."""

    @classmethod
    def parse(
        cls,
        *,
        host: str | None,
        schema: str | None = None,
        port: int | str | None = None,
        login: str | None = None,
        password: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ConnectionSettings:
        """
        Read the plain values of a connection; raise ``ConfigurationError`` with field and remedy if one is wrong.

        Values of ``extra`` may be text, as in a connection given as a URI. A ``port`` of 0 means that there is none:
        Airflow's form makes it of an empty field.
        """
        raw = extra or {}
        values = {known.name: known.read(raw.get(known.name)) for known in CONNECTION_FIELDS}
        entered = ConnectionFields(**values)

        def parsed(name: str, text: str | None) -> str | None:
            return parse_endpoint(name, text, allow_http=entered.allow_http) if text else None

        endpoint = parse_endpoint("host", host or "", scheme=schema or "", port=port, allow_http=entered.allow_http)
        query_endpoint = parsed("query_endpoint", entered.query_endpoint) or endpoint
        region = entered.region or region_of(endpoint)
        iam_endpoint = parsed("iam_endpoint", entered.iam_endpoint) or regional_iam(endpoint, region) or ""
        derived = {
            "endpoint": endpoint,
            "query_endpoint": query_endpoint,
            # often copied with the version, which the login adds itself
            "iam_endpoint": iam_endpoint.removesuffix("/v3") or None,
            "region": region,
            "login": login or "",
            "password": password or "",
            "unknown_extras": tuple(str(name) for name in raw if name not in FIELDS_BY_NAME),
        }
        return cls(**(values | derived))

    def __post_init__(self) -> None:
        for name, text in (("login", self.login), ("password", self.password)):
            if not text.isprintable():
                raise field_error(name, "contains a line break or control character: enter it again without")
        for name, value in (("project_id", self.project_id), ("instance_id", self.instance_id)):
            if value is not None:
                path_segment(name, value)
        if self.region is not None and not _REGION.fullmatch(self.region):
            raise field_error("region", f"is {shown(self.region)}: use a region id such as cn-north-4")
        if self.proxy is not None and not is_proxy(self.proxy):
            raise field_error(
                "proxy", "is not a proxy address: write it like http://user:secret@proxy.example.com:3128"
            )
        if self.auth_type == "access_key" and (not self.login.isascii() or " " in self.login + self.password):
            raise field_error(
                "login",
                "or 'password' is not an access key, as it contains a space or a non-ASCII letter: copy both again",
            )
        for name, required, remedy in _required(self):
            if not required:
                raise field_error(name, f"is missing, but auth_type {self.auth_type} needs it: {remedy}")

    @property
    def host(self) -> str:
        """``host[:port]`` of MQS: what XComs, assets and logs call the endpoint."""
        return urlsplit(self.endpoint).netloc

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must be masked wherever it turns up."""
        proxy = urlsplit(self.proxy or "").password or ""
        # the proxy's password is part of a URL: an error may quote it with or without percent-encoding
        found = (self.password, self.auth_token, self.security_token, proxy, unquote(proxy))
        return tuple(dict.fromkeys(secret for secret in found if secret))

    @property
    def identity(self) -> str:
        """A digest of all that decides which token a login returns; safe to keep, to compare and to log."""
        parts = [
            self.iam_endpoint,
            self.auth_type,
            self.domain_name,
            self.login,
            self.password,
            self.auth_token,
            self.security_token,
            self.project_id,
            self.region,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def path_segment(name: str, value: str) -> str:
    """Return an id that is safe as one segment of a URL's path; else raise an error for the field of this name."""
    if _SEGMENT.fullmatch(value):
        return value
    raise field_error(name, f"is {shown(value)}: an id has only letters, digits and . _ ~ -, so copy it again")


def _required(settings: ConnectionSettings) -> Iterator[tuple[str, str | None, str]]:
    """Yield what the connection's ``auth_type`` cannot do without: field, its value, and the remedy."""
    if settings.auth_type == "token":
        yield "auth_token", settings.auth_token, "enter an IAM token, or choose another auth_type"
        yield "project_id", settings.project_id, "enter the id of the project that the token was issued for"
    elif settings.auth_type == "access_key":
        yield "login", settings.login, "enter the access key id"
        yield "password", settings.password, "enter the secret access key"
        yield "project_id", settings.project_id, "enter the id of the project"
    else:
        yield "login", settings.login, "enter the IAM user name"
        yield "password", settings.password, "enter the password of the IAM user"
        yield "domain_name", settings.domain_name, "enter the account (IAM domain) that the user belongs to"
        yield (
            "iam_endpoint",
            settings.iam_endpoint,
            "enter it, or enter 'region', which the host's name does not reveal",
        )
        yield "region", settings.region or settings.project_id, "enter it, or enter 'project_id'"
