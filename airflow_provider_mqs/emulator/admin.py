"""
The local admin routes: switch faults and behaviour, write messages, read the logs.

There is no login, because the service listens on 127.0.0.1 only.

::

    GET  /admin                     what there is: topics, project and instance id
    GET  /admin/faults              PUT the same with {"throttle_429": 0.1, "late_504": {"next": 1}}, DELETE: all off
    GET  /admin/behaviour           PUT the same with {"paging": "row", "cap": null}
    POST /admin/seed                {"topic", "count", "start_ms", "end_ms", …}: the arguments of seeds.seed()
    POST /admin/renew               {"topic"}: delete it and make it anew, empty, with offsets from 0
    POST /admin/append              {"topic", "partition", "value", …}: the arguments of State.append()
    GET  /admin/log?operation=…     the requests
    GET  /admin/resends?topic=…     every append that a resend made, counts by message, and every resend request
    POST /admin/reset               forget data, logs, locks and faults
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.http import HttpRequest, HttpResponse, json_response
from airflow_provider_mqs.emulator.resend import resend_counts
from airflow_provider_mqs.emulator.seeds import seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.emulator.service import Service

PREFIX = "/admin"


def handle(service: Service, request: HttpRequest) -> HttpResponse:
    """Answer one admin request: 200, 400 with one sentence for a wrong value, 404 for any other path."""
    action = _ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        known = ", ".join(f"{method} {PREFIX}{path}" for method, path in _ACTIONS)
        return json_response(404, {"error": f"There is no {request.method} {request.path}. Try one of: {known}."})
    try:
        with service.lock:
            service.run_late_effects()
            return json_response(200, action(service, request))
    except (ValueError, TypeError) as error:
        return json_response(400, {"error": str(error)})


def overview(service: Service, _: HttpRequest) -> Any:
    """Show what there is."""
    identity = service.state.identity
    return {
        "project_id": identity.project_id,
        "instance_id": identity.instance_id,
        "topics": [dataclasses.asdict(topic) for topic in service.state.store.topics()],
    }


def put_faults(service: Service, request: HttpRequest) -> Any:
    """Set some faults."""
    service.state.faults.update(_fields(request))
    return service.state.faults.as_json()


def delete_faults(service: Service, _: HttpRequest) -> Any:
    """Switch every fault off."""
    service.state.faults.clear()
    return service.state.faults.as_json()


def put_behaviour(service: Service, request: HttpRequest) -> Any:
    """Set some switches."""
    service.state.behaviour = service.state.behaviour.changed(_fields(request))
    return service.state.behaviour.as_json()


def seed_topic(service: Service, request: HttpRequest) -> Any:
    """Fill a window with messages."""
    seed(service.state, **_fields(request))
    return overview(service, request)


def renew_topic(service: Service, request: HttpRequest) -> Any:
    """Forget the messages of one topic."""
    service.state.store.drop_messages(**_fields(request))
    return overview(service, request)


def show_log(service: Service, request: HttpRequest) -> Any:
    """List the requests, of one operation if that is named."""
    wanted = request.query.get("operation")
    return {"requests": [dataclasses.asdict(line) for line in service.log if wanted in {None, line.operation}]}


def show_resends(service: Service, request: HttpRequest) -> Any:
    """List the resends, of one topic if that is named."""
    store, wanted = service.state.store, request.query.get("topic")
    names = [wanted] if wanted else [topic.name for topic in store.topics()]
    counts = {name: sorted(resend_counts(service.state, name).items()) for name in names}
    return {
        "resends": [dataclasses.asdict(resend) for name in names for resend in store.resends(name)],
        "counts": {name: [[*ref, times] for ref, times in found] for name, found in counts.items()},
        "requests": store.resend_requests(),
    }


def reset(service: Service, request: HttpRequest) -> Any:
    """Forget everything but the behaviour."""
    service.reset()
    return overview(service, request)


def _fields(request: HttpRequest) -> dict[str, Any]:
    value = request.json()
    if not isinstance(value, dict):
        raise TypeError("The body must be a JSON object.")
    return value


_ACTIONS: dict[tuple[str, str], Callable[[Service, HttpRequest], Any]] = {
    ("GET", ""): overview,
    ("GET", "/faults"): lambda service, _: service.state.faults.as_json(),
    ("PUT", "/faults"): put_faults,
    ("DELETE", "/faults"): delete_faults,
    ("GET", "/behaviour"): lambda service, _: service.state.behaviour.as_json(),
    ("PUT", "/behaviour"): put_behaviour,
    ("POST", "/seed"): seed_topic,
    ("POST", "/renew"): renew_topic,
    ("POST", "/append"): lambda service, request: service.state.append(**_fields(request))._asdict(),
    ("GET", "/log"): show_log,
    ("GET", "/resends"): show_resends,
    ("POST", "/reset"): reset,
}
