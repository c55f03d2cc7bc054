"""The virtual clock and its event loops."""

from __future__ import annotations

import asyncio

import pytest

from simulation.virtual_time import EndlessError, World, new_loop


def test_sleeping_takes_no_time_but_virtual() -> None:
    """An hour passes at once, in the order of the wake-ups."""
    world, woken = World(), []
    loop = new_loop(world, offset_s=100.0)

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((seconds, asyncio.get_running_loop().time()))

    tasks = [loop.create_task(sleeper(seconds)) for seconds in (3600.0, 1.0)]

    assert world.run(lambda: all(task.done() for task in tasks), limit_s=4000)
    assert woken == [(1.0, 101.0), (3600.0, 3700.0)]


def test_a_paused_loop_runs_its_timers_late() -> None:
    """Its clock goes on, and what was due runs when it wakes."""
    world, woken = World(), []
    loop = new_loop(world)
    loop.call_later(1.0, lambda: woken.append(loop.time()))
    loop.paused = True
    world.at(5.0, loop.resume)

    world.run(lambda: bool(woken), limit_s=10)

    assert woken == [5.0]


def test_a_dead_loop_runs_nothing() -> None:
    """Neither a timer nor the ``finally`` of a coroutine has an effect any more."""
    world, effects = World(), []
    loop = new_loop(world)

    async def work() -> None:
        try:
            await asyncio.sleep(2.0)
            effects.append("slept")
        finally:
            await asyncio.sleep(1.0)
            effects.append("cleaned up")

    loop.create_task(work())
    world.at(1.0, loop.end)

    assert not world.run(lambda: bool(effects), limit_s=10)
    loop.bury()
    assert effects == []


def test_what_goes_on_and_on_is_ended() -> None:
    """A loop that never comes to an end is an error, and not a test that hangs."""
    world = World()

    def again() -> None:
        world.after(0.001, again)

    again()
    with pytest.raises(EndlessError):
        world.run(lambda: False, limit_s=1e9)
