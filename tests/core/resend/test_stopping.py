"""A stop is heeded in every phase, whatever hangs: ledger and report are there within 4.5 s."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.flow import Call, Parallel, Sleep
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.ledger.ledger import Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.ledger.stores import ReplayStores
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.core.resend.stopping import MOST_CALL_S, Stop, StoppableClient, StoppedError
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.emulator.store import StoredMessage, Topic
from airflow_provider_mqs.exceptions import StoreError
from tests import virtual_time
from tests.support import NOW_MS, NOW_S, Local, MemoryStore, local

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.flow import Flow, Request, Response
    from airflow_provider_mqs.core.resend.report import Progress

COUNT, PARTITIONS = 60, 3
RESEND = frozenset({"resend"})
ENOUGH_S = 1_000.0
"""By then everything that can happen without a stop has happened."""
POST, CONTENT, WINDOW, CALL = "post", "content query", "window query", "call of a store"


@dataclass
class World:
    """A service and a store on virtual time; what ``hangs`` is never answered."""

    service: Local
    store: MemoryStore = field(default_factory=MemoryStore)
    hangs: Callable[[World, str], bool] = lambda _, __: False
    posts: int = 0
    parent: int = 7

    async def send(self, request: Request) -> Response:
        """Answer a request after a tenth of a second, as a transport."""
        if not request.safe_to_repeat:
            self.posts += 1
            kind = POST
        else:
            kind = CONTENT if "message_offset" in request.url else WINDOW
        await self._pass(kind, 0.1)
        self.service.now_s[0] = NOW_S + now_s()
        return self.service.perform(request)

    async def close(self) -> None:
        """Close nothing."""

    async def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call after a hundredth of a second, as the thread for stores."""
        await self._pass(CALL, 0.01)
        return call(*arguments)

    async def _pass(self, kind: str, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        if self.hangs(self, kind):
            await asyncio.Event().wait()

    def ledgers(self) -> list[dict[str, Any]]:
        """Every ledger in the store."""
        return [value for key in self.store.values if not key.startswith("i-") and (value := self.store.get(key))]


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def world() -> World:
    service = local()
    service.state.store.put_topic(Topic("orders", PARTITIONS, 72))
    service.state.store.add(
        StoredMessage(
            "orders", number % PARTITIONS, number // PARTITIONS, NOW_MS - 7_200_000 + number, None, str(number), 9, ""
        )
        for number in range(COUNT)
    )
    return World(service)


def replay_of(
    world: World,
    *,
    number: int = 1,
    brake: Callable[[Progress], bool] | None = None,
    thread: Any = None,
    **options: Any,
) -> Replay:
    """Return a replay of all messages; to be called in the loop."""
    plan = Plan("orders", dict.fromkeys(range(PARTITIONS), ((0, COUNT // PARTITIONS - 1),)))
    settings = world.service.settings
    run = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": number}
    session = session_for(
        plan,
        endpoint=settings.host,
        instance_id=str(settings.instance_id),
        consumer_key=None,
        owner=Owner(f"try {number}", run),
        stores=ReplayStores(records=(world.store,)),
    )
    how = ResendOptions(**options)
    return Replay(
        client_of(world), plan, how, session, world, brake=brake, brake_thread=thread, parent=lambda: world.parent
    )


def client_of(world: World) -> AsyncMqsClient:
    return AsyncMqsClient(
        world.service.settings,
        auth=world.service.auth,
        policy=RetryPolicy(jitter=lambda: 0.0),
        service_clock=ServiceClock(asyncio.get_running_loop().time, lambda: NOW_S),
        transport=world,
    )


async def stopped_after(replay: Replay, begun_s: float) -> tuple[float, Exception | None]:
    """Run a replay, stop it after a while, and return how long it then took, and what it raised."""
    running = asyncio.ensure_future(replay.run())
    await asyncio.wait({running}, timeout=begun_s)
    assert not running.done(), "it has ended before the stop"
    stopped_s = now_s()
    replay.stop("the task received SIGTERM")
    await asyncio.wait({running}, timeout=ENOUGH_S)
    return now_s() - stopped_s, running.exception()


def hang(*kinds: str, after: int = 0) -> Callable[[World, str], bool]:
    """Let things hang once so many messages were posted."""
    return lambda world, kind: kind in kinds and world.posts >= after


NONE: dict[str, Any] = {}
UNORDERED = {"ordering": "none"}
DOUBT = {"lost_504": Rule(next=1, skip=30, operations=RESEND)}
PHASES: dict[str, tuple[Callable[[World, str], bool], dict[str, Any], dict[str, Any]]] = {
    # what hangs, what else fails at the service, and the options
    "preview, the store hangs": (hang(CALL), NONE, NONE),
    "check of the ends, the service hangs": (hang(CONTENT), NONE, NONE),
    "last offsets, the service hangs": (hang(WINDOW), NONE, NONE),
    "sending, the service hangs": (hang(POST, after=20), NONE, NONE),
    "sending without order, the service hangs": (hang(POST, after=20), NONE, UNORDERED),
    "sending, the store hangs": (hang(CALL, after=20), NONE, NONE),
    "sending, everything hangs": (hang(POST, CONTENT, WINDOW, CALL, after=20), NONE, NONE),
    "waiting for the rate": (hang(), NONE, {"max_rate": 0.001}),
    "throttled": (hang(), {"throttle_429": Rule(probability=1, operations=RESEND)}, NONE),
    "resolving, the service hangs": (hang(WINDOW, after=20), DOUBT, NONE),
    "resolving without order, the service hangs": (hang(WINDOW, after=20), DOUBT, UNORDERED),
    "resolving, waiting for copies": (hang(), DOUBT, NONE),
    "canary, the service hangs": (hang(WINDOW, after=1), NONE, {"canary": 5}),
    "verifying, the service hangs": (hang(WINDOW, after=20), NONE, NONE),
    "verifying, the store hangs as well": (hang(WINDOW, CALL, after=COUNT), NONE, NONE),
    "closing, the store hangs": (hang(CALL, after=COUNT), NONE, {"verify": False}),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_is_heeded_in_every_phase(world: World, phase: str) -> None:
    """Within 4.5 s; the report adds up, and if the store answers the ledger is closed and has what was sent."""
    world.hangs, faults, options = PHASES[phase]
    for name, value in faults.items():
        setattr(world.service.state.faults, name, value)

    async def body() -> Replay:
        replay = replay_of(world, **{"verify_wait_s": 90.0, **options})
        took_s, _ = await stopped_after(replay, 30.0)
        assert took_s <= 4.5
        return replay

    counts = virtual_time.run(body()).report.counts

    assert counts.sent + counts.unknown <= world.posts
    assert counts.sent + counts.unknown + counts.not_attempted == COUNT
    if "store" not in phase and "everything" not in phase and world.posts:
        [ledger] = world.ledgers()
        assert ledger["state"] == ("complete" if counts.sent == COUNT else "ended")


def test_the_first_reason_counts_and_the_first_hurry() -> None:
    """A stop without hurry may become one in a hurry."""

    async def body() -> tuple[str, bool, bool]:
        stop = Stop()
        stop.stop("too many failures", hurry=False)
        before = stop.hurried
        stop.stop("the task received SIGTERM")
        return stop.reason, before, stop.hurried

    assert virtual_time.run(body()) == ("too many failures", False, True)


@pytest.mark.parametrize(("stop_at_s", "grace_s", "ends_at_s"), [(2, 0, 2), (2, 3, 5), (2, 9, 10), (0, 1, 1)])
def test_what_runs_is_cancelled_when_its_grace_has_passed(stop_at_s: float, grace_s: float, ends_at_s: float) -> None:
    """The grace counts from the stop; work that ends by itself in that time keeps its result."""

    async def body() -> float:
        stop = Stop()
        asyncio.get_running_loop().call_later(stop_at_s, stop.stop, "SIGTERM")
        guarded = stop.guard(asyncio.sleep(10, "done"), grace_s=grace_s)
        if ends_at_s == 10:
            assert await guarded == "done"
        else:
            with pytest.raises(StoppedError, match="SIGTERM"):
                await guarded
        return now_s()

    assert virtual_time.run(body()) == ends_at_s


def test_what_begins_after_the_grace_ends_at_once() -> None:
    """A ledger is not tried again when its time is over."""

    async def body() -> float:
        stop = Stop()
        stop.stop("SIGTERM")
        await asyncio.sleep(5)
        with pytest.raises(StoppedError):
            await stop.guard(asyncio.sleep(10), grace_s=4)
        return now_s()

    assert virtual_time.run(body()) == 5


def test_a_cancel_from_outside_ends_what_is_guarded() -> None:
    """Nothing goes on behind the back of whoever cancelled."""

    async def body() -> list[str]:
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                ended.append("work")

        guarding = asyncio.ensure_future(Stop().guard(work()))
        await asyncio.sleep(1)
        guarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await guarding
        return ended

    assert virtual_time.run(body()) == ["work"]


def test_a_sleep_ends_with_any_stop() -> None:
    """Also without hurry."""

    async def body() -> float:
        stop = Stop()
        asyncio.get_running_loop().call_later(2, partial(stop.stop, "too many failures", hurry=False))
        await stop.sleep(10)
        return now_s()

    assert virtual_time.run(body()) == 2


def test_calls_of_all_flows_go_to_the_thread_for_stores(world: World) -> None:
    """Also those of flows that run side by side, beside the steps of the client."""

    def call(number: int) -> Flow[int]:
        yield Sleep(1, "a pause")
        return (yield Call(lambda: number))

    def side_by_side() -> Flow[list[int]]:
        return (yield Parallel(call(number) for number in range(3)))

    async def body() -> tuple[list[int], float]:
        client = StoppableClient(client_of(world), world, Stop())
        return await client.run(side_by_side()), now_s()

    assert virtual_time.run(body()) == ([0, 1, 2], pytest.approx(1.01))


def test_a_store_that_does_not_answer_has_failed(world: World) -> None:
    """A task without ``execution_timeout`` would wait for ever."""
    world.hangs = hang(CALL)

    async def body() -> float:
        with pytest.raises(StoreError, match="did not answer for 60 s"):
            await replay_of(world).run()
        return now_s()

    assert virtual_time.run(body()) == pytest.approx(MOST_CALL_S, abs=0.1)
