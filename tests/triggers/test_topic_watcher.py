"""What ``NewMessagesTrigger`` publishes, on the real local service, with its own time and a store that outlives it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.emulator.faults import ALWAYS
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.triggers import topic_watcher
from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger
from tests.support import START_MS, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

SETTLE_MS = 10_000
MessageRef = tuple[int, int]


@dataclass
class Time:
    """A time that only sleeping moves."""

    now_s: float = START_MS / 1000
    sleeps: list[float] = field(default_factory=list)
    on_sleep: Callable[[float], object] = lambda _: None

    async def sleep(self, seconds: float) -> None:
        if not seconds:
            return
        self.on_sleep(seconds)
        self.sleeps.append(seconds)
        self.now_s += seconds

    @property
    def now_ms(self) -> int:
        return int(self.now_s * 1000)


@dataclass
class AssetStore:
    """The state store of a watched asset as a triggerer of Airflow 3.3 gives it."""

    values: dict[str, Any] = field(default_factory=dict)
    broken: int = 0

    async def aget(self, key: str) -> Any:
        self._work()
        return self.values.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self._work()
        self.values[key] = json.loads(json.dumps(value))

    def _work(self) -> None:
        if self.broken:
            self.broken -= 1
            raise RuntimeError("no answer")


class AsBefore332:
    """The same without the asynchronous twins."""

    def __init__(self, store: AssetStore) -> None:
        self.store = store

    def get(self, key: str) -> Any:
        return self.store.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.store.values[key] = value


class OfSeveralAssets(AssetStore):
    """The state stores of two assets: nobody can tell which one is meant."""

    async def aget(self, key: str) -> Any:
        raise ValueError(f"{key}: Task has 2 concrete inlets and outlets")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Put the trigger into a time of its own, where no jitter blurs a wait."""
    own = Time()
    monkeypatch.setattr(NewMessagesTrigger, "_now_s", staticmethod(lambda: own.now_s))
    monkeypatch.setattr(NewMessagesTrigger, "_sleep", staticmethod(own.sleep))
    monkeypatch.setattr("random.uniform", lambda *_: 1.0)
    monkeypatch.setattr("random.random", lambda: 0.0)
    return own


