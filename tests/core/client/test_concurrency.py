"""No cancel is lost, and no task is left."""

from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_provider_mqs.core.client.concurrency import results_of, run_to_end, wait_at_most


async def answer(event: asyncio.Event) -> str:
    await event.wait()
    return "answer"


@pytest.mark.parametrize("turns", range(8))
async def test_no_cancel_is_lost_just_as_the_answer_comes(turns: int) -> None:
    """Until the caller has its result, a cancel reaches it, however many turns of the loop came in between."""
    event = asyncio.Event()

    async def call() -> None:
        await wait_at_most(60, answer(event))
        await asyncio.Event().wait()  # for ever, if the cancel was lost

    caller = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    caller.cancel()
    done, _ = await asyncio.wait({caller}, timeout=10)

    assert done == {caller}
    assert caller.cancelled()


@pytest.mark.parametrize("turns", range(8))
async def test_no_cancel_is_lost_just_as_the_time_is_over(turns: int) -> None:
    """The coroutine is being cancelled then, and may take its time."""
    slow = asyncio.Event()

    async def reluctant() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            slow.set()
            for _ in range(4):
                await asyncio.sleep(0)

    async def call() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await wait_at_most(0.01, reluctant())
        await asyncio.Event().wait()

    caller = asyncio.create_task(call())
    await slow.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    caller.cancel()
    done, _ = await asyncio.wait({caller}, timeout=10)

    assert done == {caller}
    assert caller.cancelled()

    """Nothing of the helper shows."""
    event = asyncio.Event()
    event.set()

    assert await wait_at_most(60, answer(event)) == "answer"


async def test_error_of_the_coroutine_is_raised() -> None:
    """It is not taken for a timeout."""

    async def fail() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await wait_at_most(60, fail())


async def test_coroutine_has_ended_when_the_time_is_over() -> None:
    """No task is left."""
    with pytest.raises(asyncio.TimeoutError):
        await wait_at_most(0.01, answer(asyncio.Event()))

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_results_come_in_the_order_of_the_coroutines() -> None:
    """So many run at a time, and no coroutine is made before its turn."""
    running, most, made = 0, 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    def works() -> object:
        nonlocal made
        for number in range(20):
            made += 1
            assert made <= number + 1
            yield work(number)

    assert await results_of(works(), workers=3) == list(range(20))  # type: ignore[arg-type]
    assert most == 3


def test_a_thread_that_hangs_does_not_keep_the_end() -> None:
    """Such as a lookup of a host name, which nobody can cancel."""
    begun, go_on = threading.Event(), threading.Event()

    async def main() -> str:
        asyncio.get_running_loop().run_in_executor(None, lambda: (begun.set(), go_on.wait(60)))
        await asyncio.to_thread(begun.wait, 60)
        return "over"

    try:
        assert run_to_end(main()) == "over"
        assert not go_on.is_set()
    finally:
        go_on.set()


def test_tasks_that_are_left_are_cancelled_at_the_end() -> None:
    """They get the time to end in order."""
    ended: list[str] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("left")

    async def main() -> None:
        tasks.append(asyncio.ensure_future(left()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Future[None]] = []
    run_to_end(main())

    assert ended == ["left"]
