"""
Flows: protocol logic as generators that do no I/O, and the two drivers that perform their steps.

A flow yields a step and is sent what came of it, or has the error thrown in where it waits. ``drive`` and ``adrive``
are the same lines but for ``async`` and ``await``; a test holds them to that.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from airflow_provider_mqs import __version__
from airflow_provider_mqs.exceptions import MqsError, ProtocolError

T = TypeVar("T")
USER_AGENT = f"airflow-provider-mqs/{__version__}"
"""Who both wires say they are; not a header of ``Request``, since a proxy may change it and it must not be signed."""


@dataclass(frozen=True, slots=True)
class Request:
    """
    One HTTP request, ready to be sent as it is.

    :param method: ``GET`` or ``POST``
    :param url: absolute, with its query already encoded
    :param headers: not shown by ``repr``, since they carry tokens and signatures
    :param body: the bytes to send
    :param safe_to_repeat: whether running it twice does no harm
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    safe_to_repeat: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """
    One whole HTTP answer.

    :param status: HTTP status
    :param headers: names in lower case; not shown by ``repr``
    :param body: the bytes that came; not shown by ``repr``
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """
        Decode the body.

        :return: what the body says
        :raises ProtocolError: where it is not JSON
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(
                f"The service answered HTTP {self.status} with a body that is not JSON; is the host an MQS endpoint?"
            ) from error


@dataclass(frozen=True, slots=True)
class Sleep:
    """
    Wait for a time.

    :param seconds: how long
    :param reason: a safe sentence for the log
    :param throttled: whether the service is being asked too often
    """

    seconds: float
    reason: str
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Wait until something that another flow does has ended; its error is thrown here, too.

    :param future: settled by the other flow, perhaps in another thread or event loop
    """

    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Parallel:
    """
    Run flows side by side, where the driver can; is answered with the list of their results, in order.

    :param flows: read lazily, a few ahead, so that a million of them cost no memory
    """

    flows: Iterable[Flow[Any]]


Step: TypeAlias = Request | Sleep | Wait | Parallel
Flow: TypeAlias = Generator[Step, Any, T]


def drive(flow: Flow[T], perform: Callable[[Step], Any]) -> T:
    """
    Perform the steps of a flow until it returns.

    :param flow: closed at the end, whatever happens
    :param perform: does one step and returns what came of it
    :return: what the flow returns
    :raises MqsError: what the flow raises
    """
    advance: Callable[[], Step] = partial(next, flow)
    try:
        while True:
            step = advance()
            try:
                outcome = perform(step)
            except MqsError as error:
                advance = partial(flow.throw, error)
            else:
                advance = partial(flow.send, outcome)
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        flow.close()


async def adrive(flow: Flow[T], perform: Callable[[Step], Awaitable[Any]]) -> T:
    """
    Perform the steps of a flow until it returns; the asynchronous twin of ``drive``.

    :param flow: closed at the end, whatever happens, so also when the task is cancelled
    :param perform: does one step and returns what came of it
    :return: what the flow returns
    :raises MqsError: what the flow raises
    """
    advance: Callable[[], Step] = partial(next, flow)
    try:
        while True:
            step = advance()
            try:
                outcome = await perform(step)
            except MqsError as error:
                advance = partial(flow.throw, error)
            else:
                advance = partial(flow.send, outcome)
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        flow.close()
