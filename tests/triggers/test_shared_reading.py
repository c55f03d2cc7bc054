"""Watchers of one topic share its readings, on the real local service, in a time that moves when all of them wait."""

from __future__ import annotations

import asyncio
import json
import random
import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.watch.cursor import Cursor
from airflow_provider_mqs.core.watch.new_messages import Reading
from airflow_provider_mqs.emulator.faults import ALWAYS, NEVER
from airflow_provider_mqs.exceptions import ServerError
from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger
from airflow_provider_mqs.triggers.shared_reading import SharedReadings, Wish, readings_of
from airflow_provider_mqs.triggers.watcher import TopicWatcher
from tests.support import START_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from airflow_provider_mqs.testing import MqsEmulator

START_S = START_MS / 1000
MessageRef = tuple[int, int]


@dataclass
class Crowd:
    """Watchers, and a time that moves to the next of them to wake when all are asleep."""

    watchers: list[NewMessagesTrigger] = field(default_factory=list)
    now_s: float = START_S
    on_turn: Callable[[], object] = lambda: None
    _asleep: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._asleep.append((self.now_s + seconds, future))
        if len(self._asleep) == len(self.watchers):
            self._turn()
        await future

    def _turn(self) -> None:
        self.now_s = max(self.now_s, min(wake_s for wake_s, _ in self._asleep))
        self.on_turn()
        due = [future for wake_s, future in self._asleep if wake_s <= self.now_s]
        self._asleep = [(wake_s, future) for wake_s, future in self._asleep if wake_s > self.now_s]
        for future in due:
            if not future.done():
                future.set_result(None)

    async def watch(self, seconds: float) -> list[list[Any]]:
        """Run all for so long, and give what each was told."""
        told: list[list[Any]] = [[] for _ in self.watchers]
        before, over = self.on_turn, asyncio.Event()

        def turn() -> None:
            before()
            if self.now_s > START_S + seconds:
                over.set()

        self.on_turn = turn
        tasks = [asyncio.create_task(self._run(*pair)) for pair in zip(self.watchers, told, strict=True)]
        await asyncio.wait_for(over.wait(), 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return told

    @staticmethod
    async def _run(watcher: NewMessagesTrigger, told: list[Any]) -> None:
        async for event in watcher.run():
            told.append(event.payload)  # noqa: PERF401 - what came before the end is wanted


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """Put the triggers into the time of a crowd."""
    own = Crowd()
    monkeypatch.setattr(NewMessagesTrigger, "_now_s", staticmethod(lambda: own.now_s))
    monkeypatch.setattr(NewMessagesTrigger, "_sleep", staticmethod(own.sleep))
    return own


@pytest.fixture
def service(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> MqsEmulator:
    """Run a service with an empty topic, behind a connection that does not repeat by itself."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(max_retries=0))
    mqs.seed("orders", 0, START_MS, START_MS + 1, partitions=3, retention_hours=1_000_000)
    return mqs


def watcher(**arguments: Any) -> NewMessagesTrigger:
    return NewMessagesTrigger(**{"topic": "orders", "exclude_copies": False, "start": START_MS, **arguments})


def places(payloads: list[Any]) -> list[MessageRef]:
    found = [Offsets.from_xcom(json.loads(json.dumps(payload))) for payload in payloads]
    parts = [(number, part) for one in found for number, part in one.partitions.items()]
    return [(number, at) for number, part in parts for first, last in part.ranges for at in range(first, last + 1)]


def stored(service: MqsEmulator) -> list[MessageRef]:
    return sorted((one.partition, one.message_offset) for one in service.messages("orders"))


async def test_one_reading_serves_all_watchers_of_a_topic(service: MqsEmulator, crowd: Crowd) -> None:
    """Twenty of them ask the service as often as one does, and each is told everything once."""
    service.seed("orders", 30, START_MS, START_MS + 30_000, partitions=3, retention_hours=1_000_000)
    crowd.watchers = [watcher() for _ in range(20)]

    told = await crowd.watch(600)

    assert all(sorted(places(payloads)) == stored(service) for payloads in told)
    assert 9 <= len(service.requests("query")) <= 13
    assert len(service.requests("topics")) == len(service.requests("query"))
    assert len(service.requests("login")) == 1


async def test_those_who_start_at_different_moments_come_together(
    service: MqsEmulator, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second interval on they read as one."""
    look, waits = TopicWatcher.look, iter([0.0, 15.0, 30.0])

    async def begin_late(self: TopicWatcher, now_s: float, patience_s: float) -> Any:
        if self._readings is None and (wait_s := next(waits, 0.0)):
            await crowd.sleep(wait_s)
            now_s = crowd.now_s
        return await look(self, now_s, patience_s)

    monkeypatch.setattr(TopicWatcher, "look", begin_late)
    crowd.watchers = [watcher() for _ in range(3)]

    await crowd.watch(600)

    assert len(service.requests("query")) <= 14


async def test_an_error_is_one_for_all(service: MqsEmulator, crowd: Crowd) -> None:
    """Twenty ask a service that is down a few times as often as one, which does so ten times."""
    service.faults.throttle_429 = ALWAYS
    crowd.watchers = [watcher() for _ in range(20)]

    await crowd.watch(600)

    assert 10 <= len(service.requests("topics")) <= 40


async def test_after_an_error_all_are_told(service: MqsEmulator, crowd: Crowd) -> None:
    """Nothing is lost by it, and nothing told twice."""
    service.seed("orders", 30, START_MS, START_MS + 30_000, partitions=3, retention_hours=1_000_000)
    service.faults.throttle_429 = ALWAYS
    crowd.on_turn = lambda: setattr(service.faults, "throttle_429", NEVER) if crowd.now_s > START_S + 90 else None
    crowd.watchers = [watcher() for _ in range(5)]

    told = await crowd.watch(600)

    assert all(sorted(places(payloads)) == stored(service) for payloads in told)


@pytest.mark.parametrize("chance", range(8))
async def test_whoever_reads_each_is_told_each_message_once(chance: int, service: MqsEmulator, crowd: Crowd) -> None:
    """Watchers that differ in all that may differ, and messages that come late, in no order."""
    pick = random.Random(chance)  # noqa: S311 - repeatable
    crowd.watchers = [
        watcher(
            poll_interval_s=pick.choice([20, 30, 60]),
            settle_s=pick.choice([0, 5, 25]),
            overlap_s=pick.choice([60, 120, 300]),
            max_messages=pick.choice([3, 10, 1000]),
        )
        for _ in range(4)
    ]
    coming = [(START_MS + pick.randrange(600_000), pick.randrange(60_000), pick.randrange(3)) for _ in range(120)]

    def arrive() -> None:
        for message in [one for one in coming if one[0] + one[1] <= crowd.now_s * 1000]:
            coming.remove(message)
            service.append("orders", partition=message[2], timestamp_ms=message[0])

    crowd.on_turn = arrive
    told = await crowd.watch(1500)

    assert coming == []
    for payloads in told:
        assert Counter(places(payloads)) == Counter(stored(service))


async def test_a_lone_watcher_keeps_no_reading() -> None:
    """A batch of rows in memory is of use only where somebody else wants it."""
    shared, only, asked = SharedReadings(), Watcher(), list[int]()

    await shared.take(only, wish(), reads(asked))
    await shared.take(only, wish(), reads(asked))

    assert len(asked) == 2
    assert shared._last is None


async def test_what_is_read_differently_is_not_shared() -> None:
    """Another topic, connection or instance, or copies that are looked for, have readings of their own."""
    mine = readings_of("conn", "host", "i", "orders", True)

    assert readings_of("conn", "host", "i", "orders", True) is mine
    assert readings_of("conn", "host", "i", "orders", False) is not mine
    assert readings_of("conn", "host", "i", "others", True) is not mine


async def test_nobody_keeps_the_readings_of_a_topic_that_is_no_longer_watched() -> None:
    """They go with their last watcher."""
    mine = weakref.ref(readings_of("conn", "host", "i", "gone", True))

    assert mine() is None


def wish(from_s: float = 0.0, next_s: float = 0.0, **changes: Any) -> Wish:
    cursor = Cursor(int(from_s * 1000), int(next_s * 1000))
    return Wish(**{"cursor": cursor, "now_s": 100.0, "since_s": 70.0, "settle_s": 0.0, "overlap_s": 10.0, **changes})


def reads(asked: list[int], end_s: float = 100.0) -> Callable[[int], Coroutine[Any, Any, tuple[Reading, KnownCopies]]]:
    """Read nothing, and note from when on."""

    async def read(start_ms: int) -> tuple[Reading, KnownCopies]:
        asked.append(start_ms)
        return Reading(TimeWindow(start_ms, int(end_s * 1000)), {}), KnownCopies()

    return read


class Watcher:
    """Somebody who watches."""


@pytest.mark.parametrize(
    ("second", "readings_made"),
    [
        (wish(from_s=50, next_s=60, now_s=120.0, since_s=90.0), 1),
        (wish(from_s=50, next_s=60, now_s=131.0, since_s=101.0), 2),
        (wish(from_s=20, next_s=60), 2),
        (wish(from_s=90, next_s=100), 2),
        (wish(from_s=50, next_s=60, settle_s=40.0), 2),
    ],
    ids=["new enough", "too old", "begins too late", "ends too early", "not settled"],
)
async def test_a_reading_is_taken_only_where_it_will_do(second: Wish, readings_made: int) -> None:
    """Else the watcher reads on its own."""
    shared, asked, watchers = SharedReadings(), list[int](), (Watcher(), Watcher())
    shared._needs[watchers[1]] = 50_000
    await shared.take(watchers[0], wish(from_s=50, next_s=50), reads(asked))

    await shared.take(watchers[1], second, reads(asked, 200.0))

    assert len(asked) == readings_made


@pytest.mark.parametrize(("behind_s", "begins_s"), [(49.0, 49.0), (5.0, 40.0), (55.0, 50.0)])
async def test_who_reads_begins_where_others_need_it(behind_s: float, begins_s: float) -> None:
    """By at most an overlap earlier, so that one who is far behind costs the others nothing."""
    shared, asked, watchers = SharedReadings(), list[int](), (Watcher(), Watcher())
    shared._needs[watchers[1]] = int(behind_s * 1000)

    await shared.take(watchers[0], wish(from_s=50, next_s=60), reads(asked))

    assert asked == [int(begins_s * 1000)]


async def test_who_waits_for_a_reading_that_is_cancelled_reads_itself() -> None:
    """A watcher whose asset was removed takes nobody else with it."""
    shared, asked, watchers = SharedReadings(), list[int](), (Watcher(), Watcher())
    begun = asyncio.Event()

    async def never(_: int) -> Any:
        begun.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(shared.take(watchers[0], wish(), never))
    await begun.wait()
    second = asyncio.create_task(shared.take(watchers[1], wish(), reads(asked)))
    first.cancel()

    await second

    assert asked == [0]


async def test_a_failure_is_raised_for_those_who_ask_soon_after() -> None:
    """And not for those who were patient enough."""
    shared, asked, watchers = SharedReadings(), list[int](), (Watcher(), Watcher())

    async def fail(_: int) -> Any:
        raise ServerError(503, "", "Down.")

    shared._needs[watchers[1]] = 0
    with pytest.raises(ServerError):
        await shared.take(watchers[0], wish(), fail)
    with pytest.raises(ServerError):
        await shared.take(watchers[1], wish(), reads(asked))
    await shared.take(watchers[1], wish(now_s=110.0, since_s=101.0), reads(asked))

    assert len(asked) == 1
