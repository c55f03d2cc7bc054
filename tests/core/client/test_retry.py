"""What is requested again, and when: one table, no clock, no socket."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.errors import ERROR_CODES
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Sleep, Step, drive
from airflow_provider_mqs.core.client.retry import RetryPolicy, retrying, surely_not_executed
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.exceptions import ApiError, MqsError, RateLimitedError, ServerError, TransportError

GET = Request("GET", "https://mqs.example.com/")
POST = Request("POST", "https://mqs.example.com/", safe_to_repeat=False)
NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
POLICY = RetryPolicy(jitter=lambda: 0.0)
CLOCK = ServiceClock(wall=NOW.timestamp)
HTML = b"<html>Bad Gateway</html>"
Attempt = Response | TransportError


def lost(phase: Any) -> TransportError:
    return TransportError("No answer.", phase=phase)


def refused(status: int, code: str = "", headers: dict[str, str] | None = None) -> Response:
    return Response(
        status, headers or {}, json.dumps({"error_code": code, "error_msg": "No."}).encode() if code else b""
    )


@pytest.mark.parametrize(
    ("first", "query", "resend"),
    [
        (lost("resolve"), True, True),
        (lost("connect"), True, True),
        (lost("tls"), False, False),
        (lost("exchange"), True, False),
        (refused(408), True, False),
        (refused(408, "DMS.111501024"), True, False),
        (refused(429), True, True),
        (refused(429, "IAM.0012"), True, True),
        (refused(429, "APIGW.0308"), True, True),
        (refused(404, "DMS.10240407"), True, True),
        (refused(404, "MQS.10240407"), True, True),
        (refused(503, "APIG.0613"), True, True),
        (refused(500), True, False),
        (refused(500, "MQS.00500000"), True, False),
        (Response(502, {}, HTML), True, False),
        (refused(503), True, False),
        (refused(503, "DMS.111501025"), True, False),
        (refused(504, "APIGW.0203"), True, False),
        (refused(501), True, False),
        (refused(501, "DMS.111501026"), False, False),
        (refused(400), False, False),
        (refused(400, "DMS.10240043"), False, False),
        (refused(401, "APIGW.0307"), False, False),
        (refused(403), False, False),
        (refused(404), False, False),
        (refused(404, "MQS.00404022"), False, False),
        (refused(405), False, False),
        (refused(413), False, False),
        (Response(200), False, False),
        (Response(302), False, False),
    ],
    ids=lambda value: repr(value) if isinstance(value, bool) else None,
)
def test_what_is_repeated(first: Attempt, query: bool, resend: bool) -> None:
    """A query is repeated if that may help, a resend only if it surely was not executed."""
    requests = [run(retrying(request, POLICY, CLOCK), [first, Response(200)])[0] for request in (GET, POST)]

    assert [count == 2 for count in requests] == [query, resend]


@pytest.mark.parametrize(
    ("error", "certain"),
    [
        (lost("resolve"), True),
        (lost("connect"), True),
        (lost("tls"), True),
        (lost("exchange"), False),
        (RateLimitedError(429), True),
        (RateLimitedError(404, "DMS.10240407"), True),
        (ServerError(503, "APIGW.0613"), True),
        (ServerError(504, "APIGW.0203"), False),
        (ServerError(500), False),
    ],
)
def test_what_was_surely_not_executed(error: ApiError | TransportError, certain: bool) -> None:
    """Only what was turned away before execution, or never arrived."""
    assert surely_not_executed(error) is certain


@pytest.mark.parametrize(("retries", "asked"), [(0, 1), (1, 2), (5, 6)])
def test_number_of_attempts_is_limited(retries: int, asked: int) -> None:
    """There are as many repeats as the connection allows, and no more."""
    requests, _ = run(retrying(GET, RetryPolicy(max_retries=retries, jitter=lambda: 0.0), CLOCK), [refused(500)] * 99)

    assert requests == asked


@pytest.mark.parametrize(("retries", "asked"), [(0, 1), (1, 2), (5, 2)])
def test_query_that_timed_out_is_tried_once_more(retries: int, asked: int) -> None:
    """The same range would time out again; the caller shortens it sooner."""
    timed_out = refused(408, "DMS.111501024")

    requests, _ = run(retrying(GET, RetryPolicy(max_retries=retries, jitter=lambda: 0.0), CLOCK), [timed_out] * 99)

    assert requests == asked


def test_waits_double_up_to_the_cap() -> None:
    """Half a second, one, two and so on, with the longest wait at 30 seconds, however many attempts there are."""
    full = RetryPolicy(max_retries=100, jitter=lambda: 1.0)

    waits = [full.delay_s(GET, attempt, ServerError(500)) for attempt in (1, 2, 3, 6, 7, 100)]

    assert waits == [0.5, 1, 2, 16, 30, 30]


@given(st.integers(1, 5), st.floats(0, 1, exclude_max=True))
def test_jitter_draws_at_most_half_of_a_wait(attempt: int, drawn: float) -> None:
    """Many clients do not come back at the same moment, and none comes back too soon."""
    backoff = 0.5 * 2 ** (attempt - 1)

    wait = RetryPolicy(jitter=lambda: drawn).delay_s(GET, attempt, ServerError(503))

    assert wait is not None
    assert backoff / 2 <= wait <= backoff


def _in(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 0.25),
        ("3600", 30),
        ("9" * 400, 30),
        (_in(7), 7),
        (_in(3600), 30),
        (_in(-3600), 0.25),
        ("Sun, 22 Nov 2026 00:00:07 -0000", 7),
        ("Sun, 22 Nov 2026 00:00:07 +99999999999999999999", 0.25),
        ("soon", 0.25),
        ("-5", 0.25),
        ("²", 0.25),
        ("", 0.25),
    ],
)
def test_retry_after_is_honoured_and_capped(header: str, wait: float) -> None:
    """Seconds and dates count up to the cap; nonsense counts as none."""
    _, sleeps = run(retrying(POST, POLICY, CLOCK), [refused(429, headers={"retry-after": header}), Response(200)])

    assert [sleep.seconds for sleep in sleeps] == [wait]


def run(flow: Flow[Any], attempts: list[Attempt]) -> tuple[int, list[Sleep]]:
    """Answer a flow from a list; count its requests and keep its sleeps."""
    requests: list[Request] = []
    sleeps: list[Sleep] = []

    def perform(step: Step) -> Any:
        if isinstance(step, Sleep):
            sleeps.append(step)
            return None
        assert isinstance(step, Request)
        requests.append(step)
        attempt = attempts[len(requests) - 1]
        if isinstance(attempt, TransportError):
            raise attempt
        return attempt

    with suppress(MqsError):
        drive(flow, perform)
    return len(requests), sleeps


def test_flow_goes_on_until_it_succeeds() -> None:
    """Each failure costs a wait, and the log says why, without a body."""
    requests, sleeps = run(retrying(GET, POLICY, CLOCK), [lost("exchange"), Response(502, {}, HTML), Response(200)])

    assert requests == 3
    assert [sleep.seconds for sleep in sleeps] == [0.25, 0.5]
    assert [sleep.reason for sleep in sleeps] == ["attempt 1: No answer.", "attempt 2: HTTP 502"]


@pytest.mark.parametrize("attempt", [lost("exchange"), refused(504, "APIGW.0203"), refused(500)])
def test_resend_is_never_repeated_in_doubt(attempt: Attempt) -> None:
    """One request, then the error: whether the copy exists is for others to find out."""
    flow = retrying(POST, POLICY, CLOCK)
    next(flow)

    with pytest.raises((TransportError, ServerError)):
        flow.throw(attempt) if isinstance(attempt, TransportError) else flow.send(attempt)


def test_date_of_retry_after_is_compared_with_the_services_time() -> None:
    """This machine's clock may be ten minutes off; the answer itself says what time it is."""
    headers = {"retry-after": _in(607), "date": _in(600)}

    _, sleeps = run(
        retrying(POST, POLICY, ServiceClock(lambda: 5.0, NOW.timestamp)), [refused(429, headers=headers), Response(200)]
    )

    assert [sleep.seconds for sleep in sleeps] == [pytest.approx(7, abs=1)]


