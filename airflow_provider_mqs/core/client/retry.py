"""
What may be asked again, and when. Pure: the jitter and the clock are given.

A query may always be repeated. A resend is not idempotent, so it is repeated only where it surely did not run: it
never reached the service, or was turned away at the door.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeAlias

from airflow_provider_mqs.core.client.errors import (
    NOT_EXECUTED_CODES,
    QUERY_TIMED_OUT,
    checked,
    error_of,
    number_of,
)
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Sleep
from airflow_provider_mqs.exceptions import ApiError, RateLimitedError, ServerError, TransportError

Outcome: TypeAlias = Response | TransportError


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    How often and how long.

    :param max_retries: attempts after the first
    :param base_s: the first wait, doubled each time, in seconds
    :param cap_s: the longest wait, also for ``Retry-After``, in seconds
    :param jitter: a number in [0, 1); half of each wait is drawn by it
    :param now: the time that a ``Retry-After`` date is compared with
    """

    max_retries: int = 5
    base_s: float = 0.5
    cap_s: float = 30.0
    jitter: Callable[[], float] = random.random
    now: Callable[[], datetime] = _utc_now

    def delay(self, request: Request, attempt: int, outcome: Outcome) -> float | None:
        """
        Decide about one outcome.

        :param request: what was asked
        :param attempt: 1 for the first
        :param outcome: the answer, or why there is none
        :return: seconds until the next attempt, or ``None`` when the outcome is final
        """
        error = _error(outcome)
        if error is None or not _may_repeat(request, error) or attempt > self._limit(error):
            return None
        backoff = min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        wanted = self._retry_after(outcome)
        return min(self.cap_s, max(wanted, backoff * (0.5 + self.jitter() / 2)))

    def _limit(self, error: ApiError | TransportError) -> int:
        """Give a query that timed out one more try; then the caller shortens its time range."""
        timed_out = isinstance(error, ApiError) and number_of(error.error_code) == QUERY_TIMED_OUT
        return min(1, self.max_retries) if timed_out else self.max_retries

    def _retry_after(self, outcome: Outcome) -> float:
        value = "" if isinstance(outcome, TransportError) else outcome.headers.get("retry-after", "")
        if value.strip().isdecimal():
            return float(value)
        try:
            return max(0.0, (parsedate_to_datetime(value) - self.now()).total_seconds())
        except (TypeError, ValueError, OverflowError):
            return 0.0


def retrying(
    request: Request, policy: RetryPolicy, authorize: Callable[[Request], Request] = lambda request: request
) -> Flow[Response]:
    """
    Send a request until its outcome is final.

    :param request: what to send
    :param policy: how often and how long
    :param authorize: adds credentials; called for each attempt, since a signature holds the time
    :return: the answer, if it is a success
    :raises TransportError: no answer came
    :raises ApiError: the service refused
    """
    attempt = 0
    while True:
        attempt += 1
        outcome: Outcome
        try:
            outcome = yield authorize(request)
        except TransportError as error:
            outcome = error
        wait = policy.delay(request, attempt, outcome)
        if wait is None:
            break
        trouble = _error(outcome)
        yield Sleep(wait, f"attempt {attempt}: {trouble}", throttled=isinstance(trouble, RateLimitedError))
    if isinstance(outcome, TransportError):
        raise outcome
    return checked(outcome)


def surely_not_run(error: ApiError | TransportError) -> bool:
    """
    Tell whether a request that failed so was certainly not executed.

    :param error: what was raised for it
    :return: ``True`` only where sending it again cannot run it twice
    """
    if isinstance(error, TransportError):
        return not error.sent
    return isinstance(error, RateLimitedError) or number_of(error.error_code) in NOT_EXECUTED_CODES


def _may_repeat(request: Request, error: ApiError | TransportError) -> bool:
    if isinstance(error, TransportError) and error.phase == "tls":
        return False  # a certificate does not become valid by asking again
    if surely_not_run(error):
        return True
    if not request.safe_to_repeat:
        return False
    return isinstance(error, TransportError | ServerError) or error.status == HTTPStatus.REQUEST_TIMEOUT


def _error(outcome: Outcome) -> ApiError | TransportError | None:
    if isinstance(outcome, TransportError):
        return outcome
    return error_of(outcome) if outcome.status >= HTTPStatus.BAD_REQUEST else None
