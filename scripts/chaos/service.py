"""The local MQS service in a process of its own, and what its log says was resent."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import httpx

from scripts.demo.service import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

PARTITIONS = 8
# what goes wrong all the time, besides the kills; probabilities are per request
FAULTS: dict[str, Any] = {
    "latency_s": 0.008,
    "throttle_429": 0.01,
    "retry_after_s": 0,
    "timeout_504": 0.01,
    "late_504": 0.004,
    "late_append_s": 0.5,
    "lost_504": 0.001,
}
COMMAND = (
    *(sys.executable, "-m", "airflow_provider_mqs", "emulator", "--port", "0"),
    *(word for name, value in FAULTS.items() for word in ("--fault", f"{name}={json.dumps(value)}")),
)


class Service:
    """The running service."""

    def __init__(self, log: Path) -> None:
        self._log = log  # its output, which contains the connection
        self._http = httpx.Client(timeout=60, trust_env=False)

    def connection(self) -> str | None:
        """Return the Airflow connection that the service prints when it is up; None if not yet."""
        lines = self._log.read_text().splitlines()
        return next((line[len(VARIABLE) :].strip("'") for line in lines if line.startswith(VARIABLE)), None)

    def begin(self, topic: str, count: int, start_ms: int, end_ms: int, seed: int) -> None:
        """Write the messages of a topic, and restart the random numbers of the faults."""
        self._admin("PUT", "faults", {"seed": seed})
        window = {"start_ms": start_ms, "end_ms": end_ms}
        self._admin("POST", "seed", {"topic": topic, "count": count, **window, "partitions": PARTITIONS})

    def sent(self, topic: str) -> dict[tuple[int, int], int]:
        """Return how often each message was resent."""
        counts = self._admin("GET", f"resends?topic={topic}")["counts"][topic]
        return {(partition, offset): times for partition, offset, times in counts}

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        host = json.loads(self.connection() or "{}")["host"]
        return self._http.request(method, f"{host}/admin/{path}", json=body).raise_for_status().json()
