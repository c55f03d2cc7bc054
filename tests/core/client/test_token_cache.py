"""The token slot of an identity: one login at a time, whose result all others get."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from airflow_provider_mqs.core.client.token_cache import Token, TokenSlot, slot_for
from airflow_provider_mqs.exceptions import AuthenticationError, MqsError, PermissionDeniedError, ServerError

TOKEN = Token("s3cret", "p-1", renew_at=1000.0)
QUARTER_S = 15 * 60


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def claimed(clock: Clock | None = None) -> TokenSlot:
    slot = TokenSlot(clock or Clock())
    assert slot.claim(None) is None
    return slot


def test_first_claim_logs_in_and_the_others_wait() -> None:
    """The first caller logs in; all others get the same future to wait for."""
    slot = claimed()

    waiting = [slot.claim(None) for _ in range(3)]

    assert isinstance(waiting[0], Future)
    assert waiting == [waiting[0]] * 3
    assert not waiting[0].done()


def test_token_is_returned_until_it_must_be_renewed() -> None:
    """From that moment on, the next claim logs in."""
    clock = Clock()
    slot = claimed(clock)
    slot.complete(TOKEN)

    clock.now = 999.9
    assert slot.claim(None) is TOKEN

    clock.now = 1000.0
    assert slot.claim(None) is None


def test_stale_token_is_replaced_once() -> None:
    """Many flows may report the same stale token; those that come after the login get the new one."""
    slot = claimed()
    slot.complete(TOKEN)
    fresh = Token("other", "p-1", renew_at=1000.0)

    assert slot.claim(TOKEN) is None
    slot.complete(fresh)

    assert slot.claim(TOKEN) is fresh


@pytest.mark.parametrize(
    "error", [AuthenticationError(401, "IAM.0062"), PermissionDeniedError(403, "IAM.0082"), ServerError(503)]
)
def test_those_who_wait_get_the_error(error: MqsError) -> None:
    """A refused login is refused for all of them."""
    slot = claimed()
    waiting: Any = slot.claim(None)

    slot.complete(None, error)

    assert waiting.exception(timeout=0) is error


@pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), None])
def test_cancelled_login_wakes_the_others(error: BaseException | None) -> None:
    """They do not get another flow's cancellation; the first of them takes over."""
    slot = claimed()
    waiting: Any = slot.claim(None)

    slot.complete(None, error)

    assert waiting.result(timeout=0) is None
    assert slot.claim(None) is None


@pytest.mark.parametrize("error", [AuthenticationError(401, "IAM.0062"), PermissionDeniedError(403, "IAM.0082")])
def test_refused_credentials_are_not_tried_for_15_minutes(error: MqsError) -> None:
    """Each claim in that time raises IAM's error, since more tries would keep the user locked."""
    clock = Clock()
    slot = claimed(clock)
    slot.complete(None, error)

    clock.now = QUARTER_S - 0.1
    with pytest.raises(type(error)) as caught:
        slot.claim(None)
    assert caught.value is error

    clock.now = QUARTER_S
    assert slot.claim(None) is None


def test_failure_of_iam_itself_may_be_tried_again_at_once() -> None:
    """Only refused credentials are remembered."""
    slot = claimed()
    slot.complete(None, ServerError(503))

    assert slot.claim(None) is None


def test_identity_has_one_slot() -> None:
    """The same digest has the same slot, another digest another one."""
    assert slot_for("one") is slot_for("one")
    assert slot_for("one") is not slot_for("other")


def test_token_is_not_shown() -> None:
    """No representation contains its value."""
    assert "s3cret" not in repr(TOKEN)
    assert "p-1" in repr(TOKEN)
