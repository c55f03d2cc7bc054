"""One thread, one call at a time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread


async def test_calls_are_made_one_after_the_other_in_one_thread_of_their_own() -> None:
    """In the order in which they came, however many wait."""
    calls: list[tuple[int, int]] = []
    with AirflowThread() as airflow:
        await asyncio.gather(*(airflow.ask(lambda n=n: calls.append((n, threading.get_ident()))) for n in range(50)))

    assert [number for number, _ in calls] == list(range(50))
    assert len({thread for _, thread in calls}) == 1
    assert calls[0][1] != threading.get_ident()


async def test_an_error_reaches_whoever_asked() -> None:
    """The thread goes on."""
    with AirflowThread() as airflow:
        with pytest.raises(ZeroDivisionError):
            await airflow.ask(lambda: 1 // 0)
        assert await airflow.ask(divmod, 7, 2) == (3, 1)


async def test_a_caller_that_is_cancelled_leaves_its_call_to_end() -> None:
    """Half a write would be worse; the next call waits for it."""
    calls, begun, go_on = [], threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go_on.wait(30)
        calls.append("write")

    with AirflowThread() as airflow:
        asking = asyncio.ensure_future(airflow.ask(write))
        await asyncio.to_thread(begun.wait, 30)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        following = asyncio.ensure_future(airflow.ask(calls.append, "next"))
        go_on.set()
        await following

    assert calls == ["write", "next"]


async def test_a_call_that_hangs_does_not_keep_the_exit() -> None:
    """A task that must end does not wait for it; calls that have not begun are dropped."""
    begun, go_on = threading.Event(), threading.Event()
    with AirflowThread() as airflow:
        hanging = airflow.submit(lambda: (begun.set(), go_on.wait(30)))
        waiting = airflow.submit(print, "never")
        await asyncio.to_thread(begun.wait, 30)

    assert (hanging.running(), waiting.cancelled()) == (True, True)
    go_on.set()


async def test_a_result_that_comes_after_the_exit_is_dropped() -> None:
    """The loop of whoever waited may be closed by then."""
    begun, go_on = threading.Event(), threading.Event()
    with AirflowThread() as airflow:
        hanging = airflow.submit(lambda: (begun.set(), go_on.wait(30)))
        await asyncio.to_thread(begun.wait, 30)
    go_on.set()

    await asyncio.to_thread(airflow._thread.join, 30)

    assert not hanging.done()


def test_a_closed_thread_takes_no_call() -> None:
    """Nobody waits for one that would never be made."""
    with AirflowThread() as airflow:
        pass

    with pytest.raises(RuntimeError, match="has ended"):
        airflow.submit(print)


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    """The command ends although a store does not answer."""
    lines = (
        "import threading",
        "from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread",
        "begun = threading.Event()",
        "with AirflowThread() as airflow:",
        "    airflow.submit(lambda: (begun.set(), threading.Event().wait(600)))",
        "    begun.wait()",
    )
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], timeout=120, check=False).returncode == 0
