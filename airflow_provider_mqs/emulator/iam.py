"""
Who is asking: the token call of IAM, the check of tokens, and the check of signatures with their locks.

Tokens carry their own claims under a keyed hash, so they survive a restart of the service without being stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Outcome, json_response
from airflow_provider_mqs.emulator.signing import ALGORITHM, parse_authorization, signature, signed_at_s

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.call import Call
    from airflow_provider_mqs.emulator.http import HttpRequest
    from airflow_provider_mqs.emulator.state import State

WRONG_PASSWORDS = 5
PASSWORD_LOCK_S = 15 * 60
BAD_SIGNATURES = 5
SIGNATURE_LOCK_S = 5 * 60
SKEW_S = 15 * 60
_TOKEN_KEY = b"the emulator's own key; its tokens open nothing else"


@dataclass(slots=True)
class Lock:
    """
    Failures in a row, and the lock that follows.

    :param limit: failures that lock
    :param seconds: how long the lock holds
    """

    limit: int
    seconds: float
    failures: int = 0
    until_s: float = 0.0

    def locked(self, now_s: float) -> bool:
        """
        Look at the lock.

        :param now_s: epoch seconds
        :return: whether it holds
        """
        return now_s < self.until_s

    def failed(self, now_s: float) -> None:
        """
        Count a failure.

        :param now_s: epoch seconds
        """
        self.failures += 1
        if self.failures >= self.limit:
            self.failures, self.until_s = 0, now_s + self.seconds


@dataclass
class Iam:
    """
    The identity service and the gateway's check.

    :param state: identity, clock, switches
    """

    state: State
    _password: Lock = field(default_factory=lambda: Lock(WRONG_PASSWORDS, PASSWORD_LOCK_S))
    _keys: dict[str, Lock] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    def login(self, call: Call) -> Outcome:
        """
        Answer ``POST /v3/auth/tokens``: 201 and a token in ``X-Subject-Token``.

        :param call: the request
        :return: the answer
        :raises ServiceError: for a wrong body, user or project, or while the account is locked
        """
        user, scope = _credentials(call)
        self._check_password(user)
        project_id = self._project(scope)
        token, expires_s = self.issue(project_id)
        body = {"token": self._describe(project_id, expires_s, catalog=call.text("nocatalog") is None)}
        return Outcome(json_response(201, body, {"X-Subject-Token": token}))

    def _check_password(self, user: tuple[str, str, str]) -> None:
        identity, now_s = self.state.identity, self.state.clock()
        if self._password.locked(now_s):
            raise ServiceError("iam_locked")
        if user != (identity.domain, identity.user, identity.password):
            self._password.failed(now_s)
            raise ServiceError("iam_password")
        self._password.failures = 0

    def _project(self, scope: dict[str, Any]) -> str:
        wanted = scope.get("project")
        if not wanted:
            return ""
        for project_id, name in self.state.identity.projects.items():
            if wanted.get("id", project_id) == project_id and wanted.get("name", name) == name:
                return project_id
        raise ServiceError("iam_project")

    def issue(self, project_id: str) -> tuple[str, float]:
        """
        Make a token.

        :param project_id: project of its scope; empty for none
        :return: the token, and when it expires in epoch seconds
        """
        expires_s = self.state.now_s() + self.state.behaviour.token_lifetime_s
        claims = {"project": project_id, "expires": expires_s, "id": secrets.token_hex(8)}
        missing = max(0, self.state.behaviour.token_bytes * 3 // 4 - len(json.dumps(claims)) - 64)
        payload = base64.urlsafe_b64encode(json.dumps({**claims, "roles": "x" * missing}).encode()).decode()
        return f"{payload}.{_seal(payload)}", expires_s

    def _describe(self, project_id: str, expires_s: float, *, catalog: bool) -> dict[str, Any]:
        identity = self.state.identity
        domain = {"id": "d" * 32, "name": identity.domain}
        name = identity.projects.get(project_id, "")
        return {
            "expires_at": _iso(expires_s),
            "issued_at": _iso(self.state.now_s()),
            "methods": ["password"],
            **({"project": {"id": project_id, "name": name, "domain": domain}} if project_id else {"domain": domain}),
            "user": {"id": "u" * 32, "name": identity.user, "domain": domain, "password_expires_at": ""},
            "roles": [{"id": "0", "name": "te_admin"}],
            **({"catalog": []} if catalog else {}),
        }

    def projects(self, call: Call) -> Outcome:
        """
        Answer ``GET /v3/projects``, by ``name`` if given.

        :param call: the request
        :return: the answer
        """
        name = call.text("name")
        found = [
            {"id": project_id, "name": one, "domain_id": "d" * 32, "enabled": True}
            for project_id, one in self.state.identity.projects.items()
            if name in {None, one}
        ]
        return Outcome(json_response(200, {"projects": found, "links": {"next": None, "previous": None}}))

    def check(self, request: HttpRequest) -> str | None:
        """
        Let a request in, or not.

        :param request: as it came
        :return: the project of its token; ``None`` for a signed request, whose key serves every project of the account
        :raises ServiceError: 401 in the gateway's words
        """
        if request.headers.get("authorization", "").startswith(ALGORITHM):
            self._check_signature(request)
            return None
        if not (token := request.headers.get("x-auth-token", "")):
            raise ServiceError("bad_auth", "x-auth-token not found")
        return self._check_token(token)

    def _check_token(self, token: str) -> str:
        payload, _, seal = token.partition(".")
        if not hmac.compare_digest(seal.encode(), _seal(payload).encode()):
            raise ServiceError("bad_auth", "decrypt token fail")
        claims = json.loads(base64.urlsafe_b64decode(payload))
        if claims["expires"] <= self.state.now_s():
            raise ServiceError("bad_auth", f"token expires, expires_at {_iso(claims['expires'])}")
        self._uses[claims["id"]] += 1
        limit = self.state.faults.token_requests
        if limit is not None and self._uses[claims["id"]] > limit:
            raise ServiceError("token_dead")
        return str(claims["project"])

    def _check_signature(self, request: HttpRequest) -> None:
        access, names, given = parse_authorization(request.headers["authorization"]) or ("", (), "")
        secret = self._secret(access, request)
        lock, now_s = self._keys.setdefault(access, Lock(BAD_SIGNATURES, SIGNATURE_LOCK_S)), self.state.clock()
        if secret is None:
            raise ServiceError("bad_auth", f"Get secretKey failed,ak:{access},err:ak not exist")
        if lock.locked(now_s):
            raise ServiceError("bad_auth", "AK access failed to reach the limit,forbidden")
        if problem := self._problem(request, names, given, secret):
            lock.failed(now_s)
            raise ServiceError("bad_auth", problem)
        lock.failures = 0

    def _secret(self, access: str, request: HttpRequest) -> str | None:
        identity = self.state.identity
        if access == identity.access_key:
            return identity.secret_key
        security_token = request.headers.get("x-security-token")
        if access == identity.temporary_access_key and security_token == identity.security_token:
            return identity.temporary_secret_key
        return None

    def _problem(self, request: HttpRequest, names: tuple[str, ...], given: str, secret: str) -> str:
        signed_s, now_s = signed_at_s(request), self.state.now_s()
        if "x-sdk-date" not in names or signed_s is None:
            return "verify aksk signature fail,x-sdk-date is not signed"
        if abs(now_s - signed_s) > SKEW_S:
            return f"signature expired, signature time:{_compact(signed_s)},server time:{_compact(now_s)}"
        if not hmac.compare_digest(signature(request, names, secret), given):
            return "verify aksk signature fail"
        return ""

    def unlock(self) -> None:
        """Forget wrong passwords, bad signatures and how often tokens were used."""
        self._password = Lock(WRONG_PASSWORDS, PASSWORD_LOCK_S)
        self._keys.clear()
        self._uses.clear()


def _credentials(call: Call) -> tuple[tuple[str, str, str], dict[str, Any]]:
    try:
        auth = call.body()["auth"]
        user = auth["identity"]["password"]["user"]
        found = user["domain"]["name"], user["name"], user["password"]
        scope = auth.get("scope", {})
        project = scope.get("project") or {}
        valid = auth["identity"]["methods"] == ["password"] and isinstance(project, dict)
    except (ServiceError, KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ServiceError("iam_body")
    return found, scope


def _seal(payload: str) -> str:
    return hmac.new(_TOKEN_KEY, payload.encode(), hashlib.sha256).hexdigest()


def _iso(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _compact(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
