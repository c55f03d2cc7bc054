"""
What the answer to a resend means. Pure.

*Sent*: the service said so. *Failed*: it surely did not run. *Unknown*: it may have run; never sent again blindly,
since a resend is not idempotent.
"""

from __future__ import annotations

from airflow_provider_mqs.core.client.retry import surely_not_executed
from airflow_provider_mqs.core.resend.report import Failure
from airflow_provider_mqs.exceptions import ApiError, MqsError, TransportError

_REFUSED = frozenset({400, 401, 403, 404, 405, 413})
"""Statuses with which the service turns a request away before it does anything."""


def failure_of(partition: int, message_offset: int, error: MqsError) -> Failure:
    """
    Judge why a message was not acknowledged.

    :param partition: partition of the topic
    :param message_offset: position in the partition
    :param error: what the client raised
    :return: a failure; ``unknown`` unless the request surely did not run
    """
    api_error = error if isinstance(error, ApiError) else None
    return Failure(
        partition,
        message_offset,
        api_error.error_code if api_error else "",
        str(error),
        api_error.request_id if api_error else "",
        unknown=not _surely_refused(error),
    )


def _surely_refused(error: MqsError) -> bool:
    if error.at_login:
        return True
    if isinstance(error, ApiError):
        return error.status in _REFUSED or surely_not_executed(error)
    return isinstance(error, TransportError) and surely_not_executed(error)