def test_credentials_are_made_for_each_attempt() -> None:
    """A signature contains the time, so an old one is not sent again."""
    stamps = iter("abc")
    seen: list[str] = []
    flow = retrying(GET, POLICY, CLOCK, lambda request: Request(request.method, request.url, {"stamp": next(stamps)}))

    step = next(flow)
    for _ in range(2):
        assert isinstance(step, Request)
        seen.append(step.headers["stamp"])
        assert isinstance(flow.send(refused(500)), Sleep)
        step = next(flow)

    assert seen == ["a", "b"]


@pytest.mark.parametrize("status", [200, 500])
def test_few_codes_let_a_resend_be_repeated(status: int) -> None:
    """A mistake here sends a message twice, so each of them is named once more."""
    found = {
        number
        for number in ERROR_CODES
        if run(retrying(POST, POLICY, CLOCK), [refused(status, f"DMS.{number}"), Response(200)])[0] == 2
    }

    assert found == {"10240407", "0308", "0613"}


def test_few_codes_say_that_nothing_was_executed() -> None:
    """With status 200 or 500, too; a mistake here hides a copy, so each of them is named once more."""
    found = {number for number, code in ERROR_CODES.items() if surely_not_executed(code.error(200, f"DMS.{number}"))}

    throttled, gateway = {"10240407", "0308"}, {"0613", "0101", "0301", "0305", "0307"}
    assert found == {*throttled, *gateway, "00404001", "10240406", "10240101", "10240102", "10240103", "10240104"}


