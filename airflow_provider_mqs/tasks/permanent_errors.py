"""Which errors Airflow should not retry."""

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

PERMANENT = (AuthenticationError, BadRequestError, ConfigurationError, NotFoundError, PermissionDeniedError)


@contextmanager
def permanent_errors_fail() -> Iterator[None]:
    """
    Turn errors that a retry cannot mend into ``AirflowFailException``; a wrong password must not be tried again.

    :raises AirflowFailException: for wrong arguments, connections, credentials and permissions
    """
    try:
        yield
    except PERMANENT as error:
        raise AirflowFailException(str(error)) from error
