"""What ends a sending that nobody may go on with: the brake, a parent that is gone, a lease that has run out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests import virtual_time
from tests.core.resend.virtual_world import COUNT, POST, WINDOW, World, hang, now_s, replay_of, virtual_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.resend.replay import Replay


@pytest.fixture
def world() -> World:
    return virtual_world()


class Slow:
    """A thread whose calls take so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    async def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        return call(*arguments)


def sent(world: World, **options: Any) -> Replay:
    """Run a whole replay without verification."""

    async def body() -> Replay:
        replay = replay_of(world, **{"verify": False, **options})
        await replay.run()
        return replay

    return virtual_time.run(body())


def test_a_slow_brake_slows_nothing() -> None:
    """The sending takes as long as with a fast one."""

    async def body(thread: Slow) -> float:
        replay = replay_of(virtual_world(), brake=lambda _: False, thread=thread, max_rate=3, verify=False)
        await replay.run()
        assert replay.report.counts.sent == COUNT
        return now_s()

    slow, fast = Slow(5), Slow(0)

    assert virtual_time.run(body(slow)) == virtual_time.run(body(fast))
    assert 2 < slow.calls < fast.calls


def test_a_brake_that_hangs_stops_the_sending(world: World) -> None:
    """After 30 s, with a sentence; the ledger is closed."""
    replay = sent(world, brake=lambda _: False, thread=Slow(float("inf")), max_rate=1)

    assert replay.stopped == "the brake has not answered for 30 s"
    assert 28 <= replay.report.counts.sent == world.posts <= 33
    assert [ledger["state"] for ledger in world.ledgers()] == ["ended"]


@pytest.mark.parametrize(("ordering", "in_flight"), [("partition", 3), ("none", 16)])
def test_an_orphan_sends_nothing_more_than_what_is_in_flight(world: World, ordering: str, in_flight: int) -> None:
    """Although 200 messages are claimed."""

    def lose_parent(world: World, kind: str) -> bool:
        if kind == POST and world.posts >= 20:
            world.parent = 1
        return False

    world.hangs = lose_parent

    replay = sent(world, ordering=ordering)

    assert "the parent process is gone" in replay.stopped
    assert 20 <= replay.report.counts.sent == world.posts <= 20 + in_flight


def test_an_orphan_that_only_looks_for_copies_stops_at_a_heartbeat(world: World) -> None:
    """It posts nothing, so this is no hurry."""
    world.hangs = hang(WINDOW, after=COUNT)

    async def body() -> tuple[Replay, float]:
        asyncio.get_running_loop().call_later(30, setattr, world, "parent", 1)
        replay = replay_of(world)
        await replay.run()
        return replay, now_s()

    replay, ended_s = virtual_time.run(body())

    assert "the parent process is gone" in replay.stopped
    assert 30 <= ended_s <= 50
