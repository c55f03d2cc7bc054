"""
Credentials, as flows: a request goes in, the response to the authorized request comes out.

A token is renewed before it expires, and once when the service answers 401. A wrong password is tried once, since a few
tries lock the user (IAM's default: 5 in 15 minutes); so is a wrong signature (5 in a row lock the key).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_mqs.core.client.errors import PROJECT_MISMATCH, number_of
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Wait
from airflow_provider_mqs.core.client.retry import RetryPolicy, retrying
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.client.signing import sign
from airflow_provider_mqs.core.client.token_cache import Token, TokenSlot, slot_for
from airflow_provider_mqs.exceptions import AuthenticationError, ConfigurationError, MqsError, ProtocolError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_RENEW_AHEAD_S = 600.0


class Auth(Protocol):
    """One way to authorize requests."""

    def send(self, request: Request, policy: RetryPolicy, clock: ServiceClock) -> Flow[Response]:
        """Send a request with credentials; ``clock`` learns from the answers."""
        ...

    def project_id(self, policy: RetryPolicy, clock: ServiceClock) -> Flow[str]:
        """Return the project that the credentials are for."""
        ...


@dataclass(frozen=True, slots=True)
class PasswordAuth:
    """
    Log in as an IAM user, then send the token.

    Source: IAM API reference, "Obtaining a User Token Through Password Authentication".
    """

    login: Request  # its body holds the password
    slot: TokenSlot
    on_secret: Callable[[str], object]  # called with each new token, so that it can be masked in logs

    def send(self, request: Request, policy: RetryPolicy, clock: ServiceClock) -> Flow[Response]:
        """Send a request with the token and, after a 401, once more with a fresh one."""
        token = yield from self.token(policy, clock)
        try:
            return (yield from retrying(request, policy, clock, _with_token(token.value)))
        except AuthenticationError as error:
            if number_of(error.error_code) == PROJECT_MISMATCH:
                raise  # a fresh token would be for the same project
        token = yield from self.token(policy, clock, stale=token)
        return (yield from retrying(request, policy, clock, _with_token(token.value)))

    def token(self, policy: RetryPolicy, clock: ServiceClock, stale: Token | None = None) -> Flow[Token]:
        """
        Return the token of this identity, after a login if there is none but ``stale``.

        ``clock`` falls back to IAM's clock.
        """
        while True:
            held = self.slot.claim(stale)
            if held is None:
                held = yield from self._log_in(policy)
            if isinstance(held, Token):
                clock.fallback = held.iam_clock
                return held
            yield Wait(held)

    def project_id(self, policy: RetryPolicy, clock: ServiceClock) -> Flow[str]:
        """Return the project of the token."""
        token = yield from self.token(policy, clock)
        if not token.project_id:
            raise ConfigurationError("The IAM token names no project: enter 'project_id' in the connection.")
        return token.project_id

    def _log_in(self, policy: RetryPolicy) -> Flow[Token]:
        iam_clock = ServiceClock(self.slot.monotonic)
        asked_s = iam_clock.monotonic()
        try:
            response = yield from retrying(self.login, policy, iam_clock)
            token = self._read(response, iam_clock, asked_s)
            self.on_secret(token.value)
        except BaseException as error:  # also when the flow is closed, or others would wait for ever
            if isinstance(error, MqsError):
                error.at_login = True
            self.slot.complete(None, error)
            raise
        self.slot.complete(token)
        return token

    def _read(self, response: Response, iam_clock: ServiceClock, asked_s: float) -> Token:
        value = response.headers.get("x-subject-token", "")
        if not value:
            raise ProtocolError("IAM's answer has no X-Subject-Token header; is iam_endpoint an IAM endpoint?")
        body = _dict(_dict(response.json()).get("token"))
        project = _dict(body.get("project")).get("id")
        now_s = iam_clock.monotonic()
        issued, expires = _instant(body.get("issued_at")), _instant(body.get("expires_at"))
        if issued and not iam_clock.known:
            # it may be rounded to seconds
            iam_clock.note(issued.timestamp() * 1000, issued.timestamp() * 1000 + 1000, asked_s, now_s)
        # by IAM's own clock, since ours may be off; 24 hours is IAM's rule
        life_s = max(0.0, (expires - issued).total_seconds()) if issued and expires else 86_400.0
        renew_in_s = max(life_s - _RENEW_AHEAD_S, life_s / 2)
        return Token(value, project if isinstance(project, str) else "", now_s + renew_in_s, iam_clock)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """Send a token that the user has fetched; nothing can renew it."""

    value: str = field(repr=False)

    def send(self, request: Request, policy: RetryPolicy, clock: ServiceClock) -> Flow[Response]:
        """Send a request with the token."""
        return (yield from retrying(request, policy, clock, _with_token(self.value)))

    def project_id(self, policy: RetryPolicy, clock: ServiceClock) -> Flow[str]:  # noqa: ARG002 - the protocol's signature
        """Raise ``ConfigurationError``: a bare token does not show its project."""
        raise ConfigurationError("auth_type token needs project_id in the connection.")
        yield  # a flow, like its siblings


@dataclass(frozen=True, slots=True)
class AccessKeyAuth:
    """Sign each request with an access key; ``security_token`` belongs to temporary keys and is else ``""``."""

    access_key: str
    secret_key: str = field(repr=False)
    security_token: str = field(repr=False)
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)

    def send(self, request: Request, policy: RetryPolicy, clock: ServiceClock) -> Flow[Response]:
        """Send a request with a new signature for each attempt; a 401 is final, since five lock the key."""
        return (
            yield from retrying(
                request,
                policy,
                clock,
                lambda request: sign(
                    request,
                    access_key=self.access_key,
                    secret_key=self.secret_key,
                    security_token=self.security_token,
                    now=self.now(),
                ),
            )
        )

    def project_id(self, policy: RetryPolicy, clock: ServiceClock) -> Flow[str]:  # noqa: ARG002 - the protocol's signature
        """Raise ``ConfigurationError``: an access key does not show its project."""
        raise ConfigurationError("auth_type access_key needs project_id in the connection.")
        yield  # a flow, like its siblings


def auth_for(settings: ConnectionSettings, on_secret: Callable[[str], object]) -> Auth:
    """Return the credentials that the connection's ``auth_type`` asks for."""
    if settings.auth_type == "token":
        return TokenAuth(settings.auth_token)
    if settings.auth_type == "access_key":
        return AccessKeyAuth(settings.login, settings.password, settings.security_token)
    return PasswordAuth(login_request(settings), slot_for(settings.identity), on_secret)


def login_request(settings: ConnectionSettings) -> Request:
    """Build the login for the connection's project or, without one, for the project named like its region."""
    user = {"name": settings.login, "password": settings.password, "domain": {"name": settings.domain_name}}
    project = {"id": settings.project_id} if settings.project_id else {"name": settings.region}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": project}}}
    return Request(
        "POST",
        f"{settings.iam_endpoint}/v3/auth/tokens?nocatalog=true",  # the service catalogue is long, and of no use here
        {"Content-Type": "application/json;charset=utf8"},
        json.dumps(body).encode(),
    )


def _with_token(value: str) -> Callable[[Request], Request]:
    return lambda request: request.with_header("X-Auth-Token", value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _instant(text: Any) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (TypeError, ValueError, AttributeError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)
