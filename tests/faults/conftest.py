"""The local service by the clock of the test, and messages in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.clocks import passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.testing import MqsEmulator
    from tests.faults.clocks import Clock


@pytest.fixture
def hurry(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Clock]]:
    """Provide a function that starts a clock of the test, which goes so many times as fast as the real one."""
    with pytest.MonkeyPatch.context() as patch:
        contexts = []

        def start(speed: float = 1.0) -> Clock:
            contexts.append(passing(patch, speed))
            clock = contexts[-1].__enter__()
            mqs.service.state.clock = clock.true_s
            return clock

        yield start
        for context in contexts:
            context.__exit__(None, None, None)
