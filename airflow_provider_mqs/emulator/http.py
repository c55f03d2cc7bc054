"""
HTTP as plain values: a request and what it asks for, a response and its error bodies; no socket, no clock, no data.

Tests drive :mod:`~airflow_provider_mqs.emulator.service` with these directly; ``server`` translates them for aiohttp.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from airflow_provider_mqs.emulator.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.emulator.behaviour import Behaviour

JSON = "application/json;charset=utf8"

_SCHEME_AND_HOST = re.compile(r"^https?://[^/?]*")
_WHOLE_NUMBER = re.compile(r"\d{1,19}", re.ASCII)

_V2 = r"/v2/(?P<project_id>[^/]+)"
_INSTANCES = _V2 + r"/mqs/instances"
_INSTANCE = _INSTANCES + r"/(?P<instance_id>[^/]+)"
# method, path, operation, and the path style that it belongs to (empty if every deployment has it)
_ROUTES = tuple(
    (method, re.compile(pattern), operation, style)
    for method, pattern, operation, style in (
        ("GET", _INSTANCE + "/messages", "query", "mqs"),
        ("GET", _V2 + r"/instances/(?P<instance_id>[^/]+)/messages", "query", "dms"),
        ("POST", _INSTANCE + "/messages/action", "resend", ""),
        ("GET", _INSTANCE + "/topics", "topics", ""),
        ("GET", _INSTANCE, "instance", ""),
        ("GET", _INSTANCES, "instances", ""),
        ("POST", "/v3/auth/tokens", "login", ""),
        ("GET", "/v3/projects", "projects", ""),
    )
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as it came over the network."""

    method: str
    path: str  # as sent, still percent-encoded, without the query
    query: Mapping[str, str] = field(default_factory=dict)  # decoded; the last of a repeated name counts
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # by lower-case name
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(
        cls, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpRequest:
        """Split a request target, which is a path with its query or a whole URL."""
        # a client behind a proxy sends the whole URL, so this service can stand in for a proxy too
        path, _, query = _SCHEME_AND_HOST.sub("", target).partition("?")
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        return cls(method, path, dict(parse_qsl(query, keep_blank_values=True)), lower, body)

    def json(self) -> Any:
        """Decode the body; a body that is not JSON raises ``ValueError``."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response, and what the server does to it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0  # how long the server waits before it sends the response
    drop: bool = False  # the server cuts the connection instead of answering

    def json(self) -> Any:
        """Decode the body; a body that is not JSON raises ``ValueError``."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What an operation answers, and its effect, which a fault can delay or hide."""

    response: HttpResponse
    effect: Callable[[int], object] | None = None  # called with the epoch ms at which it happens; None for reads
    beside: Callable[[int], object] | None = None  # what others may do at the same moment, called in the same way


@dataclass(frozen=True, slots=True)
class Call:
    """A request after routing: the operation it asks for, and strict readers of its parameters."""

    request: HttpRequest
    operation: str  # "unknown" if no path matches
    path: Mapping[str, str] = field(default_factory=dict)  # the ids in the path
    error: str = ""  # key of ERRORS if method or path are wrong
    trace: str = ""  # request id

    def text(self, name: str) -> str | None:
        """Read a query parameter; ``None`` if it is absent or empty."""
        return self.request.query.get(name) or None

    def integer(self, name: str, error: str = "invalid_parameter") -> int | None:
        """Read a whole number >= 0 from the query; ``None`` if it is absent or empty."""
        text = self.text(name)
        if text is not None and not _WHOLE_NUMBER.fullmatch(text):
            raise ServiceError(error, f"{name} must be a whole number")
        return None if text is None else int(text)

    def boolean(self, name: str, default: bool) -> bool:
        """Read ``true`` or ``false`` from the query."""
        text = self.text(name)
        if text not in {None, "true", "false"}:
            raise ServiceError("invalid_parameter", f"{name} must be true or false")
        return default if text is None else text == "true"

    def body(self) -> dict[str, Any]:
        """Decode the body, which must be a JSON object."""
        if not self.request.body:
            raise ServiceError("empty_body")
        try:
            value = self.request.json()
        except ValueError:
            raise ServiceError("invalid_body") from None
        if not isinstance(value, dict):
            raise ServiceError("invalid_body")
        return value

    def ref(self) -> tuple[int, int] | None:
        """Return the ``(partition, message_offset)`` that the request names; ``None`` if it names none readably."""
        try:
            fields: Mapping[str, Any] = self.body() if self.operation == "resend" else self.request.query
            return int(fields["partition"]), int(fields["message_offset"])
        except (ServiceError, KeyError, TypeError, ValueError):
            return None


def route(request: HttpRequest, behaviour: Behaviour, trace: str) -> Call:
    """Find the operation that a request asks for; a call that cannot be served carries its ``error``."""
    prefix = behaviour.path_prefix
    path = request.path[len(prefix) :] if request.path.startswith(prefix) else ""
    for method, pattern, operation, style in _ROUTES:
        if (not style or style in behaviour.styles) and (match := pattern.fullmatch(path)):
            ids = {name: unquote(value) for name, value in match.groupdict().items()}
            timed = request.query.get("start_time") or request.query.get("end_time")
            # one path for two operations: the API document ignores partition and message_offset if there are times
            narrowed = "content" if operation == "query" and not timed else operation
            return Call(request, narrowed, ids, "" if method == request.method else "no_method", trace)
    return Call(request, "unknown", error="not_published", trace=trace)


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Encode a JSON response."""
    return HttpResponse(status, {"Content-Type": JSON, **(headers or {})}, json.dumps(value).encode())


def error_response(error: ServiceError, behaviour: Behaviour, trace: str) -> HttpResponse:
    """Encode a refusal in the shape that this deployment uses."""
    spec, message = error.spec, error.message
    prefix = {
        "gateway": behaviour.gateway_prefix,
        "service": behaviour.code_prefix,
        # the vendor's MQS error page keeps the DMS prefix for the numbers of the engine below
        "dms": "DMS",
        "iam": "IAM",
    }[spec.family]
    code = spec.status if behaviour.integer_error_codes else f"{prefix}.{spec.number}"
    title = HTTPStatus(spec.status).phrase
    if spec.family != "iam":
        body = error_body(behaviour.error_form, code, message, title)
    elif behaviour.iam_error_form == "nested":
        body = error_body("nested", spec.status, message, title)
    else:
        body = error_body("error_code", code, message, title)
    if spec.family == "gateway":
        body = {**body, "request_id": trace}
    return json_response(spec.status, body)


def error_body(form: str, code: str | int, message: str, title: str) -> dict[str, Any]:
    """Write an error in one of the shapes that are in use."""
    bodies: dict[str, dict[str, Any]] = {
        "error_code": {"error_code": code, "error_msg": message},
        "errorCode": {"errorCode": code, "errorMsg": message},
        "code": {"code": code, "message": message},
        "nested": {"error": {"code": code, "message": message, "title": title}},
    }
    return bodies[form]
