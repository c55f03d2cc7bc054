"""One request after routing: which operation, with which parameters, read strictly. No data, no answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_mqs.emulator.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.emulator.http import HttpRequest

_V2 = r"/v2/(?P<project_id>[^/]+)"
_MQS = _V2 + r"/mqs/instances"
_ONE = _MQS + r"/(?P<instance_id>[^/]+)"

# method, path, operation, path style (empty where the path exists in every deployment)
_ROUTES = tuple(
    (method, re.compile(pattern), operation, style)
    for method, pattern, operation, style in (
        ("GET", _ONE + "/messages", "query", "mqs"),
        ("GET", _V2 + r"/instances/(?P<instance_id>[^/]+)/messages", "query", "dms"),
        ("POST", _ONE + "/messages/action", "resend", ""),
        ("GET", _ONE + "/topics", "topics", ""),
        ("GET", _ONE, "instance", ""),
        ("GET", _MQS, "instances", ""),
        ("POST", "/v3/auth/tokens", "login", ""),
        ("GET", "/v3/projects", "projects", ""),
    )
)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """
    A request whose operation is known.

    :param request: as it came
    :param operation: what it asks for; ``unknown`` where no path fits
    :param path: ids of the path
    :param error: what is wrong with method or path, key of ``ERRORS``; empty when nothing is
    :param trace: request id
    """

    request: HttpRequest
    operation: str
    path: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    trace: str = ""

    def text(self, name: str) -> str | None:
        """
        Read a query parameter.

        :param name: of the parameter
        :return: its value; ``None`` when absent or empty
        """
        return self.request.query.get(name) or None

    def integer(self, name: str, error: str = "invalid_parameter") -> int | None:
        """
        Read a whole number >= 0 from the query.

        :param name: of the parameter
        :param error: key of ``ERRORS`` for anything else
        :return: the number; ``None`` when absent or empty
        :raises ServiceError: when it is no such number
        """
        text = self.text(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or int(text) < 0:
            raise ServiceError(error, f"{name} must be a whole number")
        return int(text)

    def boolean(self, name: str, default: bool) -> bool:
        """
        Read ``true`` or ``false`` from the query.

        :param name: of the parameter
        :param default: when absent or empty
        :return: the value
        :raises ServiceError: for any other text
        """
        text = self.text(name)
        if text is None:
            return default
        if text not in {"true", "false"}:
            raise ServiceError("invalid_parameter", f"{name} must be true or false")
        return text == "true"

    def body(self) -> dict[str, Any]:
        """
        Read the body as a JSON object.

        :return: its fields
        :raises ServiceError: when it is empty or anything else
        """
        if not self.request.body:
            raise ServiceError("empty_body")
        try:
            value = self.request.json()
        except ValueError:
            raise ServiceError("invalid_body") from None
        if not isinstance(value, dict):
            raise ServiceError("invalid_body")
        return value

    def place(self) -> tuple[int, int] | None:
        """
        Say which message the request names.

        :return: ``(partition, message_offset)``, or ``None`` when it names none or in no readable way
        """
        try:
            fields: Mapping[str, Any] = self.body() if self.operation == "resend" else self.request.query
            return int(fields["partition"]), int(fields["message_offset"])
        except (ServiceError, KeyError, TypeError, ValueError):
            return None


def route(request: HttpRequest, styles: frozenset[str], prefix: str, trace: str) -> Call:
    """
    Find out what a request asks for.

    :param request: as it came
    :param styles: paths of the message query that exist here
    :param prefix: what stands before every path
    :param trace: request id
    :return: the call; one that cannot be served carries its ``error``
    """
    path = request.path[len(prefix) :] if request.path.startswith(prefix) else ""
    for method, pattern, operation, style in _ROUTES:
        if (not style or style in styles) and (match := pattern.fullmatch(path)):
            ids = {name: unquote(value) for name, value in match.groupdict().items()}
            error = "" if method == request.method else "no_method"
            return Call(request, _narrowed(operation, request), ids, error, trace)
    return Call(request, "unknown", error="not_published", trace=trace)


def _narrowed(operation: str, request: HttpRequest) -> str:
    timed = request.query.get("start_time") or request.query.get("end_time")
    return "content" if operation == "query" and not timed else operation
