"""
Who is asking: the token call of IAM, and the gateway's check of tokens and signatures, with their locks.

Tokens carry their own claims under a keyed hash, so they survive a restart of the service without being stored. The
signature SDK-HMAC-SHA256 is written from the vendor's description (API Gateway, "AK/SK signing"), apart from the
client's signer, so that each of the two tests the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Call, HttpRequest, OperationResult, json_response

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.state import State

ALGORITHM = "SDK-HMAC-SHA256"
WRONG_PASSWORDS = 5
PASSWORD_LOCK_S = 15 * 60
BAD_SIGNATURES = 5
SIGNATURE_LOCK_S = 5 * 60
SKEW_S = 15 * 60
_TOKEN_KEY = b"the emulator's own key; its tokens open nothing else"
_ISO = "%Y-%m-%dT%H:%M:%S.%fZ"
_COMPACT = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    ALGORITHM
    + r" Access=(?P<access>[^,\s]+), ?SignedHeaders=(?P<names>[^,\s]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(slots=True)
class Lock:
    """Failures in a row, and the lock that follows them."""

    limit: int  # failures that lock
    seconds: float  # how long the lock holds
    failures: int = 0
    until_s: float = 0.0

    def failed(self, now_s: float) -> None:
        """Count a failure."""
        self.failures += 1
        if self.failures >= self.limit:
            self.failures, self.until_s = 0, now_s + self.seconds


@dataclass
class Iam:
    """The identity service, and the gateway that asks it."""

    state: State
    _password: Lock = field(default_factory=lambda: Lock(WRONG_PASSWORDS, PASSWORD_LOCK_S))
    _keys: dict[str, Lock] = field(default_factory=dict)  # by access key id
    _uses: Counter[str] = field(default_factory=Counter)  # requests by token

    def login(self, call: Call) -> OperationResult:
        """Answer ``POST /v3/auth/tokens``: 201 and a token in ``X-Subject-Token``."""
        user, scope = _credentials(call)
        identity, clock_s = self.state.identity, self.state.clock()
        if clock_s < self._password.until_s:
            raise ServiceError("iam_locked")
        if user != (identity.domain, identity.user, identity.password):
            self._password.failed(clock_s)
            raise ServiceError("iam_password")
        self._password.failures = 0
        project_id = self._scoped_project(scope)
        token, expires_s = self.issue(project_id)
        domain = {"id": "d" * 32, "name": identity.domain}
        project = {"id": project_id, "name": identity.projects.get(project_id, ""), "domain": domain}
        body = {
            "expires_at": _utc(expires_s, _ISO),
            "issued_at": _utc(self.state.now_s(), _ISO),
            "methods": ["password"],
            **({"project": project} if project_id else {"domain": domain}),
            "user": {"id": "u" * 32, "name": identity.user, "domain": domain, "password_expires_at": ""},
            "roles": [{"id": "0", "name": "te_admin"}],
            **({"catalog": []} if call.text("nocatalog") is None else {}),
        }
        return OperationResult(json_response(201, {"token": body}, {"X-Subject-Token": token}))

    def _scoped_project(self, scope: dict[str, Any]) -> str:
        wanted = scope.get("project")
        if not wanted:
            return ""
        for project_id, name in self.state.identity.projects.items():
            if wanted.get("id", project_id) == project_id and wanted.get("name", name) == name:
                return project_id
        raise ServiceError("iam_project")

    def issue(self, project_id: str) -> tuple[str, float]:
        """Make a token for a project (empty for none), and return it with its expiry in epoch seconds."""
        expires_s = self.state.now_s() + self.state.behaviour.token_lifetime_s
        claims = {"project": project_id, "expires": expires_s, "id": self.state.new_id()}
        # real tokens are thousands of characters long, which some proxies refuse; the seal takes 64
        missing = max(0, self.state.behaviour.token_bytes * 3 // 4 - len(json.dumps(claims)) - 64)
        payload = base64.urlsafe_b64encode(json.dumps({**claims, "roles": "x" * missing}).encode()).decode()
        return f"{payload}.{_seal(payload)}", expires_s

    def projects(self, call: Call) -> OperationResult:
        """Answer ``GET /v3/projects``, narrowed by ``name`` if the request has it."""
        wanted = call.text("name")
        found = [
            {"id": project_id, "name": name, "domain_id": "d" * 32, "enabled": True}
            for project_id, name in self.state.identity.projects.items()
            if wanted in {None, name}
        ]
        return OperationResult(json_response(200, {"projects": found, "links": {"next": None, "previous": None}}))

    def authenticate(self, request: HttpRequest) -> str | None:
        """
        Check the token or the signature of a request, and return the project of the token.

        ``None`` means a signed request, whose key serves every project of the account. Anything else is a 401 in the
        gateway's words.
        """
        if request.headers.get("authorization", "").startswith(ALGORITHM):
            self._check_signature(request)
            return None
        if not (token := request.headers.get("x-auth-token", "")):
            raise ServiceError("bad_auth", "x-auth-token not found")
        payload, _, seal = token.partition(".")
        if not hmac.compare_digest(seal.encode(), _seal(payload).encode()):
            raise ServiceError("bad_auth", "decrypt token fail")
        claims = json.loads(base64.urlsafe_b64decode(payload))
        if claims["expires"] <= self.state.now_s():
            raise ServiceError("bad_auth", f"token expires, expires_at {_utc(claims['expires'], _ISO)}")
        self._uses[claims["id"]] += 1
        limit = self.state.faults.token_requests
        if limit is not None and self._uses[claims["id"]] > limit:
            raise ServiceError("token_dead")
        return str(claims["project"])

    def _check_signature(self, request: HttpRequest) -> None:
        access, names, claimed = parse_authorization(request.headers["authorization"]) or ("", (), "")
        secret = self.state.identity.secret_of(access, request.headers.get("x-security-token"))
        if secret is None:
            raise ServiceError("bad_auth", f"Get secretKey failed,ak:{access},err:ak not exist")
        lock, clock_s = self._keys.setdefault(access, Lock(BAD_SIGNATURES, SIGNATURE_LOCK_S)), self.state.clock()
        if clock_s < lock.until_s:
            raise ServiceError("bad_auth", "AK access failed to reach the limit,forbidden")
        signed_s, now_s = signed_at_s(request), self.state.now_s()
        problem = ""
        if "x-sdk-date" not in names or signed_s is None:
            problem = "verify aksk signature fail,x-sdk-date is not signed"
        elif abs(now_s - signed_s) > SKEW_S:
            times = f"signature time:{_utc(signed_s, _COMPACT)},server time:{_utc(now_s, _COMPACT)}"
            problem = f"signature expired, {times}"
        elif not hmac.compare_digest(signature(request, names, secret), claimed):
            problem = "verify aksk signature fail"
        if problem:
            lock.failed(clock_s)
            raise ServiceError("bad_auth", problem)
        lock.failures = 0


def parse_authorization(value: str) -> tuple[str, tuple[str, ...], str] | None:
    """Split an ``Authorization`` header into access key id, names of the signed headers and signature."""
    match = _AUTHORIZATION.fullmatch(value)
    return (match["access"], tuple(match["names"].split(";")), match["signature"]) if match else None


def signature(request: HttpRequest, names: tuple[str, ...], secret: str) -> str:
    """Return the signature that a request must have; the names of the signed headers are in lower case."""
    uri = "/".join(quote(unquote(part), safe="~") for part in request.path.split("/"))
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in request.query.items())
    canonical = "\n".join(
        (
            request.method,
            uri if uri.endswith("/") else uri + "/",
            "&".join(f"{name}={value}" for name, value in pairs),
            "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names),
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{request.headers.get('x-sdk-date', '')}\n{digest}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def signed_at_s(request: HttpRequest) -> float | None:
    """Return the epoch seconds of ``X-Sdk-Date``; ``None`` if it is absent or unreadable."""
    try:
        return datetime.strptime(request.headers.get("x-sdk-date", ""), "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return None


def _credentials(call: Call) -> tuple[tuple[str, str, str], dict[str, Any]]:
    """Read account, user, password and scope from the body of a login, or refuse it."""
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


def _utc(epoch_s: float, form: str) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).strftime(form)
