"""The error tree: as drawn, safe to show, and picklable."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from airflow_provider_mqs import exceptions
from airflow_provider_mqs.exceptions import (
    ApiError,
    ApiNotPublishedError,
    ConfigurationError,
    MqsError,
    NotFoundError,
    RateLimitedError,
    TransportError,
)


def test_tree_is_as_drawn() -> None:
    """Each class is in the drawing once, below its base class."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for indent, name in re.findall(r"^    ([│├└─ ]*)([A-Z]\w+Error)\b", inspect.getdoc(exceptions) or "", re.MULTILINE):
        del above[len(indent) // 4 :]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)

    defined = {
        name: cls.__bases__[0].__name__
        for name, cls in inspect.getmembers(exceptions, inspect.isclass)
        if cls.__module__ == exceptions.__name__
    }

    assert drawn == defined


def test_configuration_error_is_a_value_error() -> None:
    """Callers that do not know this package can catch a wrong argument as a ValueError."""
    assert issubclass(ConfigurationError, ValueError)


@pytest.mark.parametrize(
    ("phase", "sent"), [("resolve", False), ("connect", False), ("tls", False), ("exchange", True)]
)
def test_a_request_may_have_arrived_only_if_it_was_connected(phase: str, sent: bool) -> None:
    """Nothing can have been sent before that."""
    assert TransportError("The connection broke.", phase=phase).sent is sent  # type: ignore[arg-type]  # the four phases


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ApiError(400, "MQS.00400062", "Invalid parameter", "r-1"),
            "HTTP 400 MQS.00400062 Invalid parameter (request id r-1)",
        ),
        (ApiError(502), "HTTP 502"),
        (ApiError(429, "", "Too fast"), "HTTP 429 Too fast"),
    ],
)
def test_api_error_shows_what_the_service_said(error: ApiError, text: str) -> None:
    """Status, code, message and request id are shown; a missing one leaves no gap."""
    assert str(error) == text


@pytest.mark.parametrize(
    "error",
    [
        TransportError("No answer.", phase="connect"),
        RateLimitedError(429, "APIGW.0308", "Slower", "r-2"),
        ConfigurationError("topic is missing."),
    ],
)
def test_errors_survive_pickling(error: MqsError) -> None:
    """An error keeps its class, text and attributes across processes."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_unpublished_path_is_a_kind_of_not_found() -> None:
    """A handler of 404 also catches the gateway's 404."""
    assert issubclass(ApiNotPublishedError, NotFoundError)
