"""What ``asyncio`` lacks on Python 3.10: helpers that leave no task running, and lose no cancel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

T = TypeVar("T")


async def side_by_side(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines until all have ended; if one fails, or the caller is cancelled, the others are cancelled too."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def results_of(coroutines: Iterable[Coroutine[Any, Any, T]], *, workers: int) -> list[T]:
    """Run coroutines, so many at a time, and return their results in order; they are read lazily."""
    results: dict[int, T] = {}
    numbered = enumerate(coroutines)  # shared: each worker takes the next one

    async def work() -> None:
        for index, coroutine in numbered:
            results[index] = await coroutine

    await side_by_side(work() for _ in range(workers))
    return [results[index] for index in sorted(results)]


async def wait_at_most(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine; if it takes longer, cancel it and raise ``asyncio.TimeoutError``."""
    # not ``asyncio.wait_for``: before Python 3.12 it drops a cancel that comes as the coroutine ends
    task = asyncio.ensure_future(coroutine)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not done:
        raise asyncio.TimeoutError
    return task.result()


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine in a loop of its own, as ``asyncio.run`` does, but leave threads behind at the end.

    A lookup of a host name that hangs would hold up a task that must end.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_cancel_all_others())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def _cancel_all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
