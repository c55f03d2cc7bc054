"""A stop is heeded in every phase, whatever hangs: ledger and report are there within 4.5 s."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.flow import Call, Parallel, Sleep
from airflow_provider_mqs.core.resend.stopping import MOST_CALL_S, Stop, StoppableClient, StoppedError
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import StoreError
from tests import virtual_time
from tests.core.resend.virtual_world import (
    CALL,
    CONTENT,
    COUNT,
    POST,
    RESEND,
    WINDOW,
    World,
    client_of,
    hang,
    now_s,
    replay_of,
    virtual_world,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.resend.replay import Replay

ENOUGH_S = 1_000.0
"""By then everything that can happen without a stop has happened."""


@pytest.fixture
def world() -> World:
    return virtual_world()


async def stopped_after(replay: Replay, begun_s: float) -> tuple[float, Exception | None]:
    """Run a replay, stop it after a while, and return how long it then took, and what it raised."""
    running = asyncio.ensure_future(replay.run())
    await asyncio.wait({running}, timeout=begun_s)
    assert not running.done(), "it has ended before the stop"
    stopped_s = now_s()
    replay.stop("the task received SIGTERM")
    await asyncio.wait({running}, timeout=ENOUGH_S)
    return now_s() - stopped_s, running.exception()


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
