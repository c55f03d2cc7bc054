"""What keeps the suite from waiting for ever: a helper thread that fails ends its test."""

from __future__ import annotations

import threading

import pytest

from tests.support import beside


def test_a_helper_that_fails_ends_the_block() -> None:
    """The error is the helper's, and what the block waits for need not come."""
    with pytest.raises(ZeroDivisionError), beside(lambda _: 1 / 0):
        threading.Event().wait(60)


def test_a_helper_that_fails_ends_a_block_that_swallows_its_error() -> None:
    """Airflow swallows it if it is running a task at that moment."""
    begun = threading.Event()
    swallowed: list[Exception] = []

    def block() -> None:
        try:
            begun.set()
            threading.Event().wait(60)
        except ZeroDivisionError as error:
            swallowed.append(error)
        threading.Event().wait(60)

    with pytest.raises(ZeroDivisionError), beside(lambda _: begun.wait(60) and 1 / 0):
        block()

    assert len(swallowed) == 1


def test_a_helper_that_fails_late_fails_the_test() -> None:
    """The block may have ended long before."""
    with pytest.raises(ValueError, match="too late"), beside(fail_late):
        pass


def fail_late(over: threading.Event) -> None:
    over.wait(60)
    raise ValueError("too late")


def test_a_helper_knows_when_the_block_is_over() -> None:
    """It needs no number of seconds of its own."""
    seen: list[bool] = []

    with beside(lambda over: seen.append(over.wait(60))):
        pass

    assert seen == [True]
