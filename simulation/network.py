"""
The way between the processes and the service, and what can go wrong on it.

A request takes a while to arrive, and its answer to come back. A strike of the schedule decides about one request: it
never arrives, arrives when the client has given up, is executed and its answer is lost, is acknowledged and not
executed, or meets one of the faults that the local service has itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from airflow_provider_mqs.core.client.flow import Request, Response
from airflow_provider_mqs.emulator.http import HttpRequest
from airflow_provider_mqs.exceptions import TransportError
from simulation.process import AFTER, OF_PROCESSES

if TYPE_CHECKING:
    import asyncio

    from airflow_provider_mqs.emulator.http import HttpResponse
    from simulation.process import Process
    from simulation.schedule import Strike
    from simulation.service import SimulatedService

READ_TIMEOUT_S = 4.0
CONNECT_TIMEOUT_S = 2.0
_LATE = {"late", "late_silent"}
_BREAKS_AT_ONCE = {"reset", "late"}
_NO_ANSWER = {"silent", "late", "late_silent"}


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request on its way; the first that happens to it counts."""

    future: asyncio.Future[Response]

    def answer(self, response: Response) -> None:
        if not self.future.done():
            self.future.set_result(response)

    def refuse(self) -> None:
        self._fail("The service could not be connected to.", "connect")

    def time_out(self) -> None:
        self._fail("The service did not answer in time.", "exchange")

    def break_off(self) -> None:
        self._fail("The connection broke (simulated).", "exchange")

    def _fail(self, message: str, phase: Literal["connect", "exchange"]) -> None:
        if not self.future.done():
            self.future.set_exception(TransportError(message, phase=phase))
            self.future.exception()  # whoever was cancelled does not ask for it


@dataclass(slots=True)
class Network:
    """Carries the requests of one process; ``latency_s`` is the longest time that a packet takes, one way."""

    process: Process
    service: SimulatedService
    latency_s: tuple[float, float]
    page_size: int
    requests: int = field(default=0, init=False)

    async def send(self, request: Request) -> Response:
        """Send a request; raise ``TransportError`` if no answer comes."""
        process, world, kind = self.process, self.process.world, _kind(request)
        strike = await process.moment(kind)
        what = strike.what if strike and strike.what not in OF_PROCESSES else ""
        self.requests += 1
        if kind == "post":
            world.note(process.name, f"posts {_named(request)}" + (f" ({what})" if what else ""))
        elif what:
            world.note(process.name, f"meets {what} in a {kind}")
        exchange = _Exchange(process.loop.create_future())
        if what == "unreachable":
            world.after(CONNECT_TIMEOUT_S, exchange.refuse)
        else:
            world.after(READ_TIMEOUT_S, exchange.time_out)
            if what in _BREAKS_AT_ONCE:
                world.after(self._way() * 2, exchange.break_off)
            if what != "reset":
                late_s = strike.seconds if strike and what in _LATE else 0.0
                world.after(self._way() + late_s, partial(self._deliver, request, strike, exchange, world.now))
        answer: Response = await exchange.future
        return answer

    def _deliver(self, request: Request, strike: Strike | None, exchange: _Exchange, posted_s: float) -> None:
        """Let a request arrive at the service, and its answer begin its way back."""
        process, what = self.process, strike.what if strike else ""
        answer = self.service.handle(_as_received(request), process.name, posted_s, strike)
        process.suffer(process.strike(AFTER, _kind(request)))
        if answer.drop or what == "lost":
            process.world.after(self._way(), exchange.break_off)
        elif what not in _NO_ANSWER:
            process.world.after(self._way(), partial(exchange.answer, _as_answered(answer)))

    async def close(self) -> None:
        """Close nothing: there are no sockets."""

    def _way(self) -> float:
        return self.process.rng.uniform(*self.latency_s)


def _kind(request: Request) -> str:
    if request.method == "POST":
        return "post" if "/messages/action" in request.url else "login"
    if "/messages" not in request.url:
        return "topics"
    return "query" if "start_time" in request.url else "content"


def _named(request: Request) -> str:
    body = json.loads(request.body)
    return f"({body['partition']}, {body['message_offset']})"


def _as_received(request: Request) -> HttpRequest:
    parts = urlsplit(request.url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return HttpRequest.parse(request.method, target, {"host": parts.netloc, **request.headers}, request.body)


def _as_answered(answer: HttpResponse) -> Response:
    return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body)
