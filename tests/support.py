"""What several test files need: the local service without a socket, and a driver that runs flows against it."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.client.auth import TokenAuth
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Sleep, Step, Wait, drive
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.http import HttpRequest
from airflow_provider_mqs.emulator.identity import Identity
from airflow_provider_mqs.emulator.service import Service
from airflow_provider_mqs.emulator.state import State
from airflow_provider_mqs.emulator.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


EXAMPLES: dict[str, Any] = {
    "partitions": [0, 2],
    "key": "key-1",
    "tag": "a",
    "message_id": "message-1",
    "app_id": "app-1",
    "message_filter": has_content,
    "fetch_values": True,
}
"""A value for each filter; of the two messages in ``tests/tasks/test_filtered.py``, only the second matches it."""


def example_of(name: str, leave_out: str = "") -> dict[str, Any]:
    """Arguments that set one filter, and what it needs."""
    needed = {"fetch_values": ("message_filter",)}.get(name, ())
    return {one: EXAMPLES[one] for one in (*needed, name) if one != leave_out}


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
    """Wait for something that the service does in its own thread."""
    while not holds():  # noqa: ASYNC110 - the service's thread sets no event
        await asyncio.sleep(0.001)


@contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """
    Run a helper in a thread beside the block; its failure ends the block, which must be in the main thread.

    The helper gets an event that is set once the block is over, so it needs no time limit of its own: pytest's limit
    ends both.
    """
    begun, over, failures = threading.Event(), threading.Event(), list[BaseException]()

    def run() -> None:
        begun.wait(60)
        try:
            work(over)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)
            interrupted = threading.main_thread().ident or 0
            while not over.is_set():  # more than once: what runs in the block may catch the first
                signal.pthread_kill(interrupted, signal.SIGUSR1)
                over.wait(1)

    def interrupt(*_: object) -> None:
        if not over.is_set():
            raise failures[0]

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        begun.set()
        yield
    finally:
        over.set()
        thread.join(30)
        signal.signal(signal.SIGUSR1, before)
    assert not thread.is_alive(), "the helper does not end"
    if failures:
        raise failures[0]


def ref_of(row: Row | Message) -> tuple[int, int]:
    """Partition and offset of a row."""
    return row.partition, row.message_offset


def started_by(*payloads: Any) -> dict[str, Any]:
    """Return the context of a run that a watcher started with events of these payloads."""
    events = [SimpleNamespace(extra={"from_trigger": True, "payload": payload}) for payload in payloads]
    return {"triggering_asset_events": {"mqs://host/instance/watched": events}}


def settings_for(url: str = "http://127.0.0.1:1", **changes: Any) -> ConnectionSettings:
    """Return the settings of a connection to the local service, with some changes."""
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
    """The service's core, and a driver that performs flows on it with a clock that moves only when they sleep."""

    service: Service
    settings: ConnectionSettings
    auth: Auth
    now_s: list[float]
    clock: ServiceClock
    requests: list[Request] = field(default_factory=list)
    sleeps: list[Sleep] = field(default_factory=list)

    @property
    def api(self) -> MqsApi:
        return MqsApi(self.settings, self.auth, policy=RetryPolicy(jitter=lambda: 0.0), service_clock=self.clock)

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
    """Return a service in memory and a client with a valid token for it."""
    now_s = [NOW_S]
    state = State(store or Store(), behaviour=behaviour or Behaviour(), clock=lambda: now_s[0])
    service = Service(state)
    clock = ServiceClock(lambda: now_s[0], lambda: now_s[0])
    answer = Local(service, settings_for(**changes), TokenAuth(""), now_s, clock)
    answer.auth = TokenAuth(_token(answer))
    return answer


def _token(client: Local) -> str:
    from airflow_provider_mqs.core.client.auth import login_request

    response = client.perform(login_request(client.settings))
    client.requests.clear()
    return str(response.headers["x-subject-token"])
