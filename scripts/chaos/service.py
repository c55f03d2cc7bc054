"""The local MQS service in a process of its own, and what its log says was sent."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import httpx

from scripts.demo.service import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

PARTITIONS = 8
FAULTS: dict[str, Any] = {
    "latency_s": 0.008,
    "throttle_429": 0.01,
    "retry_after_s": 0,
    "timeout_504": 0.01,
    "late_504": 0.004,
    "late_append_s": 0.5,
    "lost_504": 0.001,
}
"""What goes wrong all the time, besides the killing; probabilities by request."""
COMMAND = (
    *(sys.executable, "-m", "airflow_provider_mqs", "emulator", "--port", "0"),
    *(word for name, value in FAULTS.items() for word in ("--fault", f"{name}={json.dumps(value)}")),
)


class Service:
    """
    The running service.

    :param log: its output, which says how to reach it
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._http = httpx.Client(timeout=60, trust_env=False)

    def connection(self) -> str | None:
        """Find the Airflow connection that the service prints when it is up; None when not yet."""
        lines = self._log.read_text().splitlines()
        return next((line[len(VARIABLE) :].strip("'") for line in lines if line.startswith(VARIABLE)), None)

    def begin(self, topic: str, count: int, start_ms: int, end_ms: int, seed: int) -> None:
        """Write the messages of a topic, and start the random numbers of the faults."""
        self._admin("PUT", "faults", {"seed": seed})
        window = {"start_ms": start_ms, "end_ms": end_ms}
        self._admin("POST", "seed", {"topic": topic, "count": count, **window, "partitions": PARTITIONS})

    def sent(self, topic: str) -> dict[tuple[int, int], int]:
        """Count how often each message was appended again."""
        counts = self._admin("GET", f"resends?topic={topic}")["counts"][topic]
        return {(partition, offset): times for partition, offset, times in counts}

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        host = json.loads(self.connection() or "{}")["host"]
        return self._http.request(method, f"{host}/admin/{path}", json=body).raise_for_status().json()
