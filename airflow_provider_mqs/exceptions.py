"""
The errors of this package, and nothing else: no HTTP, no Airflow.

::

    MqsError
    ├── ConfigurationError            a wrong connection field or argument; also a ValueError
    ├── TransportError                no whole answer came; ``sent`` says whether the request may have arrived
    ├── ProtocolError                 an answer came that the API documents do not allow
    ├── IncompleteWindowError         the service did not give every message of a window
    ├── EmptyWindowError              a window holds no message, and the caller asked for that to be an error
    ├── StoreError                    a ledger or a record cannot be read or written
    ├── ResendError                   not every message of a plan was surely resent
    │   └── ReplayInProgressError     another run is sending some of them at this moment
    └── ApiError                      the service refused; carries ``status``, ``error_code``, ``request_id``
        ├── AuthenticationError       401: who are you?
        ├── PermissionDeniedError     403: you may not
        ├── NotFoundError             404: no such instance, topic or message
        │   └── ApiNotPublishedError  404 of the gateway: this path does not exist here
        ├── RateLimitedError          429, or 404 with number 10240407
        ├── WindowTooLargeError       408 or 501 that asks for a shorter time range, or a page too far in
        ├── BadRequestError           any other 4xx
        └── ServerError               5xx

Messages are made of a status, an error code, the service's own sentence and a request id. They never hold headers,
request bodies or message contents, so they are safe in logs, XComs and the UI.
"""

from __future__ import annotations

from typing import Literal


class MqsError(Exception):
    """
    Base of everything that this package raises by itself.

    ``at_login`` tells that it happened while logging in, so that the request which needed the login was not sent.
    """

    at_login = False


class ConfigurationError(MqsError, ValueError):
    """A connection field or an argument is wrong; the message names it and the remedy."""


class TransportError(MqsError):
    """
    No whole answer came back.

    :param message: one safe sentence
    :param phase: how far it came: ``resolve`` (no address for the host name), ``connect``, ``tls``, or ``exchange``
        (the connection stood)
    """

    def __init__(self, message: str, phase: Literal["resolve", "connect", "tls", "exchange"]) -> None:
        super().__init__(message, phase)
        self.phase = phase

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def sent(self) -> bool:
        """Whether the request may have reached the service; ``False`` only where it surely did not."""
        return self.phase == "exchange"


class ProtocolError(MqsError):
    """An answer came that the API documents do not allow, such as a redirect or HTML where JSON belongs."""


class IncompleteWindowError(MqsError):
    """The service did not give every message of the window; the message says what is missing and why."""


class EmptyWindowError(MqsError):
    """The window holds no message, and the caller asked for that to be an error."""


class ResendError(MqsError):
    """Not every message of the plan was surely resent; trying again resumes."""


class StoreError(MqsError):
    """A ledger or record cannot be read or written; nothing more may be sent."""


class ReplayInProgressError(ResendError):
    """Another run is sending some of the same messages at this moment; nothing was sent."""


class ApiError(MqsError):
    """
    The service refused a request.

    :param status: HTTP status
    :param error_code: the code as text, for example ``MQS.00400062``; ``""`` when the body had none
    :param error_msg: the service's own sentence, shortened
    :param request_id: the id to give to the vendor's support, ``""`` when there was none
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
    """The credentials are good, but this is not allowed to them."""


class NotFoundError(ApiError):
    """The instance, topic or message does not exist."""


class ApiNotPublishedError(NotFoundError):
    """The gateway knows no API under this path: wrong host or wrong ``api_style``."""


class RateLimitedError(ApiError):
    """The service is being asked too often; the request was not executed."""


class WindowTooLargeError(ApiError):
    """The time range holds more than the service will read in one query."""


class BadRequestError(ApiError):
    """The service does not accept the request as it is; sending it again will not help."""


class ServerError(ApiError):
    """The service or its gateway failed."""
