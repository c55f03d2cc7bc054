"""``MessagesInWindowSensor`` and ``HttpSensor`` on the local service that comes with the package."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.faults import ALWAYS, NEVER, Rule
from airflow_provider_mqs.testing import running_emulator
from benchmarks.peers.cases import BODY, SECRET
from benchmarks.peers.peer import Peer

if TYPE_CHECKING:
    from typing_extensions import Self

    from benchmarks.peers.cases import Case
    from benchmarks.peers.task import Ending

TOPIC = "orders"


class Rest(Peer):
    """What the two have in common: the service."""

    service = "the package's emulator, a server on 127.0.0.1"

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self.emulator = self._open.enter_context(running_emulator())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def begin(self, case: Case) -> None:
        """Forget everything; the topic is empty."""
        self.emulator.reset()
        self.emulator.seed(TOPIC, 0, *case.interval, partitions=3)
        self.emulator.faults.retry_after_s = None

    def put(self, case: Case, count: int, moment: datetime | None = None) -> None:
        """Write messages of the interval, or of another moment."""
        at = case.interval[0] + timedelta(minutes=1) if moment is None else moment
        for number in range(count):
            self.emulator.append(TOPIC, number % 3, BODY, timestamp_ms=int(at.timestamp() * 1000) + number)

    def fail(self, status: int) -> None:
        """Answer with this status from now on; 200 is the end of it."""
        faults = self.emulator.faults
        faults.error_500, faults.error_403 = (ALWAYS if status == wrong else NEVER for wrong in (500, 403))

    def left(self) -> dict[str, int]:
        """Count what others can still read."""
        return {"messages": len(self.emulator.messages(TOPIC))}

    def times(self) -> list[float]:
        """Give when each request came."""
        return [one.time_ms / 1000 for one in self.emulator.requests() if one.operation != "login"]

    def arrive(self, case: Case) -> None:
        """Let the messages come, and nothing be absent any more."""
        self.emulator.faults.throttle_404 = NEVER
        super().arrive(case)

    def logins(self) -> int:
        """Count logins."""
        return len(self.emulator.requests("login"))


class Ours(Rest):
    """The sensor of this package."""

    name = "MessagesInWindowSensor"
    package = "airflow-provider-mqs"
    counts = True

    def begin(self, case: Case) -> None:
        """Set the connection, with a wrong password where that is the case."""
        super().begin(case)
        document = self.emulator.connection(max_retries=None if case.patient else 0)
        self.secrets = (document["password"],)
        if case.name == "login":
            document["password"] = "wrong"  # noqa: S105 - no secret
        self.set_connection("MQS_DEFAULT", document)
        self._began_s = time.time()
        now = datetime.now(timezone.utc)
        self._window = {"start": now - timedelta(hours=1), "end": now + timedelta(hours=1)}

    def sensor(self, case: Case, mode: str, **arguments: Any) -> Any:
        """Make it; where the waiting in the triggerer is looked at, the window is final a second later."""
        from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor

        settle_s = 2.0
        if case.defers and mode == "deferred":
            settle_s = self._began_s + 1 - case.interval[1].timestamp()
        return MessagesInWindowSensor(
            topic="nowhere" if case.name == "unknown" else TOPIC,
            min_messages=case.need,
            settle=max(0.0, settle_s),
            deferrable=mode == "deferred",
            on_closed_empty="wait" if case.waits else "skip",
            max_consecutive_errors=3 if case.name == "down" else 10,
            **self.common(mode, case, arguments),
        )

    def changed(self) -> dict[str, Any]:
        """Give each argument another value."""
        now = datetime.now(timezone.utc)
        return {
            "topic": "other",
            "start": now - timedelta(minutes=1),
            "end": now + timedelta(minutes=9),
            "lookback": 60,
            "min_messages": 7,
            "min_per_partition": 1,
            "expected_keys": ["a"],
            "settle": 10**6,
            "stable_polls": 2,
            "on_closed_empty": "fail",
            "max_consecutive_errors": 3,
            "partitions": [1],
            "key": "a",
            "tag": "a",
            "message_id": "a",
            "app_id": "a",
            "message_filter": bool,
            "mqs_conn_id": "other",
            "instance_id": "other",
        }

    def seen(self, ending: Ending) -> int | None:
        """Read the count."""
        found = ending.xcom.get("return_value")
        return found["count"] if found else None

    def deferral(self, **arguments: Any) -> Any:
        """Make one that defers; its window ends in an hour."""
        from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor

        window = {} if "lookback" in arguments else self._window
        known: dict[str, Any] = {"topic": TOPIC, **window, **arguments}
        return MessagesInWindowSensor(task_id="wait", deferrable=True, **known)


class Http(Rest):
    """``HttpSensor`` of the HTTP provider, asking the same service for the same window."""

    name = "HttpSensor"
    package = "apache-airflow-providers-http"
    counts = True

    def begin(self, case: Case) -> None:
        """Set the connection, and get a token, as a task before it would."""
        super().begin(case)
        self.set_connection(
            "HTTP_DEFAULT", {"conn_type": "http", "host": "127.0.0.1", "port": self.emulator.port, "schema": "http"}
        )
        extra = self.emulator.connection("token")["extra"]
        self._token = "wrong" if case.name == "login" else extra["auth_token"]
        self._path = f"v2/{extra['project_id']}/mqs/instances/{extra['instance_id']}/messages"
        self.secrets = (SECRET, self._token)
        # its trigger is reached only where the first answer is 404
        self._first_404 = case.defers or case.name == "timeout"

    def sensor(self, case: Case, mode: str, **arguments: Any) -> Any:
        """Make it; with ``response_check`` it never defers, so the deferred one has none."""
        from airflow.providers.http.sensors.http import HttpSensor

        if mode == "deferred" and self._first_404:
            self.emulator.faults.throttle_404 = ALWAYS if case.name in {"timeout", "restart waiting"} else Rule(next=1)
            self._first_404 = False
        topic = "nowhere" if case.name == "unknown" else TOPIC
        return HttpSensor(
            endpoint=self._path,
            request_params={
                "topic": topic,
                "start_time": "{{ (data_interval_start.timestamp() * 1000) | int }}",
                "end_time": "{{ (data_interval_end.timestamp() * 1000) | int }}",
            },
            headers={"X-Auth-Token": self._token},
            response_check=None if mode == "deferred" else _Enough(case.need),
            deferrable=mode == "deferred",
            **self.common(mode, case, arguments),
        )

    def changed(self) -> dict[str, Any]:
        """Give each argument another value."""
        return {
            "endpoint": "other",
            "http_conn_id": "other",
            "method": "HEAD",
            "request_params": {"a": "b"},
            "request_kwargs": {"json": {}},
            "headers": {"a": "b"},
            "response_error_codes_allowlist": ["404", "503"],
            "response_check": bool,
            "extra_options": {"timeout": 3},
            "tcp_keep_alive": False,
            "tcp_keep_alive_idle": 7,
            "tcp_keep_alive_count": 7,
            "tcp_keep_alive_interval": 7,
        }

    def seen(self, ending: Ending) -> int | None:
        """Say that it pushes nothing."""
        assert not ending.xcom
        return None

    def deferral(self, **arguments: Any) -> Any:
        """Make one whose first look finds nothing, so that it defers."""
        from airflow.providers.http.sensors.http import HttpSensor

        os.environ["AIRFLOW_CONN_OTHER"] = os.environ["AIRFLOW_CONN_HTTP_DEFAULT"]
        self.emulator.faults.throttle_404 = ALWAYS
        return HttpSensor(task_id="wait", deferrable=True, **{"endpoint": self._path, **arguments})


class _Enough:
    """A ``response_check`` that counts."""

    def __init__(self, need: int) -> None:
        self._need = need

    def __call__(self, response: Any) -> bool:
        return bool(response.json()["total"] >= self._need)
