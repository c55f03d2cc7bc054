"""
A clock for a whole test: it can go faster, it can jump, and each process can have a wall clock of its own.

The test, its workers (forked processes) and the local service share it, as machines share the real time. It is put in
place of Python's own clocks, so the code under test needs to know nothing of it: event loops, sleeps and timeouts obey
it. Locks and queues do not; they wait in real time.
"""

from __future__ import annotations

import multiprocessing
import selectors
import sys
import time
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

_wall_s, _monotonic_s, _sleep = time.time, time.monotonic, time.sleep
_select = selectors.DefaultSelector.select


class Clock:
    """
    The time of a test.

    :param speed: seconds that pass in a real second
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.ahead_s = 0.0  # the wall clock of this process: how far it is ahead of the true time
        self._began = _wall_s(), _monotonic_s()
        # in memory that forked processes share
        self._jumped = multiprocessing.RawValue("d", 0.0)

    def true_s(self) -> float:
        """Return the true time in epoch seconds, which is the service's."""
        return self._began[0] + self.monotonic() - self._began[1]

    def wall_s(self) -> float:
        """Return what this machine takes for the time."""
        return self.true_s() + self.ahead_s

    def wall_ns(self) -> int:
        """Return the same in nanoseconds."""
        return int(self.wall_s() * 1_000_000_000)

    def monotonic(self) -> float:
        """Return seconds that no machine sets."""
        return self._began[1] + (_monotonic_s() - self._began[1]) * self.speed + float(self._jumped.value)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        _sleep(seconds / self.speed)

    def jump(self, seconds: float) -> None:
        """Let time pass at once, for all processes."""
        self._jumped.value += seconds


@contextmanager
def passing(patch: pytest.MonkeyPatch, speed: float = 1.0) -> Iterator[Clock]:
    """Let this process, and those that it forks, live by a clock of its own while a block runs."""
    clock = Clock(speed)

    def select(self: Any, timeout: float | None = None) -> Any:
        return _select(self, timeout / speed if timeout and timeout > 0 else timeout)

    with patch.context() as inner:
        inner.setattr(selectors.DefaultSelector, "select", select)
        replaced: dict[Any, Callable[..., Any]] = {time.time_ns: clock.wall_ns}
        for name, call in (("time", clock.wall_s), ("monotonic", clock.monotonic), ("sleep", clock.sleep)):
            replaced[getattr(time, name)] = call
            inner.setattr(time, name, call)
        inner.setattr(time, "time_ns", clock.wall_ns)
        for function in _functions():
            # defaults were taken when the module was imported
            for name in ("__defaults__", "__kwdefaults__"):
                _replace(inner, function, name, replaced)
        yield clock


def _functions() -> Iterator[FunctionType]:
    for name, module in list(sys.modules.items()):
        if not name.startswith("airflow_provider_mqs."):
            continue
        for value in list(vars(module).values()):
            members = list(vars(value).values()) if isinstance(value, type) else [value]
            for member in members:
                function = getattr(member, "__func__", member)
                if isinstance(function, FunctionType) and function.__module__ == name:
                    yield function


def _replace(patch: pytest.MonkeyPatch, function: FunctionType, name: str, replaced: dict[Any, Any]) -> None:
    defaults = getattr(function, name)
    if isinstance(defaults, tuple) and any(_among(one, replaced) for one in defaults):
        patch.setattr(function, name, tuple(replaced[one] if _among(one, replaced) else one for one in defaults))
    elif isinstance(defaults, dict) and any(_among(one, replaced) for one in defaults.values()):
        changed = {key: replaced[one] if _among(one, replaced) else one for key, one in defaults.items()}
        patch.setattr(function, name, changed)


def _among(value: Any, replaced: dict[Any, Any]) -> bool:
    return callable(value) and getattr(value, "__hash__", None) is not None and value in replaced
