"""The local MQS service as the demo uses it: its command, its connection, and its account of what was resent."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import httpx

from scripts.demo.processes import DemoError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

MessageRef = tuple[int, int]
TOPIC = "orders"
VARIABLE = "AIRFLOW_CONN_MQS_DEFAULT="


class LocalService:
    """The service that the demo resends to."""

    def __init__(self, data: Path, log: Path) -> None:
        self._data = data  # its database, seeded with a day of messages
        self._log = log  # its output, which contains the connection
        self.command = (
            *(sys.executable, "-m", "airflow_provider_mqs", "emulator"),
            *("--port", "0", "--data", str(data), "--seed", "demo"),
        )

    def connection(self) -> str | None:
        """Return the Airflow connection that the service prints when it is up; None if not yet."""
        lines = self._log.read_text().splitlines()
        return next((line[len(VARIABLE) :].strip("'") for line in lines if line.startswith(VARIABLE)), None)

    def first_hour(self) -> datetime:
        """Return the start of the seeded day."""
        [(timestamp_ms,)] = self._rows("SELECT min(timestamp_ms) FROM messages WHERE topic = ?", TOPIC)
        return datetime.fromtimestamp(timestamp_ms // 3_600_000 * 3600, tz=timezone.utc)

    def check(self, start: datetime, width: timedelta) -> str:
        """Return a sentence if every message of the window was resent exactly once, and no other; raise otherwise."""
        query = (
            "SELECT partition, message_offset FROM messages"
            " WHERE topic = ? AND source_offset IS NULL AND timestamp_ms >= ? AND timestamp_ms < ?"
        )
        bounds = (int(moment.timestamp() * 1000) for moment in (start, start + width))
        held = {(partition, offset) for partition, offset in self._rows(query, TOPIC, *bounds)}
        host = json.loads(self.connection() or "{}")["host"]
        answer = httpx.get(f"{host}/admin/resends", params={"topic": TOPIC}, timeout=20, trust_env=False)
        counts = answer.raise_for_status().json()["counts"][TOPIC]
        sent = {(partition, offset): times for partition, offset, times in counts}
        if problem := difference(held, sent):
            raise DemoError(f"The service's own log does not show each message resent exactly once: {problem}.")
        return f"The service's own log shows {len(held)} messages, each resent exactly once."

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{self._data.as_uri()}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query, values).fetchall()


def difference(held: Collection[MessageRef], sent: Mapping[MessageRef, int]) -> str:
    """Say how many messages are missing, foreign or repeated; empty if none is."""
    if not held:
        return "the intervals contain no messages"
    counts = {
        "never sent": sum(ref not in sent for ref in held),
        "from outside the intervals": sum(ref not in held for ref in sent),
        "sent more than once": sum(times > 1 for times in sent.values()),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
