"""One reading of a topic for all who watch it: who comes first reads, the others take what was read."""

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

    from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
    from airflow_provider_mqs.core.watch.cursor import Cursor
    from airflow_provider_mqs.core.watch.new_messages import Reading

    Read: TypeAlias = "Callable[[int], Awaitable[tuple[Reading, KnownCopies]]]"


@dataclass(frozen=True, slots=True)
class Taken:
    """
    A reading.

    :param began_s: when it began, epoch seconds
    :param pace: a factor near 1 for the wait until the next, the same for all, so that they stay together
    :param reading: what the topic holds
    :param copies: which of that earlier replays have put there
    """

    began_s: float
    pace: float
    reading: Reading
    copies: KnownCopies

    def until_ms(self, settle_s: float) -> int:
        """
        Say what of it had time to settle.

        :param settle_s: how long that takes
        :return: the millisecond behind the last, epoch
        """
        return _settled_ms(self.began_s, settle_s)


@dataclass(frozen=True, slots=True)
class Failed:
    """
    A reading that failed.

    :param began_s: when it began, epoch seconds
    :param error: why
    """

    began_s: float
    error: MqsError


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What a watcher wants to know.

    :param cursor: how far it is
    :param now_s: the time, epoch seconds
    :param since_s: what was read before that is too old for it
    :param settle_s: how far behind the present it reads
    :param overlap_s: how late a message may come
    """

    cursor: Cursor
    now_s: float
    since_s: float
    settle_s: float
    overlap_s: float

    @property
    def until_ms(self) -> int:
        """The millisecond behind the last that had time to settle, epoch."""
        return _settled_ms(self.now_s, self.settle_s)

    def is_met(self, last: Taken | Failed) -> bool:
        """
        Tell whether a reading brings the watcher on.

        :param last: what came of somebody's reading
        :return: whether it is new enough, covers what is wanted and goes beyond the cursor; a failure is one for all
        """
        if last.began_s < self.since_s or isinstance(last, Failed):
            return last.began_s >= self.since_s
        window = last.reading.window
        end_ms = min(window.end_ms, last.until_ms(self.settle_s))
        return window.start_ms <= self.cursor.from_ms and end_ms > self.cursor.next_ms


class SharedReadings:
    """The last reading of a topic, and who watches it. Get it with ``readings_of``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()  # kept alive, so that no other loop has its number
        self._one_reads = asyncio.Lock()
        self._needs: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._last: Taken | Failed | None = None

    async def take(self, watcher: object, wish: Wish, read: Read) -> Taken:
        """
        Give the last reading where it will do, else read.

        The one who reads begins where the one who is furthest behind needs it, by at most an overlap. A lone watcher's
        reading is not kept.

        :param watcher: who asks; forgotten when it is no more
        :param wish: what it wants
        :param read: reads from that millisecond on
        :return: the reading
        :raises MqsError: reading failed, now or for somebody a short time ago
        """
        self._needs[watcher] = wish.cursor.from_ms
        async with self._one_reads:
            last = self._last
            if last is None or not wish.is_met(last):
                last = await self._read(wish, read)
                self._last = last if len(self._needs) > 1 else None
        if isinstance(last, Failed):
            raise last.error.with_traceback(None)
        return last

    async def _read(self, wish: Wish, read: Read) -> Taken | Failed:
        pace = random.uniform(0.9, 1.1)  # noqa: S311 - spreads the readings of many topics
        earliest_ms = wish.cursor.from_ms - int(wish.overlap_s * 1000)
        start_ms = min(max(min(self._needs.values()), earliest_ms), wish.cursor.from_ms)
        try:
            return Taken(wish.now_s, pace, *await read(start_ms))
        except MqsError as error:
            return Failed(wish.now_s, error)


def _settled_ms(moment_s: float, settle_s: float) -> int:
    return int(moment_s * 1000) - int(settle_s * 1000)


_readings: WeakValueDictionary[Hashable, SharedReadings] = process_wide(WeakValueDictionary())


def readings_of(*topic: Hashable) -> SharedReadings:
    """
    Give what all watchers of a topic in this event loop share, as long as one of them holds it.

    :param topic: all that decides what is read: connection, instance, topic, whether copies are looked for
    :return: the same for the same topic
    """
    key = (id(asyncio.get_running_loop()), *topic)
    found = _readings.get(key)
    if found is None:
        found = _readings[key] = SharedReadings()
    return found
