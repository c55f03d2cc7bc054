"""
One reading of a topic for all of its watchers: the first that is due reads, the others take its result.

Fifty DAGs may watch one topic, each with a trigger of its own that polls once a minute. Apart they would ask the
service the same question fifty times. Airflow's own ``shared_stream`` broadcasts what arrives from now on; here each
watcher has a stored cursor and may lag, so what is shared is the last reading, and each finds in it what is new since
its own cursor.

Which watchers share
    Triggers in one event loop with the same connection, instance and topic that treat copies alike. ``SharedReadings``
    lives as long as one of them holds it.

Which watcher reads
    A watcher that polls waits for the lock. If the last reading meets its request, it takes that; else it reads, while
    those that come meanwhile wait, and mostly take the result. A reader that is cancelled releases the lock, and the
    next in line reads.

What meets a request
    A reading that is new enough, begins no later than the watcher's cursor and goes beyond it. New enough means not
    older than half the time that the watcher has waited, so a poll never yields what the last one did.

Where a reading begins
    At the earliest time that any watcher needs, but at most an overlap before the reader's own cursor. A watcher that
    lags more than that, as after a long pause, reads alone until it has caught up.

A failure is one for all
    A watcher that asks soon after a reading has failed gets the same error, so a service that is down gets as many
    requests as from one watcher. Each watcher then waits as long as its own errors in a row demand.

Together again
    All that took a reading wait equally long for the next (``interval_factor``), so watchers that started apart poll
    together from their second poll on.

Nothing here is stored. A triggerer that is killed loses a reading, and the next one reads again: what was published is
each watcher's own to remember, see ``core/watch/cursor``.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from airflow_provider_mqs.core.watch.cursor import Cursor
    from airflow_provider_mqs.core.watch.new_messages import Reading

    Read: TypeAlias = "Callable[[int], Awaitable[Reading]]"
    """Reads from this millisecond on."""


@dataclass(frozen=True, slots=True)
class CompletedReading:
    """A reading that one of the watchers made."""

    started_s: float
    interval_factor: float
    """Near 1, for the wait until the next reading; the same for all."""
    reading: Reading

    def until_ms(self, settle_s: float) -> int:
        """Return the end (exclusive) of what had ``settle_s`` to arrive when it was read."""
        return _settled_ms(self.started_s, settle_s)


@dataclass(frozen=True, slots=True)
class FailedReading:
    """Why the last reading failed."""

    started_s: float
    error: MqsError


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What a watcher needs from a reading."""

    cursor: Cursor
    now_s: float
    since_s: float
    """A reading that started before is too old."""
    settle_s: float
    """Seconds that messages get to arrive before the watcher reads them."""
    overlap_s: float

    @property
    def until_ms(self) -> int:
        """The end (exclusive) of what had time to arrive, epoch ms."""
        return _settled_ms(self.now_s, self.settle_s)

    def is_met_by(self, last: CompletedReading | FailedReading) -> bool:
        """Return whether a reading brings the watcher forward; a failure answers it, too, if it is new enough."""
        if last.started_s < self.since_s or isinstance(last, FailedReading):
            return last.started_s >= self.since_s
        window = last.reading.window
        end_ms = min(window.end_ms, last.until_ms(self.settle_s))
        return window.start_ms <= self.cursor.from_ms and end_ms > self.cursor.next_ms


class SharedReadings:
    """The last reading of a topic, and who watches it. Get it with ``readings_of``."""

    def __init__(self) -> None:
        # kept alive: ``readings_of`` knows loops by their id, which a later loop could reuse
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._needed_from_ms: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._last: CompletedReading | FailedReading | None = None

    async def get(self, watcher: object, request: ReadRequest, read: Read) -> CompletedReading:
        """Return the last reading if it meets the request, else read; a recent failure is raised again."""
        self._needed_from_ms[watcher] = request.cursor.from_ms
        async with self._lock:
            last = self._last
            if last is None or not request.is_met_by(last):
                earliest_ms = request.cursor.from_ms - int(request.overlap_s * 1000)
                start_ms = min(max(min(self._needed_from_ms.values()), earliest_ms), request.cursor.from_ms)
                interval_factor = random.uniform(0.9, 1.1)  # noqa: S311 - spreads the polls of many topics
                try:
                    last = CompletedReading(request.now_s, interval_factor, await read(start_ms))
                except MqsError as error:
                    last = FailedReading(request.now_s, error)
                # a lone watcher has no use for it, and it may hold thousands of rows
                self._last = last if len(self._needed_from_ms) > 1 else None
        if isinstance(last, FailedReading):
            # each of them raises the same object, whose traceback would grow by each
            raise last.error.with_traceback(None)
        return last


def _settled_ms(now_s: float, settle_s: float) -> int:
    return int(now_s * 1000) - int(settle_s * 1000)


_readings: WeakValueDictionary[Hashable, SharedReadings] = process_wide(WeakValueDictionary())


def readings_of(*topic: Hashable) -> SharedReadings:
    """Return what all watchers of a topic in this event loop share; ``topic`` is all that decides what is read."""
    key = (id(asyncio.get_running_loop()), *topic)
    readings = _readings.get(key)
    if readings is None:
        readings = _readings[key] = SharedReadings()
    return readings