@pytest.fixture
def service(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> MqsEmulator:
    """Run a service with an old topic, behind a connection that does not retry by itself."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(max_retries=0))
    mqs.seed("orders", 30, START_MS - 60_000, START_MS, partitions=3, retention_hours=1_000_000)
    return mqs


@pytest.fixture(autouse=True)
def no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no triggerer here to answer for the record's asset."""
    monkeypatch.setattr(topic_watcher, "_record_accessor", AssetStore)
    monkeypatch.setattr("airflow_provider_mqs.tasks.stores.VariableStore", MemoryStore)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the warnings of the store; Airflow switches loggers off when other tests load its logging."""
    said: list[str] = []
    monkeypatch.setattr(topic_watcher._log, "warning", lambda form, *values: said.append(form % values))
    return said


def trigger(store: Any = None, **arguments: Any) -> NewMessagesTrigger:
    made = NewMessagesTrigger(**{"topic": "orders", **arguments})
    made.asset_state_store = store
    return made


def refs(payload: Any) -> list[MessageRef]:
    offsets = Offsets.from_xcom(payload)
    return [
        (number, offset)
        for number, part in offsets.partitions.items()
        for first, last in part.ranges
        for offset in range(first, last + 1)
    ]


async def first_of(events: AsyncGenerator[Any, None]) -> Any:
    """Take one event, as a triggerer does that is killed before it asks for another."""
    payload = (await anext(events)).payload
    await events.aclose()
    return payload


async def polled(made: NewMessagesTrigger, time: Time, count: int) -> list[Any]:
    """Run until it has waited so often for its next poll."""
    payloads: list[Any] = []
    waits = 0

    def count_wait(seconds: float) -> None:
        nonlocal waits
        waits += seconds != 1.0
        if waits > count:
            raise asyncio.CancelledError

    before, time.on_sleep = time.on_sleep, lambda seconds: (before(seconds), count_wait(seconds))
    with suppress(asyncio.CancelledError):
        async for event in made.run():
            payloads.append(event.payload)  # noqa: PERF401 - what came before the end is wanted
    return payloads


def append_at(service: MqsEmulator, time: Time, *timestamps: int) -> None:
    """Append messages while the trigger waits for its first poll."""
    left = list(timestamps)

    def append(_: float) -> None:
        while left:
            service.append("orders", partition=len(left) % 3, timestamp_ms=left.pop())

    time.on_sleep = append


async def test_new_messages_raise_one_event_with_their_ranges(service: MqsEmulator, time: Time) -> None:
    """The payload is a document for the operators, without what was there before the start."""
    append_at(service, time, START_MS, START_MS, START_MS + 7)

    (payload,) = await polled(trigger(AssetStore()), time, 3)

    offsets = Offsets.from_xcom(json.loads(json.dumps(payload)))
    assert (offsets.count, offsets.complete, offsets.topic) == (3, True, "orders")
    assert offsets.window.source == "event"
    assert sorted(refs(payload)) == [(0, 10), (1, 10), (2, 10)]


async def test_the_first_poll_comes_at_a_random_moment(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within ten seconds; ``now`` is still the moment when the trigger started."""
    monkeypatch.setattr("random.random", lambda: 0.5)
    store = AssetStore()

    await polled(trigger(store), time, 1)

    assert time.sleeps == [5.0]
    assert [value["next_ms"] for value in store.values.values()] == [START_MS]


async def test_what_is_not_settled_waits_for_the_next_poll(service: MqsEmulator, time: Time) -> None:
    """It reads ``settle_s`` behind the present."""
    append_at(service, time, START_MS + 60_000 - SETTLE_MS - 1, START_MS + 60_000 - SETTLE_MS)

    first, second = await polled(trigger(AssetStore()), time, 3)

    assert [Offsets.from_xcom(one).count for one in (first, second)] == [1, 1]
    assert Offsets.from_xcom(first).window.end_ms == Offsets.from_xcom(second).window.start_ms


async def test_late_messages_are_published_once(service: MqsEmulator, time: Time) -> None:
    """Messages of a producer whose clock is minutes behind are not missed, and no others are published twice."""
    late = [START_MS + 30_000, START_MS + 5, START_MS + 5]
    time.on_sleep = lambda s: late and s != 1.0 and service.append("orders", timestamp_ms=late.pop(0))

    published = [ref for payload in await polled(trigger(AssetStore()), time, 5) for ref in refs(payload)]

    assert published == [(0, 10), (0, 11), (0, 12)]


async def test_after_a_kill_another_process_continues_at_the_cursor(service: MqsEmulator, time: Time) -> None:
    """What arrived in between is published, and nothing is published again."""
    store = AssetStore()
    append_at(service, time, START_MS + 1)
    (first,) = await polled(trigger(store), time, 2)
    time.now_s += 3600
    service.append("orders", timestamp_ms=time.now_ms - 1_800_000)
    time.on_sleep = lambda _: None

    (second,) = await polled(trigger(store), time, 2)

    assert set(refs(first)).isdisjoint(refs(second))
    assert len(refs(second)) == 1


async def test_a_kill_before_the_event_is_safe_repeats_just_that(service: MqsEmulator, time: Time) -> None:
    """The same document, so that it can be recognised; what has arrived since is in the next."""
    store = AssetStore()
    append_at(service, time, START_MS + 1)
    first = await first_of(trigger(store).run())
    service.append("orders", timestamp_ms=START_MS + 2)
    time.now_s += 3600

    again, new = await polled(trigger(store), time, 1)

    assert again == first
    assert refs(new) == [(0, 10)]


async def test_a_stored_batch_that_is_broken_is_an_error_until_somebody_removes_it(
    service: MqsEmulator, time: Time
) -> None:
    """Not only at the first poll: what an event has published would be published again, in other batches."""
    store = AssetStore()
    append_at(service, time, START_MS + 1)
    await first_of(trigger(store).run())
    for value in store.values.values():
        value["batch"] = {"document": "broken"}
    time.sleeps.clear()

    assert await polled(trigger(store), time, 3) == []
    assert time.sleeps == [60.0, 120.0, 240.0]


async def test_what_cannot_be_saved_is_not_published_yet(service: MqsEmulator, time: Time) -> None:
    """Otherwise nobody would know after a kill what an event has published; the next poll tries again."""
    store = AssetStore()
    append_at(service, time, START_MS + 1)
    save, failures = store.aset, [1]

    async def fail_once(key: str, value: Any) -> None:
        if "batch" in value and failures:
            failures.pop()
            raise RuntimeError("no answer")
        await save(key, value)

    store.aset = fail_once  # type: ignore[method-assign]

    (payload,) = await polled(trigger(store), time, 3)

    assert failures == []
    assert len(refs(payload)) == 1
    assert all("batch" not in value for value in store.values.values())


async def test_the_cursor_moves_on_some_seconds_after_the_event(service: MqsEmulator, time: Time) -> None:
    """The triggerer stores an event within a second or two, and does not say when."""
    store = AssetStore()
    append_at(service, time, START_MS + 1)
    before = time.on_sleep
    during: list[Any] = []

    def note(seconds: float) -> None:
        before(seconds)
        if seconds == 1.0:
            during.extend(value["next_ms"] for value in store.values.values())

    time.on_sleep = note
    assert len(await polled(trigger(store), time, 2)) == 1

    assert during == [START_MS] * 5
    assert [value["next_ms"] > START_MS for value in store.values.values()] == [True]


async def test_while_nothing_is_new_the_cursor_is_saved_now_and_then(service: MqsEmulator, time: Time) -> None:
    """Not at each poll: every watcher would write to Airflow's database once a minute."""
    store, saved = AssetStore(), list[int]()
    save = store.aset

    async def note(key: str, value: Any) -> None:
        saved.append(value["next_ms"])
        await save(key, value)

    store.aset = note  # type: ignore[method-assign]

    assert await polled(trigger(store), time, 25) == []

    assert len(saved) == 3
    assert saved[-1] > START_MS + 1_000_000


async def test_a_start_that_was_now_stays_what_it_was(service: MqsEmulator, time: Time) -> None:
    """A triggerer that dies before its first event loses no message that arrives until the next one is up."""
    store = AssetStore()
    await polled(trigger(store), time, 0)
    service.append("orders", timestamp_ms=time.now_ms + 5)
    time.now_s += 600
    time.on_sleep = lambda _: None

    (payload,) = await polled(trigger(store), time, 1)

    assert len(refs(payload)) == 1


async def test_a_start_in_the_past_publishes_what_is_there(service: MqsEmulator, time: Time) -> None:
    """From that millisecond on."""
    time.now_s += 10

    (payload,) = await polled(trigger(AssetStore(), start=START_MS - 60_000), time, 2)

    assert len(refs(payload)) == 30


async def test_a_large_number_comes_in_batches_with_a_pause_between(service: MqsEmulator, time: Time) -> None:
    """Each batch has at most ``max_messages``, all are published once, and the triggerer has time for each."""
    store = AssetStore()

    payloads = await polled(trigger(store, start=START_MS - 60_000, max_messages=4), time, 3)

    published = [ref for payload in payloads for ref in refs(payload)]
    assert [len(refs(payload)) for payload in payloads] == [4] * 7 + [2]
    assert len(set(published)) == len(published) == 30
    assert time.sleeps[:10] == [1.0] * 10


async def test_copies_of_replays_raise_no_event(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the record calls a copy is left out, and counted."""
    monkeypatch.setattr(topic_watcher, "known_copies_in", lambda *_, **__: KnownCopies({1: ((10, 10),)}))
    append_at(service, time, START_MS + 1, START_MS + 1, START_MS + 1)

    (payload,) = await polled(trigger(AssetStore()), time, 3)

    assert sorted(refs(payload)) == [(0, 10), (2, 10)]
    assert payload["excluded_copies"] == 1


async def test_messages_that_may_be_copies_are_held_back_and_then_published_as_incomplete(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay that never records its copies holds messages back, but not for ever."""
    monkeypatch.setattr(topic_watcher, "known_copies_in", lambda *_, **__: KnownCopies({}, ("A replay.",)))
    append_at(service, time, START_MS + 1)

    (payload,) = await polled(trigger(AssetStore()), time, 20)

    assert payload["complete"] is False
    assert payload["count"] == 1
    assert time.sleeps.index(1.0) == 16


async def test_copies_count_as_messages_on_request(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``exclude_copies=False`` no record is read."""
    monkeypatch.setattr(topic_watcher, "known_copies_in", lambda *_, **__: pytest.fail("read"))
    append_at(service, time, START_MS + 1)

    assert len(await polled(trigger(AssetStore(), exclude_copies=False), time, 3)) == 1


async def test_without_a_store_the_folder_keeps_the_cursor(
    service: MqsEmulator, time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``[mqs] ledger_path`` does what the state store does from Airflow 3.3 on."""
    monkeypatch.setenv("AIRFLOW__MQS__LEDGER_PATH", str(tmp_path))
    append_at(service, time, START_MS + 1)
    (first,) = await polled(trigger(), time, 2)
    time.on_sleep = lambda _: None

    assert await polled(trigger(), time, 2) == []
    assert len(refs(first)) == 1


async def test_without_any_store_it_warns_once(service: MqsEmulator, time: Time, warnings: list[str]) -> None:
    """It keeps working, and the warning names the remedies."""
    append_at(service, time, START_MS + 1)

    assert len(await polled(trigger(exclude_copies=False), time, 3)) == 1

    (warning,) = warnings
    assert "[mqs] ledger_path" in warning


async def test_a_watcher_of_two_assets_works_without_their_stores(
    service: MqsEmulator, time: Time, warnings: list[str]
) -> None:
    """Which store is meant cannot be published; the log says that."""
    append_at(service, time, START_MS + 1)

    assert len(await polled(trigger(OfSeveralAssets(), exclude_copies=False), time, 3)) == 1

    assert "Several assets share this watcher" in warnings[0]


async def test_a_store_without_asynchronous_twins_is_asked_in_a_thread(service: MqsEmulator, time: Time) -> None:
    """As on Airflow 3.3.0 and 3.3.1."""
    store = AssetStore()
    append_at(service, time, START_MS + 1)

    assert len(await polled(trigger(AsBefore332(store)), time, 3)) == 1
    assert [key[:7] for key in store.values] == ["cursor-"]


async def test_a_store_that_fails_loses_and_repeats_nothing(service: MqsEmulator, time: Time) -> None:
    """A cursor that cannot be read is not replaced by a new one, and one that was not saved is saved later."""
    store = AssetStore(broken=1)
    append_at(service, time, START_MS + 61_000)

    def fail(seconds: float) -> None:
        store.broken = 1 if seconds == 1.0 else 0

    before = time.on_sleep
    time.on_sleep = lambda seconds: (before(seconds), fail(seconds))
    (payload,) = await polled(trigger(store), time, 4)

    assert len(refs(payload)) == 1
    assert max(value["next_ms"] for value in store.values.values()) > START_MS + 61_000


async def test_errors_in_a_row_lead_to_ever_longer_waits(service: MqsEmulator, time: Time) -> None:
    """A service that is down is asked ever more rarely, and the watcher does not end."""
    service.faults.throttle_429 = ALWAYS

    assert await polled(trigger(AssetStore()), time, 13) == []
    # the first poll has nothing to read yet
    assert time.sleeps[:12] == [60.0, *(2.0**n for n in range(1, 10)), 600.0, 600.0]


async def test_a_wrong_password_is_tried_rarely(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is locked out: a watcher that ends would start again within a second. The password is in no log."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps({**service.connection(), "password": "wrong-secret"}))

    await polled(trigger(AssetStore(), start=START_MS - 60_000), time, 4)

    assert time.sleeps == [60.0, 120.0, 240.0, 480.0]
    assert "wrong-secret" not in caplog.text


async def test_a_corrected_connection_is_used(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again after each error."""
    good = service.connection_json()
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps({**service.connection(), "password": "wrong"}))
    time.on_sleep = lambda _: monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", good)
    time.now_s += 10

    (payload,) = await polled(trigger(AssetStore(), start=START_MS - 60_000), time, 3)

    assert len(refs(payload)) == 30


async def test_a_bug_does_not_end_the_watcher(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged, and retried as rarely as a wrong password."""
    monkeypatch.setattr(topic_watcher.CursorStore, "known_copies", lambda *_, **__: 1 / 0)

    await polled(trigger(AssetStore(), start=START_MS - 60_000), time, 2)

    assert time.sleeps == [60.0, 120.0]


async def test_the_sockets_are_closed_between_polls(
    service: MqsEmulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that stops leaves nothing open, whenever that is."""
    opened: list[AsyncMqsClient] = []
    begin = AsyncMqsClient.__init__

    def spy(self: AsyncMqsClient, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        opened.append(self)

    monkeypatch.setattr(AsyncMqsClient, "__init__", spy)
    time.on_sleep = lambda _: [pytest.fail("open") for client in opened if client._transport is not None]

    await polled(trigger(AssetStore(), start=START_MS - 60_000), time, 2)

    assert len(opened) == 3


def test_it_serialises_to_plain_json_under_its_public_path() -> None:
    """A triggerer that restarts makes the same trigger."""
    original = trigger(instance_id="i", start="2026-01-01T00:00:00Z", max_messages=7, overlap_s=0)

    path, arguments = original.serialize()
    again = NewMessagesTrigger(**json.loads(json.dumps(arguments)))

    assert path == "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger"
    assert again.serialize() == (path, arguments)


@pytest.mark.parametrize(
    "wrong",
    [{"topic": ""}, {"poll_interval_s": -1}, {"start": "soon"}, {"start": None}, {"max_messages": 0}, {"settle_s": ""}],
)
def test_a_wrong_argument_fails_when_the_dag_is_parsed(wrong: dict[str, Any]) -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        trigger(**wrong)
