"""
The connection, checked and typed, and every rule about what may be left out of it.

Knows nothing of Airflow or HTTP: it is given the plain values of a connection and gives back addresses,
credentials and limits that the client can trust.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from airflow_provider_mqs.core.connection.endpoints import parse_endpoint, region_of, regional_iam
from airflow_provider_mqs.core.connection.field_types import field_error, shown
from airflow_provider_mqs.core.connection.fields import CONNECTION_FIELDS, FIELDS_BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AuthType = Literal["password", "access_key", "token"]
ApiStyle = Literal["auto", "dms", "mqs"]
Paging = Literal["auto", "page", "row"]

_SEGMENT: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
_REGION: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """
    What a connection says, after all defaults and checks of ``parse``.

    :param endpoint: ``scheme://host[:port][/prefix]`` of MQS, no slash at the end, no default port
    :param query_endpoint: the same for queries; equal to ``endpoint`` unless the connection names another one
    :param iam_endpoint: the same for logins; ``None`` only where no login is needed and none could be derived
    :param auth_type: how requests prove who sends them
    :param login: IAM user name, or access key id
    :param password: IAM password, or secret access key
    :param auth_token: the token of ``auth_type`` token, else ``""``
    :param security_token: the token of temporary access keys, else ``""``
    :param domain_name: account of the IAM user
    :param project_id: project; ``None`` means the project of the token
    :param instance_id: default instance
    :param region: given, or read from the host's name
    :param api_style: path flavour of the query
    :param paging: meaning of ``offset`` in the query
    :param page_size: rows per request, 1 to 50
    :param connect_timeout_s: seconds
    :param read_timeout_s: seconds
    :param max_retries: repeats of a request where that is safe
    :param verify_tls: whether the server's certificate is checked
    :param ca_bundle: file (or directory) of the CAs to trust
    :param client_cert: PEM file with certificate and key
    :param proxy: URL of the proxy
    :param allow_resend: guard rail: whether this connection may resend at all
    :param resend_topics: guard rail: globs of the topics that may be resent; empty allows all
    :param max_resend_messages: guard rail: most messages of one plan
    :param require_consumer_key: guard rail: whether a resend must name one consumer
    :param max_rate: guard rail: most messages per second
    :param unknown_extras: keys of ``extra`` that this package does not know
    """

    endpoint: str
    query_endpoint: str
    iam_endpoint: str | None
    auth_type: AuthType
    login: str
    password: str = field(repr=False)
    auth_token: str = field(repr=False)
    security_token: str = field(repr=False)
    domain_name: str | None
    project_id: str | None
    instance_id: str | None
    region: str | None
    api_style: ApiStyle
    paging: Paging
    page_size: int
    connect_timeout_s: float
    read_timeout_s: float
    max_retries: int
    verify_tls: bool
    ca_bundle: str | None
    client_cert: str | None
    proxy: str | None = field(repr=False)
    allow_resend: bool
    resend_topics: tuple[str, ...]
    max_resend_messages: int | None
    require_consumer_key: bool
    max_rate: float | None
    unknown_extras: tuple[str, ...]

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
        Read the plain values of a connection.

        :param host: MQS endpoint, with or without ``https://``, may carry port and path prefix
        :param schema: ``http``, ``https`` or empty
        :param port: TCP port; ``None`` and 0 (what Airflow's form makes of an empty field) mean absent
        :param login: IAM user name, or access key id
        :param password: IAM password, or secret access key
        :param extra: the further fields, by name; values may be text as URI connections have them
        :return: the settings
        :raises ConfigurationError: if anything is wrong or missing; it names the field and the remedy
        """
        raw = extra or {}
        value = {known.name: known.read(raw.get(known.name)) for known in CONNECTION_FIELDS}
        allow_http = value.pop("allow_http")
        endpoint = parse_endpoint("host", host or "", scheme=schema or "", port=port, allow_http=allow_http)
        query, iam = (
            value[name] and parse_endpoint(name, value[name], allow_http=allow_http)
            for name in ("query_endpoint", "iam_endpoint")
        )
        region = value["region"] or region_of(endpoint)
        changed = {
            "query_endpoint": query or endpoint,
            "iam_endpoint": (iam or regional_iam(endpoint, region) or "").removesuffix("/v3") or None,
            "region": region,
            "auth_token": value["auth_token"] or "",
            "security_token": value["security_token"] or "",
            "resend_topics": value["resend_topics"] or (),
            "connect_timeout_s": value.pop("connect_timeout"),
            "read_timeout_s": value.pop("read_timeout"),
        }
        unknown = tuple(str(name) for name in raw if name not in FIELDS_BY_NAME)
        settings = cls(
            endpoint=endpoint,
            login=login or "",
            password=password or "",
            unknown_extras=unknown,
            **(value | changed),
        )
        _check_texts(settings)
        _CREDENTIALS[settings.auth_type](settings)
        return settings

    @property
    def host(self) -> str:
        """``host[:port]`` of MQS: what XComs, assets and logs call the endpoint."""
        return urlsplit(self.endpoint).netloc

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must be masked wherever it turns up."""
        proxy = urlsplit(self.proxy or "").password or ""
        found = (self.password, self.auth_token, self.security_token, proxy, unquote(proxy))
        return tuple(dict.fromkeys(secret for secret in found if secret))

    @property
    def identity(self) -> str:
        """A digest of all that decides which token a login gives; safe to keep, to compare and to log."""
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
    """
    Check an id that becomes a part of a URL's path.

    :param name: the field or argument, for the error
    :param value: the id
    :return: the same id
    :raises ConfigurationError: if it holds a character that has a meaning in a path, or none that has not
    """
    if _SEGMENT.fullmatch(value):
        return value
    raise field_error(name, f"is {shown(value)}: an id has only letters, digits and . _ ~ -, so copy it again")


def _check_texts(settings: ConnectionSettings) -> None:
    for name in ("login", "password"):
        if not getattr(settings, name).isprintable():
            raise field_error(name, "has a line break or control character in it: enter it again without")
    for name in ("project_id", "instance_id"):
        if (value := getattr(settings, name)) is not None:
            path_segment(name, value)
    if settings.region is not None and not _REGION.fullmatch(settings.region):
        raise field_error("region", f"is {shown(settings.region)}: use a region id such as cn-north-4")
    if settings.proxy is not None:
        _check_proxy(settings.proxy)


def _check_proxy(proxy: str) -> None:
    try:
        url = urlsplit(proxy)
        fit = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and url.path in {"", "/"}
    except ValueError:
        fit = False
    if not fit:
        raise field_error("proxy", "is no proxy address: write it like http://user:secret@proxy.example.com:3128")


def _need(settings: ConnectionSettings, name: str, remedy: str) -> None:
    if not getattr(settings, name):
        raise field_error(name, f"is missing, and auth_type {settings.auth_type} needs it: {remedy}")


def _check_password(settings: ConnectionSettings) -> None:
    _need(settings, "login", "enter the IAM user name")
    _need(settings, "password", "enter the password of the IAM user")
    _need(settings, "domain_name", "enter the account (IAM domain) that the user belongs to")
    _need(settings, "iam_endpoint", "enter it, or enter 'region', which the name of the host does not tell")
    if settings.project_id is None:
        _need(settings, "region", "enter it, or enter 'project_id'")


def _check_access_key(settings: ConnectionSettings) -> None:
    _need(settings, "login", "enter the access key id")
    _need(settings, "password", "enter the secret access key")
    _need(settings, "project_id", "enter the id of the project")
    if not settings.login.isascii() or " " in settings.login + settings.password:
        raise field_error(
            "login",
            "or 'password' is no access key, since a space or a foreign letter is in it: copy both again",
        )


def _check_token(settings: ConnectionSettings) -> None:
    _need(settings, "auth_token", "enter an IAM token, or choose another auth_type")
    _need(settings, "project_id", "enter the id of the project that the token was issued for")


_CREDENTIALS: Final[Mapping[AuthType, Callable[[ConnectionSettings], None]]] = {
    "password": _check_password,
    "access_key": _check_access_key,
    "token": _check_token,
}
