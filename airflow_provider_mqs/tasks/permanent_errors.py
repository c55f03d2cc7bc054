"""Which errors Airflow should not retry: those that the next try would meet again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_mqs.exceptions import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# a wrong password above all: the service locks a user who tries it too often
PERMANENT = (AuthenticationError, BadRequestError, ConfigurationError, NotFoundError, PermissionDeniedError)


@contextmanager
def permanent_errors_fail() -> Iterator[None]:
    """Raise errors that a retry cannot mend as ``AirflowFailException``."""
    try:
        yield
    except PERMANENT as error:
        raise AirflowFailException(str(error)) from error
