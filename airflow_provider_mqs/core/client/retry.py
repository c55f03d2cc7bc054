"""
What may be requested again, and when. Pure: jitter and clock are arguments.

A query may always be repeated. A resend is not idempotent, so it is repeated only if it was surely not executed: it
never reached the service, or the service rejected it before doing anything. If it was throttled, it is repeated as
often as it takes, ever slower: only the caller, who can stop, knows how long it may wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from airflow_provider_mqs.core.client.errors import ERROR_CODES, ErrorCode, checked, number_of
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Sleep
from airflow_provider_mqs.core.client.service_clock import ServiceClock, http_date_ms
from airflow_provider_mqs.exceptions import ApiError, RateLimitedError, ServerError, TransportError

_MOST_DOUBLINGS = 60  # then the wait is at its cap, and the number does not become too large for a float


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is repeated, and how long to wait before each repeat."""

    max_retries: int = 5
    base_s: float = 0.5
    """The first wait; each further one is twice as long."""
    cap_s: float = 30.0
    """The longest wait, also for ``Retry-After``."""
    jitter: Callable[[], float] = random.random
    """Returns a number in [0, 1); half of each wait is random."""

    def delay_s(
        self, request: Request, attempt: int, error: ApiError | TransportError, at_least_s: float = 0.0
    ) -> float | None:
        """Return the wait before the next attempt, or ``None`` if the error is final; the first attempt is 1."""
        known = _known(error)
        limit = known.retry_limit if known and known.retry_limit is not None else self.max_retries
        if not _may_repeat(request, error) or (
            attempt > min(limit, self.max_retries) and not waits_its_turn(request, error)
        ):
            return None
        backoff_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
        return min(self.cap_s, max(at_least_s, backoff_s * (0.5 + self.jitter() / 2)))


def retrying(
    request: Request,
    policy: RetryPolicy,
    clock: ServiceClock,
    authorize: Callable[[Request], Request] = lambda request: request,
) -> Flow[Response]:
    """
    Send a request until it succeeds or its error is final; ``clock`` learns from each answer.

    ``authorize`` adds new credentials to each attempt, since a signature contains the time.
    """
    # those that only waited for their turn leave the others their number
    attempts = {False: 0, True: 0}
    while True:
        retry_after_s, asked_s = 0.0, clock.monotonic()
        try:
            response: Response = yield authorize(request)
            clock.note_answer(response, asked_s, clock.monotonic())
            if "retry-after" in response.headers:
                retry_after_s = _retry_after_s(response, clock)
            return response if request.content_expected and response.status == HTTPStatus.OK else checked(response)
        except (TransportError, ApiError) as error:
            kind = waits_its_turn(request, error)
            attempts[kind] += 1
            wait_s = policy.delay_s(request, attempts[kind], error, retry_after_s)
            if wait_s is None:
                raise
            reason = f"attempt {sum(attempts.values())}: {error}"
            sleep = Sleep(wait_s, reason, throttled=isinstance(error, RateLimitedError), trouble=True)
        yield sleep


def surely_not_executed(error: ApiError | TransportError) -> bool:
    """Whether sending the request again after this error cannot execute it twice."""
    if isinstance(error, TransportError):
        return not error.sent
    known = _known(error)
    return isinstance(error, RateLimitedError) or (known is not None and known.not_executed)


def waits_its_turn(request: Request, error: ApiError | TransportError) -> bool:
    """Whether a resend was throttled: it waits for as long as it may, while a query is worth only some attempts."""
    return isinstance(error, RateLimitedError) and not request.safe_to_repeat


def _may_repeat(request: Request, error: ApiError | TransportError) -> bool:
    if isinstance(error, TransportError):
        may_help = error.phase != "tls"  # a certificate does not become valid by asking again
    else:
        may_help = isinstance(error, RateLimitedError | ServerError) or error.status == HTTPStatus.REQUEST_TIMEOUT
    return may_help and (request.safe_to_repeat or surely_not_executed(error))


def _retry_after_s(response: Response, clock: ServiceClock) -> float:
    """Read ``Retry-After``, which is a number of seconds or a date; 0 if it is neither."""
    text = response.headers["retry-after"].strip()
    if text.isdecimal():
        return float(text)
    date_ms = http_date_ms(text)
    return 0.0 if date_ms is None else max(0.0, (date_ms - clock.now_ms()) / 1000)


def _known(error: ApiError | TransportError) -> ErrorCode | None:
    return ERROR_CODES.get(number_of(error.error_code)) if isinstance(error, ApiError) else None
