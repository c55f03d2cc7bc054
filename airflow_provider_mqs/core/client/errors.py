"""
Answers that are no success, as exceptions: the error code decides first, the status second.

Bodies come as ``{"error_code", "error_msg"}`` (with a number for a code in the examples of both API documents), as
``{"errorCode", "errorMsg"}``, ``{"code", "message"}``, one level deeper (IAM), or as no JSON at all (gateways).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.exceptions import (
    ApiError,
    ApiNotPublishedError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    WindowTooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.client.flow import Response

QUERY_TIMED_OUT = "111501024"
PAGE_SIZE_REFUSED = "10240042"
PROJECT_MISMATCH = "10240104"
NOT_EXECUTED_CODES = frozenset({"10240407", "0308", "0613"})
"""Codes that are given before the service does anything: even a resend may be repeated after them."""

_CODE = re.compile(r"(?:MQS|DMS|APIGW?|IAM)\.(\d+)")
_BY_NUMBER: Mapping[str, type[ApiError]] = {
    "10240407": RateLimitedError,
    "0308": RateLimitedError,
    QUERY_TIMED_OUT: WindowTooLargeError,
    "111501026": WindowTooLargeError,
    "10240043": WindowTooLargeError,
    "111501025": ServerError,
    "0613": ServerError,
    "0101": ApiNotPublishedError,
    "00404001": ApiNotPublishedError,
    "10240406": ApiNotPublishedError,
    "0301": AuthenticationError,
    "0305": AuthenticationError,
    "0307": AuthenticationError,
    "10240101": AuthenticationError,
    "10240102": AuthenticationError,
    "10240103": AuthenticationError,
    PROJECT_MISMATCH: AuthenticationError,
}
_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
}
_MAX_MESSAGE = 300


def number_of(error_code: str) -> str:
    """
    Give the number in an error code; the prefixes of one number differ between deployments.

    :param error_code: for example ``APIGW.0301`` or ``DMS.10240407``
    :return: the digits behind the prefix, ``""`` where there are none
    """
    match = _CODE.fullmatch(error_code)
    return match[1] if match else ""


def checked(response: Response) -> Response:
    """
    Let a success through.

    :param response: any whole answer
    :return: the same, if its status is 2xx
    :raises ApiError: the class of the tree that fits the error code, else the status
    :raises ProtocolError: for a redirect, which is never followed, since it would carry the token to another host
    """
    if 200 <= response.status < 300:  # noqa: PLR2004 - the class of success
        return response
    if 300 <= response.status < 400:  # noqa: PLR2004 - the class of redirects
        raise ProtocolError(
            f"The service answered with a redirect (HTTP {response.status}), which is never followed; "
            "put the final address into the connection's host."
        )
    raise error_of(response)


def error_of(response: Response) -> ApiError:
    """
    Make the exception for an answer that is no success.

    :param response: status 4xx or 5xx
    :return: an instance of the class that fits the error code, else the status
    """
    body = _body(response.body)
    code = _clean(_first(body, "error_code", "errorCode", "code"))
    cls = _BY_NUMBER.get(number_of(code)) or _class_of(response.status)
    request_id = response.headers.get("x-request-id") or response.headers.get("x-iam-trace-id") or ""
    return cls(
        response.status,
        code,
        _clean(_first(body, "error_msg", "errorMsg", "message")),
        _clean(request_id or _first(body, "request_id")),
    )


def _class_of(status: int) -> type[ApiError]:
    return _BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequestError)  # noqa: PLR2004


def _body(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    return body if isinstance(body, dict) else {}


def _first(body: Mapping[str, Any], *names: str) -> Any:
    return next((body[name] for name in names if body.get(name) is not None), "")


def _clean(value: Any) -> str:
    """One line, nothing that moves a cursor, shortened: it goes into logs and the UI."""
    line = "".join(char if char.isprintable() else " " for char in str(value)).strip()
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…"
