"""
The errors of this package, and nothing else: no HTTP, no Airflow.

::

    MqsError
    ├── ConfigurationError            a wrong connection field or argument; also a ValueError
    ├── TransportError                no complete response; ``sent`` says whether the request may have arrived
    ├── ProtocolError                 a response that the API documents do not allow
    ├── IncompleteWindowError         some messages of a window may be missing
    ├── EmptyWindowError              a window has no messages, and the caller requires some
    ├── StoreError                    a ledger or replay record cannot be read or written
    ├── ResendError                   some messages of a plan may not have been resent
    │   └── ReplayInProgressError     another run is sending some of the same messages right now
    └── ApiError                      the service refused; carries ``status``, ``error_code``, ``request_id``
        ├── AuthenticationError       401: credentials not accepted
        ├── PermissionDeniedError     403: credentials accepted, action not allowed
        ├── NotFoundError             404: no such instance, topic or message
        │   └── ApiNotPublishedError  404 of the gateway: this path does not exist here
        ├── RateLimitedError          429: too many requests, this one was not executed
        ├── WindowTooLargeError       408 or 501: the time range must be shorter, or the page is too far in
        ├── BadRequestError           any other 4xx
        └── ServerError               5xx, or a code for a state that passes

The statuses are the usual ones: an error code, if it is known, decides first (``core/client/errors.py``).

The message of an ``ApiError`` is made of the status, the error code, the service's own sentence and the request id. No
error holds headers, request bodies or message contents, so they are safe in logs, XComs and the UI.
"""

from __future__ import annotations

from typing import Literal


class MqsError(Exception):
    """
    Base of every error that this package raises.

    ``at_login``: it happened during a login, so the request that needed the login was not sent.
    """

    at_login = False


class ConfigurationError(MqsError, ValueError):
    """A connection field or an argument is wrong; the message names it and the remedy."""


class TransportError(MqsError):
    """
    There is no complete response.

    :param message: one sentence without secrets
    :param phase: how far the request came: ``resolve`` (no address for the host name), ``connect``, ``tls``, or
        ``exchange`` (the connection was established)
    """

    def __init__(self, message: str, phase: Literal["resolve", "connect", "tls", "exchange"]) -> None:
        super().__init__(message, phase)
        self.phase = phase

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def sent(self) -> bool:
        """Whether the request may have reached the service; ``False`` only if it surely did not."""
        return self.phase == "exchange"


class ProtocolError(MqsError):
    """The response is one that the API documents do not allow, such as a redirect, or HTML instead of JSON."""


class IncompleteWindowError(MqsError):
    """Some messages of the window may be missing; the error says which and why."""


class EmptyWindowError(MqsError):
    """The window has no messages, and the caller requires some."""


class ResendError(MqsError):
    """Some messages of the plan may not have been resent; another try resumes."""


class StoreError(MqsError):
    """A ledger or replay record cannot be read or written; nothing more may be sent."""


class ReplayInProgressError(ResendError):
    """Another run is sending some of the same messages right now; nothing was sent."""


class ApiError(MqsError):
    """
    The service refused a request.

    :param status: HTTP status, which may be 200
    :param error_code: the code, for example ``MQS.00400062``; ``""`` if the response had none
    :param error_msg: the service's own sentence, shortened
    :param request_id: what the vendor's support asks for; ``""`` if the response had none
    """

    def __init__(self, status: int, error_code: str = "", error_msg: str = "", request_id: str = "") -> None:
        super().__init__(status, error_code, error_msg, request_id)
        self.status = status
        self.error_code = error_code
        self.error_msg = error_msg
        self.request_id = request_id

    def __str__(self) -> str:
        parts = [f"HTTP {self.status}", self.error_code, self.error_msg]
        text = " ".join(part for part in parts if part)
        return f"{text} (request id {self.request_id})" if self.request_id else text


class AuthenticationError(ApiError):
    """The credentials, the token or the signature were not accepted."""


class PermissionDeniedError(ApiError):
    """The credentials are valid but do not allow this."""


class NotFoundError(ApiError):
    """The instance, topic or message does not exist."""


class ApiNotPublishedError(NotFoundError):
    """The gateway knows no API under this path: wrong host or wrong ``api_style``."""


class RateLimitedError(ApiError):
    """The service receives too many requests; this one was not executed."""


class WindowTooLargeError(ApiError):
    """The time range holds more than the service reads in one query."""


class BadRequestError(ApiError):
    """The service does not accept the request; sending it again will not help."""


class ServerError(ApiError):
    """The service or its gateway failed."""


PERMANENT = (AuthenticationError, BadRequestError, ConfigurationError, NotFoundError, PermissionDeniedError)
"""The next try would meet them again. A wrong password above all: the service locks a user who tries it too often."""
