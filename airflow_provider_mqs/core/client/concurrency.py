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
