"""
The service without its socket: one request in, one response out, faults included.

Appends that a fault delays wait in a heap and happen before the first request that comes after their time. Nothing
can observe the store in between, so no timer is needed.
"""

from __future__ import annotations

import dataclasses
import heapq
import threading
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count
from typing import TYPE_CHECKING

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.faults import KINDS, FaultKind
from airflow_provider_mqs.emulator.http import (
    Call,
    HttpRequest,
    HttpResponse,
    OperationResult,
    error_body,
    error_response,
    json_response,
    route,
)
from airflow_provider_mqs.emulator.iam import Iam
from airflow_provider_mqs.emulator.instances import check_ids, list_instances, list_topics, show_instance
from airflow_provider_mqs.emulator.query import query_content, query_window
from airflow_provider_mqs.emulator.resend import resend

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.emulator.state import State

_OPERATIONS: dict[str, Callable[[State, Call], OperationResult]] = {
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
    """One line of the request log, which holds no token and no body."""

    time_ms: int  # when the request came
    operation: str
    method: str
    path: str  # as sent
    query: dict[str, str]  # decoded
    status: int  # 0 for a cut connection
    fault: str  # the one that struck, or empty
    trace: str  # request id


@dataclass
class Service:
    """The whole service; its lock guards everything below."""

    state: State
    iam: Iam = field(init=False)
    lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    log: deque[LoggedRequest] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH), init=False, repr=False)
    # effects that a fault delays: when they are due in epoch ms, the order of their requests, the effect
    _late: list[tuple[int, int, Callable[[int], object]]] = field(default_factory=list, init=False, repr=False)
    _order: count[int] = field(default_factory=count, init=False, repr=False)

    def __post_init__(self) -> None:
        self.iam = Iam(self.state)

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        with self.lock:
            self.run_late_effects()
            state, trace = self.state, self.state.new_id()
            call = route(request, state.behaviour, trace)
            fault = state.faults.pick(call.operation, call.ref, state.clock()) or ""
            response = self._respond(call, KINDS.get(fault))
            now_ms, status = state.now_ms(), 0 if response.drop else response.status
            line = (call.operation, request.method, request.path, dict(request.query), status, fault, trace)
            self.log.append(LoggedRequest(now_ms, *line))
            if call.operation == "resend":
                state.store.log_resend_request(now_ms, trace, request.body.decode(errors="replace"), status, fault)
            trace_header = "X-IAM-Trace-Id" if call.operation in {"login", "projects"} else "X-Request-Id"
            headers = {trace_header: trace, **response.headers}
            if state.behaviour.date_header:
                headers["Date"] = formatdate(state.now_s() + state.faults.date_offset_s, usegmt=True)
            delay_s = state.faults.latency(call.operation)
            state.happened(call.operation)
            return dataclasses.replace(response, headers=headers, delay_s=delay_s)

    def run_late_effects(self, *, all_of_them: bool = False) -> None:
        """Run the delayed effects that are due, or all of them, as when the service stops."""
        with self.lock:
            while self._late and (all_of_them or self._late[0][0] <= self.state.now_ms()):
                due_ms, _, effect = heapq.heappop(self._late)
                effect(due_ms)

    def close(self) -> None:
        """Run what is still delayed, then close the store."""
        with self.lock:
            self.run_late_effects(all_of_them=True)
            self.state.store.close()

    def reset(self) -> None:
        """Forget data, logs, locks and faults; the behaviour stays."""
        with self.lock:
            self._late.clear()
            self.state.clear()
            self.iam = Iam(self.state)
            self.log.clear()

    def _respond(self, call: Call, kind: FaultKind | None) -> HttpResponse:
        if kind is not None and kind.stage == "refused":
            return self._fault_response(call, kind)
        try:
            result = self._run(call)
        except ServiceError as error:
            return error_response(error, self.state.behaviour, call.trace)
        faults, now_ms = self.state.faults, self.state.now_ms()
        if result.beside is not None and faults.strikes("live_producers", call.operation, call.ref, self.state.clock()):
            result.beside(now_ms)
        if result.effect is not None and (kind is None or kind.stage == "executed"):
            result.effect(now_ms)
        elif result.effect is not None and kind is not None and kind.stage == "late":
            delay_s = faults.rng.uniform(0, faults.late_append_s)
            heapq.heappush(self._late, (now_ms + round(delay_s * 1000), next(self._order), result.effect))
        if kind is None or not kind.answer:
            return result.response
        if kind.answer == "other_echo":
            echo = result.response.json()
            return json_response(200, {**echo, "message_offset": int(echo["message_offset"]) + 1})
        return self._fault_response(call, kind)

    def _run(self, call: Call) -> OperationResult:
        if call.error:
            raise ServiceError(call.error)
        if call.operation == "login":
            return self.iam.login(call)
        token_project = self.iam.authenticate(call.request)
        if call.operation == "projects":
            return self.iam.projects(call)
        check_ids(self.state, call, token_project)
        return _OPERATIONS[call.operation](self.state, call)

    def _fault_response(self, call: Call, kind: FaultKind) -> HttpResponse:
        faults = self.state.faults
        if kind.answer == "drop":
            return HttpResponse(0, drop=True)
        if kind.answer == "html":
            return HttpResponse(502, {"Content-Type": "text/html"}, _HTML)
        if kind.answer == "error_200":
            form = self.state.behaviour.error_form
            return json_response(200, error_body(form, faults.error_200_code, "Internal service error.", "OK"))
        if kind.answer == "redirect":
            return HttpResponse(307, {"Location": faults.redirect_to + call.request.path})
        response = error_response(ServiceError(kind.answer), self.state.behaviour, call.trace)
        if kind.answer == "throttled" and faults.retry_after_s is not None:
            headers = {**response.headers, "Retry-After": str(faults.retry_after_s)}
            return dataclasses.replace(response, headers=headers)
        return response
