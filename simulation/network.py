"""
The way between the processes and the service, and what can go wrong on it.

A request takes a while to arrive, and its answer to come back. A strike of the schedule decides about one request: it
never arrives, arrives when the client has given up, is executed and its answer is lost, is acknowledged and not
executed, or meets one of the faults that the local service has itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from airflow_provider_mqs.core.client.flow import Request, Response
from airflow_provider_mqs.emulator.http import HttpRequest
from airflow_provider_mqs.exceptions import TransportError
from simulation.process import AFTER

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.http import HttpResponse
    from simulation.process import Process
    from simulation.service import SimulatedService

READ_TIMEOUT_S = 4.0
CONNECT_TIMEOUT_S = 2.0
_OK = 200


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
        process, world = self.process, self.process.world
        kind = _kind(request)
        strike = await process.moment(kind)
        what = strike.what if strike else ""
        self.requests += 1
        posted_s = world.now
        future = process.loop.create_future()

        def fail(message: str, phase: Literal["connect", "exchange"]) -> None:
            if not future.done():
                future.set_exception(TransportError(message, phase=phase))
                future.exception()  # whoever was cancelled does not ask for it

        def deliver() -> None:
            answer = self.service.handle(_as_received(request), process.name, posted_s, strike)
            process.suffer(process.strike(AFTER, kind))
            if answer.drop or what in {"lost", "late"}:
                world.after(self._way(), lambda: fail("The connection broke (simulated).", "exchange"))
            elif what not in {"silent", "late_silent"}:
                world.after(self._way(), lambda: future.done() or future.set_result(_as_answered(answer)))

        if kind == "post":
            world.note(process.name, f"posts {_named(request)}" + (f" ({what})" if what else ""))
        elif what and what not in {"pause", "stop", "kill"}:
            world.note(process.name, f"meets {what} in a {kind}")
        if what == "unreachable":
            world.after(CONNECT_TIMEOUT_S, lambda: fail("The service could not be connected to.", "connect"))
            return await future
        if what == "reset":
            world.after(self._way() * 2, lambda: fail("The connection broke (simulated).", "exchange"))
            return await future
        if what in {"late", "late_silent"} and strike:
            world.after(self._way() + strike.seconds, deliver)
            if what == "late":
                world.after(self._way() * 2, lambda: fail("The connection broke (simulated).", "exchange"))
        else:
            world.after(self._way(), deliver)
        world.after(READ_TIMEOUT_S, lambda: fail("The service did not answer in time.", "exchange"))
        return await future

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
