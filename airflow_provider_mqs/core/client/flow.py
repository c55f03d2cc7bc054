"""
Flows: protocol logic as generators that do no I/O, and the two drivers that perform their steps.

A flow yields a step and is sent its result, or has the step's error thrown in at the ``yield``. ``drive`` and
``adrive`` are the same lines but for ``async`` and ``await``; a test holds them to that.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar, cast

from airflow_provider_mqs.exceptions import MqsError, ProtocolError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to be sent as it is; ``url`` is absolute, with its query already encoded."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they carry tokens and signatures
    body: bytes = field(default=b"", repr=False)
    safe_to_repeat: bool = True
    content_expected: bool = False
    """Whether the answer may be the bare content of a message, in which an error code means nothing."""

    def with_header(self, name: str, value: str) -> Request:
        """Return it with one more header; spelled out, since ``dataclasses.replace`` takes three times as long."""
        headers = {**self.headers, name: value}
        return Request(self.method, self.url, headers, self.body, self.safe_to_repeat, self.content_expected)


@dataclass(slots=True)
class Response:
    """One whole HTTP response; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    _decoded: Any = field(default=None, init=False, repr=False, compare=False)

    def json(self) -> Any:
        """Return the decoded body; raise ``ProtocolError`` if it is not JSON."""
        if self._decoded is None:  # a page is large, and looked at twice
            try:
                self._decoded = json.loads(self.body)
            except (ValueError, RecursionError) as error:
                raise ProtocolError(
                    f"The service answered HTTP {self.status} with a body that is not JSON; is the host an MQS "
                    "endpoint?"
                ) from error
        return self._decoded


@dataclass(frozen=True, slots=True)
class Sleep:
    """
    Wait for some seconds.

    ``reason`` goes into the log, as a warning if there is ``trouble``; ``throttled`` if the service got too many
    requests.
    """

    seconds: float
    reason: str
    throttled: bool = False
    trouble: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for what another flow does, perhaps in another thread or event loop; its error is thrown here too."""

    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Call something that may block, such as a store, where the driver thinks it right; the result is its result."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Parallel:
    """
    Run flows side by side if the driver can; the result is the list of theirs, in order.

    ``flows`` is read lazily, so a million of them cost no memory.
    """

    flows: Iterable[Flow[Any]]


Step: TypeAlias = Request | Sleep | Wait | Call | Parallel
Flow: TypeAlias = Generator[Step, Any, T]


def drive(flow: Flow[T], perform: Callable[[Step], Any]) -> T:
    """Perform the steps of a flow until it returns; the flow is closed whatever happens."""
    result, error = None, None
    try:
        while True:
            step = flow.send(result) if error is None else flow.throw(error)
            result, error = None, None
            try:
                result = perform(step)
            except MqsError as failure:
                error = failure
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        flow.close()


async def adrive(flow: Flow[T], perform: Callable[[Step], Awaitable[Any]]) -> T:
    """Perform the steps of a flow until it returns; the flow is closed even if we are cancelled."""
    result, error = None, None
    try:
        while True:
            step = flow.send(result) if error is None else flow.throw(error)
            result, error = None, None
            try:
                result = await perform(step)
            except MqsError as failure:
                error = failure
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        flow.close()


@dataclass(frozen=True, slots=True)
class _End(Generic[T]):
    """What a flow returned."""

    result: T


def joined(flow: Flow[T]) -> Flow[T]:
    """
    Make the calls of a flow that follow one another in one go, since each change of threads costs time.

    Whoever abandons this in the midst of them does not stop them: they are made to the end, as a single one would be.
    """
    advance: Callable[[], Step] = partial(next, flow)
    while True:
        step = yield Call(partial(_make_calls, flow, advance))
        if isinstance(step, _End):
            return cast("T", step.result)
        try:
            result = yield step
        except MqsError as error:
            advance = partial(flow.throw, error)
        except BaseException:
            flow.close()
            raise
        else:
            advance = partial(flow.send, result)


def _make_calls(flow: Flow[T], advance: Callable[[], Step]) -> Step | _End[T]:
    """Advance a flow, and make the calls that it yields, until it yields another step or ends."""
    try:
        step = advance()
        while isinstance(step, Call):
            step = _after(flow, step)
    except StopIteration as stop:
        return _End(stop.value)
    except BaseException:
        flow.close()
        raise
    return step


def _after(flow: Flow[Any], call: Call) -> Step:
    """Make a call, and return the next step of the flow that yielded it."""
    try:
        result = call.call()
    except MqsError as error:
        return flow.throw(error)
    return flow.send(result)
