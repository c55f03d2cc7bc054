"""
The service without its socket: one request in, one answer out, faults included.

Appends that a fault delays wait in a heap and happen before the first request that comes after their time; nobody can
look in between, so no timer is needed.
"""

from __future__ import annotations

import dataclasses
import heapq
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count
from typing import TYPE_CHECKING

from airflow_provider_mqs.emulator.call import Call, route
from airflow_provider_mqs.emulator.errors import ServiceError, render
from airflow_provider_mqs.emulator.faults import KINDS, FaultKind
from airflow_provider_mqs.emulator.http import HttpResponse
from airflow_provider_mqs.emulator.iam import Iam
from airflow_provider_mqs.emulator.instances import list_instances, list_topics, show_instance
from airflow_provider_mqs.emulator.query import query_content, query_window
from airflow_provider_mqs.emulator.resend import resend
from airflow_provider_mqs.emulator.validation import check_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.emulator.http import HttpRequest, Outcome
    from airflow_provider_mqs.emulator.state import State

_OPERATIONS: dict[str, Callable[[State, Call], Outcome]] = {
    "query": query_window,
    "content": query_content,
    "resend": resend,
    "instance": show_instance,
    "instances": list_instances,
    "topics": list_topics,
}
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_LOG_LENGTH = 200_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """
    One line of the request log, which holds no token and no body.

    :param time_ms: when it came, epoch ms
    :param operation: what it asked for
    :param method: HTTP verb
    :param path: path as sent
    :param query: decoded query parameters
    :param status: HTTP status of the answer, 0 for a cut connection
    :param fault: the fault that struck, or empty
    :param trace: request id
    """

    time_ms: int
    operation: str
    method: str
    path: str
    query: dict[str, str]
    status: int
    fault: str
    trace: str


@dataclass
class Service:
    """
    The whole service.

    :param state: data, switches, clock
    """

    state: State
    iam: Iam = field(init=False)
    lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    log: deque[LoggedRequest] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH), init=False, repr=False)
    _late: list[tuple[int, int, Callable[[int], object]]] = field(default_factory=list, init=False, repr=False)
    _order: count[int] = field(default_factory=count, init=False, repr=False)

    def __post_init__(self) -> None:
        self.iam = Iam(self.state)

    def handle(self, request: HttpRequest) -> HttpResponse:
        """
        Serve one request.

        :param request: as it came
        :return: the answer, with what the shell does around it
        """
        with self.lock:
            self.settle()
            behaviour, trace = self.state.behaviour, uuid.uuid4().hex
            call = route(request, behaviour.styles, behaviour.path_prefix, trace)
            fault = self._fault(call)
            response = self._answer(call, KINDS.get(fault))
            self._write_log(call, 0 if response.drop else response.status, fault)
            headers = {"Date": formatdate(self.state.now_s(), usegmt=True), _trace_header(call): trace}
            delay_s = self.state.faults.latency(call.operation)
            return dataclasses.replace(response, headers={**headers, **response.headers}, delay_s=delay_s)

    def settle(self, *, everything: bool = False) -> None:
        """
        Do the delayed appends whose time has come.

        :param everything: the others too, as when the service stops; default no
        """
        with self.lock:
            while self._late and (everything or self._late[0][0] <= self.state.now_ms()):
                due_ms, _, effect = heapq.heappop(self._late)
                effect(due_ms)

    def close(self) -> None:
        """Do what is still delayed, then close the store."""
        with self.lock:
            self.settle(everything=True)
            self.state.store.close()

    def reset(self) -> None:
        """Forget data, logs, locks and faults; the behaviour stays."""
        with self.lock:
            self._late.clear()
            self.state.store.clear()
            self.state.faults.clear()
            self.iam.unlock()
            self.log.clear()

    def _fault(self, call: Call) -> str:
        return self.state.faults.pick(call.operation, call.place, self.state.clock()) or ""

    def _answer(self, call: Call, kind: FaultKind | None) -> HttpResponse:
        if kind is not None and kind.stage == "refused":
            return self._struck(call, kind)
        try:
            outcome = self._run(call)
        except ServiceError as error:
            return render(error, self.state.behaviour, call.trace)
        if outcome.effect is not None:
            self._do(outcome.effect, late=kind is not None and kind.stage == "late")
        return outcome.response if kind is None else self._struck(call, kind)

    def _run(self, call: Call) -> Outcome:
        if call.error:
            raise ServiceError(call.error)
        if call.operation == "login":
            return self.iam.login(call)
        project_id = self.iam.check(call.request)
        if call.operation == "projects":
            return self.iam.projects(call)
        check_path(self.state.identity, call, project_id)
        return _OPERATIONS[call.operation](self.state, call)

    def _do(self, effect: Callable[[int], object], *, late: bool) -> None:
        now_ms = self.state.now_ms()
        if not late:
            effect(now_ms)
            return
        due_ms = now_ms + round(self.state.faults.rng.uniform(0, self.state.faults.late_append_s) * 1000)
        heapq.heappush(self._late, (due_ms, next(self._order), effect))

    def _struck(self, call: Call, kind: FaultKind) -> HttpResponse:
        faults = self.state.faults
        if kind.answer == "drop":
            return HttpResponse(0, drop=True)
        if kind.answer == "html":
            return HttpResponse(502, {"Content-Type": "text/html"}, _HTML)
        if kind.answer == "redirect":
            return HttpResponse(307, {"Location": faults.redirect_to + call.request.path})
        response = render(ServiceError(kind.answer), self.state.behaviour, call.trace)
        if kind.answer == "throttled" and faults.retry_after_s is not None:
            extra = {"Retry-After": str(faults.retry_after_s)}
            return dataclasses.replace(response, headers={**response.headers, **extra})
        return response

    def _write_log(self, call: Call, status: int, fault: str) -> None:
        request, now_ms = call.request, self.state.now_ms()
        line = (now_ms, call.operation, request.method, request.path, dict(request.query), status, fault, call.trace)
        self.log.append(LoggedRequest(*line))
        if call.operation == "resend":
            body = request.body.decode(errors="replace")
            self.state.store.log_resend_request(now_ms, call.trace, body, status, fault)


def _trace_header(call: Call) -> str:
    return "X-IAM-Trace-Id" if call.operation in {"login", "projects"} else "X-Request-Id"
