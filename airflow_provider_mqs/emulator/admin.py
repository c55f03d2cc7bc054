"""
The local admin routes: switch faults and behaviour, write messages, read the logs.

There is no login, because the service only listens on 127.0.0.1.

::

    GET  /admin                     what there is: topics, endpoint ids
    GET  /admin/faults              PUT the same with {"throttle_429": 0.1, "late_504": {"next": 1}}, DELETE: all off
    GET  /admin/behaviour           PUT the same with {"paging": "row", "cap": null}
    POST /admin/seed                {"topic", "count", "start_ms", "end_ms", …} as seeds.seed() takes them
    POST /admin/append              {"topic", "partition", "value", …} as State.append() takes them
    GET  /admin/log?operation=…     the requests
    GET  /admin/resends?topic=…     every append made by a resend, its counts, and every resend request
    POST /admin/reset               forget data, logs, locks and faults
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.http import json_response
from airflow_provider_mqs.emulator.seeds import seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.emulator.http import HttpRequest, HttpResponse
    from airflow_provider_mqs.emulator.service import Service

PREFIX = "/admin"


def handle(service: Service, request: HttpRequest) -> HttpResponse:
    """
    Serve one admin request.

    :param service: what to look into or change
    :param request: as it came
    :return: 200; 400 with one sentence for a wrong value; 404 for any other path
    """
    action = _ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        known = ", ".join(f"{method} {PREFIX}{path}" for method, path in _ACTIONS)
        return json_response(404, {"error": f"There is no {request.method} {request.path}. Try one of: {known}."})
    try:
        with service.lock:
            service.settle()
            return json_response(200, action(service, request))
    except (ValueError, TypeError) as error:
        return json_response(400, {"error": str(error)})


def resend_counts(service: Service, topic: str) -> dict[tuple[int, int], int]:
    """
    Count how often each message was appended again by a resend.

    :param service: whose log
    :param topic: topic name
    :return: counts by ``(partition, message_offset)`` of the source; empty when nothing was resent
    """
    return dict(Counter((one.partition, one.message_offset) for one in service.state.store.resends(topic)))


def _overview(service: Service, _: HttpRequest) -> Any:
    identity = service.state.identity
    return {
        "project_id": identity.project_id,
        "instance_id": identity.instance_id,
        "topics": [dataclasses.asdict(topic) for topic in service.state.store.topics()],
    }


def _faults(service: Service, _: HttpRequest) -> Any:
    return service.state.faults.as_json()


def _put_faults(service: Service, request: HttpRequest) -> Any:
    service.state.faults.update(_fields(request))
    return service.state.faults.as_json()


def _delete_faults(service: Service, _: HttpRequest) -> Any:
    service.state.faults.clear()
    return service.state.faults.as_json()


def _behaviour(service: Service, _: HttpRequest) -> Any:
    return service.state.behaviour.as_json()


def _put_behaviour(service: Service, request: HttpRequest) -> Any:
    service.state.behaviour = service.state.behaviour.changed(_fields(request))
    return service.state.behaviour.as_json()


def _seed(service: Service, request: HttpRequest) -> Any:
    seed(service.state, **_fields(request))
    return _overview(service, request)


def _append(service: Service, request: HttpRequest) -> Any:
    return service.state.append(**_fields(request))._asdict()


def _log(service: Service, request: HttpRequest) -> Any:
    wanted = request.query.get("operation")
    return {"requests": [dataclasses.asdict(one) for one in service.log if wanted in {None, one.operation}]}


def _resends(service: Service, request: HttpRequest) -> Any:
    store, wanted = service.state.store, request.query.get("topic")
    names = [wanted] if wanted else [topic.name for topic in store.topics()]
    counts = {name: resend_counts(service, name) for name in names}
    return {
        "resends": [dataclasses.asdict(one) for name in names for one in store.resends(name)],
        "counts": {name: [[*place, times] for place, times in sorted(found.items())] for name, found in counts.items()},
        "requests": store.resend_requests(),
    }


def _reset(service: Service, request: HttpRequest) -> Any:
    service.reset()
    return _overview(service, request)


def _fields(request: HttpRequest) -> dict[str, Any]:
    value = request.json()
    if not isinstance(value, dict):
        raise TypeError("The body must be a JSON object.")
    return value


_ACTIONS: dict[tuple[str, str], Callable[[Service, HttpRequest], Any]] = {
    ("GET", ""): _overview,
    ("GET", "/faults"): _faults,
    ("PUT", "/faults"): _put_faults,
    ("DELETE", "/faults"): _delete_faults,
    ("GET", "/behaviour"): _behaviour,
    ("PUT", "/behaviour"): _put_behaviour,
    ("POST", "/seed"): _seed,
    ("POST", "/append"): _append,
    ("GET", "/log"): _log,
    ("GET", "/resends"): _resends,
    ("POST", "/reset"): _reset,
}
