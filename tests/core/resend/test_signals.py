"""Signals stop the work in order, and only in the main thread."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_mqs.core.resend.signals import interrupts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM, signal.SIGINT])
def test_a_signal_tells_why(number: signal.Signals) -> None:
    """No exception breaks in, and the handler of before is back at the end."""
    before, reasons = signal.getsignal(number), list[str]()

    with interrupts(reasons.append, signal.SIGINT) as came:
        signal.raise_signal(number)

    assert (came, len(reasons)) == ([number], 1)
    assert signal.getsignal(number) is before


def test_another_thread_leaves_the_handlers_alone() -> None:
    """Python lets only the main thread set them."""

    def work() -> object:
        with interrupts(lambda _: None):
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is signal.getsignal(signal.SIGTERM)
