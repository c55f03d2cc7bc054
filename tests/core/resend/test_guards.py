"""What ends a sending that nobody may go on with: the brake, a parent that is gone, a lease that has run out."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.ledger.ledger_reader import fence_key
from airflow_provider_mqs.exceptions import StoreError
from tests import virtual_time
from tests.core.resend.virtual_world import CALL, COUNT, POST, WINDOW, World, hang, now_s, replay_of, virtual_world
from tests.support import MemoryStore

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


@pytest.mark.parametrize(("ordering", "in_flight"), [("partition", 3), ("none", 16)])
@pytest.mark.parametrize("taken_over", [True, False])
def test_a_sender_that_was_paused_looks_at_its_ledger_first(
    world: World, ordering: str, in_flight: int, *, taken_over: bool
) -> None:
    """When it wakes, its lease has run out: it posts nothing more if another execution has taken over."""

    def pause(world: World, kind: str) -> bool:
        if kind == POST and world.posts == 20 and now_s() < 60:
            virtual_time.skip(62)
            if taken_over:
                world.store.set(fence_key("try 1"), "another run")
        return False

    world.hangs = pause

    if not taken_over:
        assert sent(world, ordering=ordering).report.counts.sent == COUNT
        return
    with pytest.raises(StoreError, match="another run"):
        sent(world, ordering=ordering)
    assert world.posts <= 20 + in_flight


@pytest.mark.parametrize("hung_s", [50, 1_000_000])
def test_nothing_is_posted_on_a_ledger_that_cannot_be_written(world: World, hung_s: float) -> None:
    """The lease of the last good write lasts 40 s, and not longer because the next one takes its time."""
    posted_s: list[float] = []

    def hang_for_a_while(world: World, kind: str) -> bool:
        if kind == POST:
            posted_s.append(now_s())
        return kind == CALL and 10 <= now_s() < 10 + hung_s

    world.hangs = hang_for_a_while

    with pytest.raises(StoreError, match="did not answer for 60 s"):
        sent(world, max_rate=1)

    assert 30 < max(posted_s) < 10 + 40


@pytest.mark.parametrize(
    "hangs", [hang(), hang(WINDOW, after=COUNT)], ids=["sending slowly", "looking for copies that are not shown"]
)
def test_the_ledger_is_written_every_quarter_of_a_minute(world: World, hangs: Callable[[World, str], bool]) -> None:
    """Others see that its owner is alive, in each phase that lasts."""
    written_s: list[float] = []

    class Watched(MemoryStore):
        def set(self, key: str, value: Any) -> None:
            super().set(key, value)
            if key == "x-try 1":
                written_s.append(now_s())

    world.store, world.hangs = Watched(), hangs

    async def body() -> None:
        replay = replay_of(world, max_rate=2)
        asyncio.get_running_loop().call_later(200, replay.stop, "enough")
        await replay.run()

    virtual_time.run(body())

    assert all(later - earlier < 16 for earlier, later in pairwise(written_s))
    assert written_s[-1] > 28
