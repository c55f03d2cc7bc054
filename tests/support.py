"""What several test files need: the local service without a socket, and a client that drives flows straight into it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.client.auth import TokenAuth
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Sleep, Step, Wait, drive
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.http import HttpRequest
from airflow_provider_mqs.emulator.identity import Identity
from airflow_provider_mqs.emulator.service import Service
from airflow_provider_mqs.emulator.state import State
from airflow_provider_mqs.emulator.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.auth import Auth
    from airflow_provider_mqs.core.values.message import Message, Row

T = TypeVar("T")

NOW_S = 1_700_100_000.0
NOW_MS = int(NOW_S * 1000)
START_MS = 1_700_000_000_000
END_MS = START_MS + 3_600_000


def has_content(message: Message) -> bool:
    """Tell whether a message came with its content, as a ``message_filter``."""
    return message.value is not None


_EXAMPLES: dict[str, Any] = {
    "partitions": [0, 2],
    "key": "key-1",
    "tag": "a",
    "message_id": "message-1",
    "app_id": "app-1",
    "message_filter": has_content,
    "fetch_values": True,
}
"""A value for each filter; a new one needs a line here."""


def example_of(name: str, leave_out: str = "") -> dict[str, Any]:
    """Arguments that set one filter, and what it needs."""
    needed = {"fetch_values": ("message_filter",)}.get(name, ())
    return {one: _EXAMPLES[one] for one in (*needed, name) if one != leave_out}


class MemoryStore:
    """Keeps values as long as the test lives; as JSON, so that nothing is kept that a real store could not keep."""

    name = "memory"

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str) -> Any | None:
        return json.loads(self.values.get(key, "null"))

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


async def until(holds: Callable[[], object]) -> None:
    """Give way until something holds that the service brings about in its own thread."""
    while not holds():  # noqa: ASYNC110 - nobody sets an event for us over there
        await asyncio.sleep(0.001)


def ref_of(row: Row | Message) -> tuple[int, int]:
    """Partition and offset of a row."""
    return row.partition, row.message_offset


def started_by(*payloads: Any) -> dict[str, Any]:
    """Give the context of a run that a watcher's events with these payloads started."""
    events = [SimpleNamespace(extra={"from_trigger": True, "payload": payload}) for payload in payloads]
    return {"triggering_asset_events": {"mqs://host/instance/watched": events}}


def settings_for(url: str = "http://127.0.0.1:1", **changes: Any) -> ConnectionSettings:
    """Settings of a connection to the local service, with a few of them changed."""
    identity = Identity()
    settings = ConnectionSettings.parse(
        host=url,
        login=identity.user,
        password=identity.password,
        extra={
            "domain_name": identity.domain,
            "project_id": identity.project_id,
            "instance_id": identity.instance_id,
            "api_style": "mqs",
        },
    )
    return replace(settings, **changes)


@dataclass
class Local:
    """The service's core and a driver that performs the steps of flows on it, with a clock that only sleeping moves."""

    service: Service
    settings: ConnectionSettings
    auth: Auth
    now_s: list[float]
    requests: list[Request] = field(default_factory=list)
    sleeps: list[Sleep] = field(default_factory=list)

    @property
    def api(self) -> MqsApi:
        return MqsApi(self.settings, self.auth, policy=RetryPolicy(jitter=lambda: 0.0), clock=lambda: self.now_s[0])

    @property
    def state(self) -> State:
        return self.service.state

    def run(self, flow: Flow[T]) -> T:
        return drive(flow, self.perform)

    def perform(self, step: Step) -> Any:
        if isinstance(step, Request):
            self.requests.append(step)
            return self._exchange(step)
        if isinstance(step, Sleep):
            self.sleeps.append(step)
            self.now_s[0] += step.seconds
            return None
        if isinstance(step, Wait):
            return step.future.result(timeout=0)
        return [self.run(flow) for flow in step.flows]

    def _exchange(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {"host": parts.netloc, **request.headers}
        answer = self.service.handle(HttpRequest.parse(request.method, target, headers, request.body))
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body)


def local(behaviour: Behaviour | None = None, store: Store | None = None, **changes: Any) -> Local:
    """A service in memory and a client that has a valid token for it."""
    now_s = [NOW_S]
    state = State(store or Store(), behaviour=behaviour or Behaviour(), clock=lambda: now_s[0])
    service = Service(state)
    answer = Local(service, settings_for(**changes), TokenAuth(""), now_s)
    answer.auth = TokenAuth(_token(answer))
    return answer


def _token(client: Local) -> str:
    from airflow_provider_mqs.core.client.auth import login_request

    response = client.perform(login_request(client.settings))
    client.requests.clear()
    return str(response.headers["x-subject-token"])
