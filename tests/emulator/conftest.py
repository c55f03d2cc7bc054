"""The service without a socket, with a clock that the test moves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator.http import HttpRequest, HttpResponse
from airflow_provider_mqs.emulator.service import Service
from airflow_provider_mqs.emulator.state import HOUR_MS, State
from airflow_provider_mqs.emulator.store import Store, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_MS = 1_700_000_000_000
START_MS = NOW_MS - HOUR_MS


@dataclass
class World:
    """A service, its clock, and shortcuts for requests."""

    now_s: float = NOW_MS / 1000
    token: str = field(default="", repr=False)
    state: State = None  # type: ignore[assignment]  # made below

    def __post_init__(self) -> None:
        self.state = self.state or State(Store(), clock=lambda: self.now_s)
        self.service = Service(self.state)
        self.identity = self.state.identity
        self.token = self.service.iam.issue(self.identity.project_id)[0]
        self.base = f"/v2/{self.identity.project_id}/mqs/instances"
        self.instance = f"{self.base}/{self.identity.instance_id}"

    def behave(self, **changes: Any) -> None:
        """Change some switches."""
        self.state.behaviour = self.state.behaviour.changed(changes)

    def topic(self, *messages: dict[str, Any], partitions: int = 2, retention_hours: int = 72) -> None:
        """Create the topic ``orders`` with these messages."""
        self.state.store.put_topic(Topic("orders", partitions, retention_hours))
        for number, message in enumerate(messages):
            fields = {"partition": 0, "value": f"v{number}", "timestamp_ms": START_MS + number, **message}
            self.state.append("orders", **fields)

    def ask(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> HttpResponse:
        """Send a request with the token."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        merged = {"X-Auth-Token": self.token, **(headers or {})}
        return self.service.handle(HttpRequest.parse(method, target, merged, raw))

    def query(self, **params: Any) -> HttpResponse:
        """Query the last hour."""
        window = {"topic": "orders", "start_time": START_MS, "end_time": NOW_MS, "limit": 50}
        merged = {name: value for name, value in {**window, **params}.items() if value is not None}
        return self.ask("GET", f"{self.instance}/messages?" + "&".join(f"{k}={v}" for k, v in merged.items()))

    def content(self, **params: Any) -> HttpResponse:
        """Query one message."""
        fields = {"start_time": None, "end_time": None, "limit": None, "partition": 0, "message_offset": 0}
        return self.query(**{**fields, **params})

    def resend(self, action: str = "resend", **fields: Any) -> HttpResponse:
        """Resend one message."""
        body = {"topic": "orders", "partition": 0, "message_offset": 0, **fields}
        return self.ask("POST", f"{self.instance}/messages/action?action_id={action}", body)

    def offsets(self, **params: Any) -> list[int]:
        """Query the last hour and return the offsets."""
        return [row["message_offset"] for row in self.query(**params).json()["messages"]]

    def login(self, **changes: Any) -> HttpResponse:
        """Log in, correctly unless something is changed."""
        given = {"name": self.identity.user, "password": self.identity.password, "domain": self.identity.domain}
        fields = {**given, "scope": {"project": {"name": self.identity.region}}, "catalog": False, **changes}
        user = {"name": fields["name"], "password": fields["password"], "domain": {"name": fields["domain"]}}
        identity = {"methods": ["password"], "password": {"user": user}}
        target = "/v3/auth/tokens" + ("" if fields["catalog"] else "?nocatalog=true")
        return self.ask("POST", target, {"auth": {"identity": identity, "scope": fields["scope"]}})


@pytest.fixture
def world() -> Iterator[World]:
    """Provide a service in memory for each test."""
    one = World()
    yield one
    one.service.close()
