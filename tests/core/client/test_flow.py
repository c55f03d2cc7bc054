"""Flows and the two drivers, which must not drift apart."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.flow import Call, Flow, Request, Response, Sleep, Step, adrive, drive, joined
from airflow_provider_mqs.exceptions import MqsError, ProtocolError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    Driver = Callable[[Flow[Any], Callable[[Step], Any]], Any]


def _adrive(flow: Flow[Any], perform: Callable[[Step], Any]) -> Any:
    async def aperform(step: Step) -> Any:
        return perform(step)

    return asyncio.run(adrive(flow, aperform))


both = pytest.mark.parametrize("run", [drive, _adrive], ids=["drive", "adrive"])


def _body(function: Callable[..., Any]) -> str:
    """Take a driver's source without its name, its types and its docstring."""
    source = re.sub(r'""".*?"""', "", inspect.getsource(function), flags=re.DOTALL)
    return source.split("-> T:", 1)[1]


def test_drivers_are_the_same_lines() -> None:
    """The asynchronous driver is the synchronous one but for its awaits."""
    asynchronous = _body(adrive)

    assert "await " in asynchronous
    assert asynchronous.replace("await ", "") == _body(drive)


@both
def test_flow_is_sent_the_results_of_its_steps(run: Driver) -> None:
    """Results go in at the ``yield``, and the flow's own result comes out."""

    def flow() -> Flow[list[Any]]:
        one = yield Sleep(1, "first")
        other = yield Sleep(2, "second")
        return [one, other]

    assert run(flow(), lambda step: step.seconds * 10) == [10, 20]  # type: ignore[union-attr]  # both are Sleep


@both
def test_flow_without_steps_returns_at_once(run: Driver) -> None:
    """Nothing is performed for a flow that needs nothing."""

    def flow() -> Flow[int]:
        return 5
        yield

    assert run(flow(), lambda step: pytest.fail(f"performed {step}")) == 5


@both
def test_error_is_thrown_into_the_flow(run: Driver) -> None:
    """A flow handles the error of a step at its ``yield``, and goes on."""

    def perform(step: Step) -> str:
        if isinstance(step, Request):
            raise TransportError("No.", phase="connect")
        return "slept"

    def flow() -> Flow[list[str]]:
        try:
            yield Request("GET", "http://127.0.0.1")
        except TransportError as error:
            return [str(error), (yield Sleep(1, "again"))]
        return []

    assert run(flow(), perform) == ["No.", "slept"]


@both
def test_error_that_the_flow_does_not_handle_comes_out(run: Driver) -> None:
    """The caller gets the very error, and the flow has cleaned up."""
    error, closed = ProtocolError("Odd."), []

    def flow() -> Flow[None]:
        try:
            yield Sleep(1, "first")
        finally:
            closed.append(True)

    def perform(step: Step) -> None:
        raise error

    with pytest.raises(MqsError) as caught:
        run(flow(), perform)

    assert caught.value is error
    assert closed == [True]


@both
def test_foreign_error_closes_the_flow(run: Driver) -> None:
    """An error that is not of this package is not thrown into the flow, but closes it all the same."""
    seen: list[str] = []

    def flow() -> Flow[None]:
        try:
            yield Sleep(1, "first")
        except Exception:  # noqa: BLE001 - to see that none comes
            seen.append("thrown")
        finally:
            seen.append("closed")

    with pytest.raises(ZeroDivisionError):
        run(flow(), lambda _: 1 / 0)

    assert seen == ["closed"]


async def test_cancelling_closes_the_flow() -> None:
    """A cancelled task leaves no flow open: its ``finally`` runs."""
    began, closed = asyncio.Event(), []

    def flow() -> Flow[None]:
        try:
            yield Sleep(1, "for ever")
        finally:
            closed.append(True)

    async def perform(_: Step) -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(adrive(flow(), perform))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert closed == [True]


def test_secrets_are_not_shown() -> None:
    """Headers and bodies, which carry tokens and messages, are not in any representation."""
    shown = repr(Request("POST", "https://h/", {"X-Auth-Token": "s3cret"}, b"s3cret"))
    shown += repr(Response(200, {"x-subject-token": "s3cret"}, b"s3cret"))

    assert "s3cret" not in shown


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe{}", b"{", b"[" * 100_000])
def test_response_that_is_not_json_is_an_error(body: bytes) -> None:
    """One sentence with the status, never the body."""
    with pytest.raises(ProtocolError, match=r"HTTP 200 .* not JSON; .*[?]$"):
        Response(200, {}, body).json()


def _calling(log: list[str]) -> Flow[str]:
    """Call, fail, call; wait; call."""
    try:
        log.append((yield Call(lambda: "read")))
        try:
            yield Call(_fail)
        except MqsError:
            log.append("failed")
        log.append((yield Call(lambda: "written")))
        yield Sleep(1, "others")
        return (yield Call(lambda: "closed"))  # type: ignore[no-any-return]  # a step has any result
    finally:
        log.append("over")


def _fail() -> None:
    raise MqsError("full")


def test_calls_that_follow_one_another_are_joined() -> None:
    """Two changes of threads instead of four; errors come to where the call was made."""
    log, steps = list[str](), list[type]()

    def perform(step: Step) -> Any:
        steps.append(type(step))
        return step.call() if isinstance(step, Call) else None

    assert drive(joined(_calling(log)), perform) == "closed"
    assert steps == [Call, Sleep, Call]
    assert log == ["read", "failed", "written", "over"]


def test_joined_calls_that_were_abandoned_are_made_to_the_end() -> None:
    """They belong to the thread that makes them, and the flow is not closed under its hands."""
    log = list[str]()
    flow = joined(_calling(log))
    step = next(flow)
    assert isinstance(step, Call)

    flow.close()
    step.call()

    assert log == ["read", "failed", "written"]


def test_a_flow_with_joined_calls_is_closed_between_them() -> None:
    """What is abandoned while it waits has ended, as without the joining."""
    log = list[str]()
    flow = joined(_calling(log))
    step = next(flow)
    assert isinstance(step, Call)
    assert isinstance(flow.send(step.call()), Sleep)

    flow.close()

    assert log == ["read", "failed", "written", "over"]
