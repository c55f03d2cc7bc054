"""
The service's errors: what its codes mean, and which exception an unsuccessful response becomes.

``ERROR_CODES`` is the only list of codes: a new one is a new row. The code decides first, the status second, since
deployments send the same code with different statuses. Only the number of a code counts: its prefix differs between
deployments. Bodies come as ``{"error_code", "error_msg"}`` (with an integer code in the examples of both API
documents), as ``{"errorCode", "errorMsg"}``, as ``{"code", "message"}``, nested in ``{"error": …}`` (IAM), or as no
JSON at all (gateways). They come with status 200, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs import exceptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.client.flow import Response


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """What the number of an error code means."""

    number: str
    meaning: str
    error: type[exceptions.ApiError]
    not_executed: bool = False
    """The service rejected the request before doing anything, whatever the status. A throttled request
    (``RateLimitedError``) was never executed."""
    retry_limit: int | None = None
    """At most this many repeats of one request; ``max_retries`` of the connection still counts if it is lower."""


QUERY_TIMED_OUT: Final = "111501024"
PAGE_SIZE_REFUSED: Final = "10240042"
PROJECT_MISMATCH: Final = "10240104"

_TABLE = (
    ErrorCode("10240407", "request throttled (sent with status 404)", exceptions.RateLimitedError),
    ErrorCode("0308", "gateway: throttling threshold reached", exceptions.RateLimitedError),
    # the same time range would time out again: one more try, then the caller shortens the range
    ErrorCode(QUERY_TIMED_OUT, "query timed out", exceptions.WindowTooLargeError, retry_limit=1),
    ErrorCode("111501026", "query reached the maximum number of bytes", exceptions.WindowTooLargeError),
    ErrorCode("10240043", "page too far in", exceptions.WindowTooLargeError),
    ErrorCode(PAGE_SIZE_REFUSED, "page size too large", exceptions.BadRequestError),
    ErrorCode("111501025", "message query busy", exceptions.ServerError),
    ErrorCode("0613", "gateway: IAM is unavailable", exceptions.ServerError, not_executed=True),
    ErrorCode(
        "0101", "gateway: API does not exist or is not published", exceptions.ApiNotPublishedError, not_executed=True
    ),
    ErrorCode("00404001", "URL does not exist", exceptions.ApiNotPublishedError, not_executed=True),
    ErrorCode("10240406", "URL does not exist", exceptions.ApiNotPublishedError, not_executed=True),
    ErrorCode("0301", "gateway: token or signature not accepted", exceptions.AuthenticationError, not_executed=True),
    ErrorCode("0305", "gateway: token must be renewed", exceptions.AuthenticationError, not_executed=True),
    ErrorCode("0307", "gateway: token must be renewed", exceptions.AuthenticationError, not_executed=True),
    ErrorCode("10240101", "token invalid", exceptions.AuthenticationError, not_executed=True),
    ErrorCode("10240102", "token expired", exceptions.AuthenticationError, not_executed=True),
    ErrorCode("10240103", "token missing", exceptions.AuthenticationError, not_executed=True),
    ErrorCode(PROJECT_MISMATCH, "token belongs to another project", exceptions.AuthenticationError, not_executed=True),
)
ERROR_CODES: Final[Mapping[str, ErrorCode]] = {code.number: code for code in _TABLE}

_BY_STATUS: Final[Mapping[int, type[exceptions.ApiError]]] = {
    401: exceptions.AuthenticationError,
    403: exceptions.PermissionDeniedError,
    404: exceptions.NotFoundError,
    429: exceptions.RateLimitedError,
}
_CODE: Final = re.compile(r"(?:MQS|DMS|APIGW?|IAM)\.(\d+)")
# without its prefix, a short number may as well be an HTTP status
_BARE: Final = {int(number): number for number in ERROR_CODES if int(number) > 99_999}  # noqa: PLR2004 - six digits
_NO_ERROR: Final = re.compile(r"0*|2\d\d|ok|success|succeeded|true|false|none|null|\[\]", re.IGNORECASE)
_CODES, _SENTENCES = ("error_code", "errorCode", "code"), ("error_msg", "errorMsg", "message", "error")
_NAMES: Final = frozenset((*_CODES, *_SENTENCES))
_MAX_MESSAGE: Final = 300


def number_of(error_code: str) -> str:
    """Return the number of a code such as ``APIGW.0301`` or ``DMS.10240407``; ``""`` if it has no known prefix."""
    if error_code.isdecimal():
        return _BARE.get(int(error_code), "")
    match = _CODE.fullmatch(error_code)
    return match[1] if match else ""


def checked(response: Response) -> Response:
    """Return a successful response; raise ``ApiError`` if the service refused, ``ProtocolError`` for a redirect."""
    if _is_success(response.status):
        if names_error(response):
            raise error_of(response)
        return response
    if 300 <= response.status < 400:  # noqa: PLR2004 - the class of redirects
        # following it would carry the token to another host
        raise exceptions.ProtocolError(
            f"The service answered with a redirect (HTTP {response.status}), which is never followed; "
            "enter the final address as the connection's host."
        )
    raise error_of(response)


def names_error(response: Response) -> bool:
    """Whether the body has an error code, or an error without one; ``0``, ``200`` and ``OK`` are none."""
    body = _body(response)
    if _NAMES.isdisjoint(body):  # as in nearly all answers
        return False
    says = [body[name] for name in _CODES if body.get(name) is not None] or [_first(body, *_SENTENCES)]
    return not all(_NO_ERROR.fullmatch(_clean(value)) for value in says)


def error_of(response: Response) -> exceptions.ApiError:
    """Return the exception for a response with status 4xx or 5xx, or with an error code in its body."""
    body = _body(response)
    error_code = _clean(_first(body, *_CODES))
    known = ERROR_CODES.get(number_of(error_code))
    by_status = _BY_STATUS.get(response.status, _by_class(response.status))
    request_id = response.headers.get("x-request-id") or response.headers.get("x-iam-trace-id") or ""
    return (known.error if known else by_status)(
        response.status,
        error_code,
        _clean(_first(body, *_SENTENCES)),
        _clean(request_id or _first(body, "request_id")),
    )


def _by_class(status: int) -> type[exceptions.ApiError]:
    if _is_success(status):
        return exceptions.ApiError  # nobody knows whether asking again would help
    return exceptions.ServerError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else exceptions.BadRequestError


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - the class of success


def _body(response: Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except exceptions.ProtocolError:
        return {}
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    return body if isinstance(body, dict) else {}


def _first(body: Mapping[str, Any], *names: str) -> Any:
    return next((body[name] for name in names if body.get(name) is not None), "")


def _clean(value: Any) -> str:
    """Shorten to one printable line: it goes into logs and the UI, and must not move a terminal's cursor."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    line = "".join(char if char.isprintable() else " " for char in str(value)).strip()
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…"