@pytest.mark.parametrize(
    "throttled", [refused(429), refused(404, "DMS.10240407"), refused(429, "APIGW.0308"), refused(200, "DMS.10240407")]
)
@pytest.mark.parametrize("retries", [0, 5])
def test_throttled_resend_waits_ever_slower_for_as_long_as_it_takes(throttled: Response, retries: int) -> None:
    """It was surely not executed, so neither its number of attempts nor its length counts against it."""
    policy = RetryPolicy(max_retries=retries, jitter=lambda: 1.0)

    requests, sleeps = run(retrying(POST, policy, CLOCK), [throttled] * 3000 + [Response(200)])

    assert requests == 3001
    assert [sleep.seconds for sleep in sleeps] == [0.5, 1, 2, 4, 8, 16] + [30] * 2994
    assert all(sleep.throttled for sleep in sleeps)


def test_throttled_query_is_repeated_as_often_as_any() -> None:
    """A query may be asked again by whoever needs it."""
    requests, _ = run(retrying(GET, POLICY, CLOCK), [refused(429)] * 99)

    assert requests == 6


def test_waiting_for_its_turn_leaves_a_resend_its_repeats() -> None:
    """A service that was busy for long, and then cannot be connected to for a moment."""
    attempts = [refused(429)] * 20 + [lost("connect")] * 5 + [refused(429)] * 20 + [Response(200)]

    requests, _ = run(retrying(POST, POLICY, CLOCK), attempts)

    assert requests == 46


def test_repeats_of_a_resend_that_was_not_throttled_are_limited() -> None:
    """Being throttled in between gives it no more of them."""
    attempts = [refused(429), lost("connect")] * 99

    requests, _ = run(retrying(POST, POLICY, CLOCK), attempts)

    assert requests == 12


def test_wait_for_another_attempt_is_trouble() -> None:
    """So the log says it as a warning."""
    _, sleeps = run(retrying(GET, POLICY, CLOCK), [refused(500), Response(200)])

    assert [sleep.trouble for sleep in sleeps] == [True]
