"""What the answer to a resend means."""

from __future__ import annotations

import pytest

from airflow_provider_mqs.core.resend.outcome import failure_of
from airflow_provider_mqs.exceptions import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    MqsError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    TransportError,
    WindowTooLargeError,
)


@pytest.mark.parametrize(
    ("error", "unknown", "code", "request_id"),
    [
        (BadRequestError(400, "MQS.00400062", "No.", "r-1"), False, "MQS.00400062", "r-1"),
        (AuthenticationError(401), False, "", ""),
        (PermissionDeniedError(403), False, "", ""),
        (NotFoundError(404, "MQS.00404033"), False, "MQS.00404033", ""),
        (BadRequestError(405), False, "", ""),
        (BadRequestError(413), False, "", ""),
        (RateLimitedError(429, "APIGW.0308"), False, "APIGW.0308", ""),
        (ServerError(503, "APIGW.0613"), False, "APIGW.0613", ""),
        (TransportError("No.", phase="resolve"), False, "", ""),
        (TransportError("No.", phase="connect"), False, "", ""),
        (TransportError("No.", phase="tls"), False, "", ""),
        (TransportError("No.", phase="exchange"), True, "", ""),
        (BadRequestError(408), True, "", ""),
        (BadRequestError(409), True, "", ""),
        (WindowTooLargeError(501), True, "", ""),
        (ServerError(500, "MQS.00500000", "", "r-2"), True, "MQS.00500000", "r-2"),
        (ServerError(502), True, "", ""),
        (ServerError(504), True, "", ""),
        (ProtocolError("Odd."), True, "", ""),
        (ConfigurationError("Odd."), True, "", ""),
    ],
)
def test_every_error_is_failed_or_unknown(error: MqsError, unknown: bool, code: str, request_id: str) -> None:
    """Failed only where the request surely did not run; the sentence and the ids are kept."""
    failure = failure_of(3, 7, error)

    assert (failure.partition, failure.message_offset) == (3, 7)
    assert (failure.unknown, failure.error_code, failure.request_id) == (unknown, code, request_id)
    assert failure.message == str(error)


def test_a_login_that_broke_sent_nothing() -> None:
    """Whatever the error was, the message itself was not posted."""
    error = TransportError("No.", phase="exchange")
    error.at_login = True

    assert failure_of(3, 7, error).unknown is False
