"""
Who we are, as flows: a request goes in, the service's answer to the authorized request comes out.

A token is renewed before it expires, and once when the service answers 401. A wrong password is tried once, since a few
tries lock the user (IAM's default: 5 in 15 minutes); a wrong signature likewise (5 in a row lock the key).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_mqs.core.client.errors import PROJECT_MISMATCH, number_of
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Wait
from airflow_provider_mqs.core.client.retry import RetryPolicy, retrying
from airflow_provider_mqs.core.client.signing import sign
from airflow_provider_mqs.core.client.token_cache import Token, TokenSlot, slot_for
from airflow_provider_mqs.exceptions import AuthenticationError, ConfigurationError, MqsError, ProtocolError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_RENEW_AHEAD_S = 600.0


class Auth(Protocol):
    """A way to be let in."""

    def send(self, request: Request, policy: RetryPolicy) -> Flow[Response]:
        """Send a request with credentials."""
        ...

    def project_id(self, policy: RetryPolicy) -> Flow[str]:
        """Find the project that the credentials are for."""
        ...


@dataclass(frozen=True, slots=True)
class PasswordAuth:
    """
    Log in with an IAM user, then show the token.

    Source: IAM API reference, "Obtaining a User Token Through Password Authentication".

    :param login: the request that fetches a token; it holds the password
    :param slot: where the token lives
    :param on_secret: told of each new token, so that it can be masked in logs
    :param clock: monotonic seconds
    """

    login: Request
    slot: TokenSlot
    on_secret: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic

    def send(self, request: Request, policy: RetryPolicy) -> Flow[Response]:
        """
        Send a request with the token; with a fresh one, once, where the service no longer takes the old one.

        :param request: without credentials
        :param policy: how often and how long
        :return: the answer
        :raises ApiError: the service refused; a 401 only after one fresh login
        """
        token = yield from self.token(policy)
        try:
            return (yield from retrying(request, policy, _with_token(token.value)))
        except AuthenticationError as error:
            if number_of(error.error_code) == PROJECT_MISMATCH:
                raise
        token = yield from self.token(policy, stale=token)
        return (yield from retrying(request, policy, _with_token(token.value)))

    def token(self, policy: RetryPolicy, stale: Token | None = None) -> Flow[Token]:
        """
        Give the token of this identity; log in where there is none.

        :param policy: how often and how long
        :param stale: a token that the service no longer takes
        :return: a good token
        :raises ApiError: IAM refused
        """
        while True:
            held = self.slot.claim(stale)
            if isinstance(held, Token):
                return held
            if held is None:
                return (yield from self._log_in(policy))
            yield Wait(held)

    def project_id(self, policy: RetryPolicy) -> Flow[str]:
        """
        Read the project from the token.

        :param policy: how often and how long
        :return: the project id
        :raises ConfigurationError: IAM did not say
        """
        token = yield from self.token(policy)
        if not token.project_id:
            raise ConfigurationError("The IAM token names no project; put project_id into the connection.")
        return token.project_id

    def _log_in(self, policy: RetryPolicy) -> Flow[Token]:
        try:
            token = self._read((yield from retrying(self.login, policy)))
            self.on_secret(token.value)
        except BaseException as error:
            if isinstance(error, MqsError):
                error.at_login = True
            self.slot.settle(None, error)
            raise
        self.slot.settle(token)
        return token

    def _read(self, response: Response) -> Token:
        value = response.headers.get("x-subject-token", "")
        if not value:
            raise ProtocolError("IAM's answer has no X-Subject-Token header; is iam_endpoint an IAM endpoint?")
        body = _dict(_dict(response.json()).get("token"))
        project = _dict(body.get("project")).get("id")
        life_s = _seconds_between(body.get("issued_at"), body.get("expires_at"))
        renew_in = max(life_s - _RENEW_AHEAD_S, life_s / 2)
        return Token(value, project if isinstance(project, str) else "", self.clock() + renew_in)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """
    Show a token that somebody else fetched; nothing can renew it.

    :param value: the token
    """

    value: str = field(repr=False)

    def send(self, request: Request, policy: RetryPolicy) -> Flow[Response]:
        """
        Send a request with the token.

        :param request: without credentials
        :param policy: how often and how long
        :return: the answer
        :raises ApiError: the service refused
        """
        return (yield from retrying(request, policy, _with_token(self.value)))

    def project_id(self, policy: RetryPolicy) -> Flow[str]:  # noqa: ARG002 - the protocol's signature
        """
        Say that a bare token does not tell its project.

        :param policy: unused
        :raises ConfigurationError: always
        """
        raise ConfigurationError("auth_type token needs project_id in the connection.")
        yield  # a flow, like its siblings


@dataclass(frozen=True, slots=True)
class AccessKeyAuth:
    """
    Sign each request with an access key.

    :param access_key: access key id
    :param secret_key: secret access key
    :param security_token: of temporary keys, else ``""``
    :param now: the time of signing
    """

    access_key: str
    secret_key: str = field(repr=False)
    security_token: str = field(repr=False)
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)

    def send(self, request: Request, policy: RetryPolicy) -> Flow[Response]:
        """
        Send a request with a signature, made anew for each attempt; a 401 is final, since five lock the key.

        :param request: without credentials
        :param policy: how often and how long
        :return: the answer
        :raises ApiError: the service refused
        """
        return (yield from retrying(request, policy, self._sign))

    def project_id(self, policy: RetryPolicy) -> Flow[str]:  # noqa: ARG002 - the protocol's signature
        """
        Say that an access key does not tell its project.

        :param policy: unused
        :raises ConfigurationError: always
        """
        raise ConfigurationError("auth_type access_key needs project_id in the connection.")
        yield  # a flow, like its siblings

    def _sign(self, request: Request) -> Request:
        return sign(
            request,
            access_key=self.access_key,
            secret_key=self.secret_key,
            security_token=self.security_token,
            now=self.now(),
        )


def auth_for(settings: ConnectionSettings, on_secret: Callable[[str], object]) -> Auth:
    """
    Choose the way in that a connection asks for.

    :param settings: the connection
    :param on_secret: told of each new token
    :return: the scheme of ``auth_type``
    """
    if settings.auth_type == "token":
        return TokenAuth(settings.auth_token)
    if settings.auth_type == "access_key":
        return AccessKeyAuth(settings.login, settings.password, settings.security_token)
    return PasswordAuth(login_request(settings), slot_for(settings.identity), on_secret)


def login_request(settings: ConnectionSettings) -> Request:
    """
    Write the request for a token.

    :param settings: the connection; its project, or else the project named like its region, becomes the scope
    :return: ``POST /v3/auth/tokens``, without the service catalogue in the answer
    """
    user = {"name": settings.login, "password": settings.password, "domain": {"name": settings.domain_name}}
    project = {"id": settings.project_id} if settings.project_id else {"name": settings.region}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": project}}}
    return Request(
        "POST",
        f"{settings.iam_endpoint}/v3/auth/tokens?nocatalog=true",
        {"Content-Type": "application/json;charset=utf8"},
        json.dumps(body).encode(),
    )


def _with_token(value: str) -> Callable[[Request], Request]:
    return lambda request: replace(request, headers={**request.headers, "X-Auth-Token": value})


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds_between(start: Any, end: Any) -> float:
    """Read a token's life off IAM's own clock, since ours may be off; a day (IAM's rule) where that fails."""
    try:
        return max(0.0, (_instant(end) - _instant(start)).total_seconds())
    except (TypeError, ValueError, AttributeError):
        return 86_400.0


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
