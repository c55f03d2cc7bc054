"""The local MQS service as the demo uses it: how it starts, how Airflow reaches it, and what it says was sent."""

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
    """
    The service behind the demo.

    :param data: its database, seeded with a day of messages
    :param log: its output, which says how to reach it
    """

    def __init__(self, data: Path, log: Path) -> None:
        self._data = data
        self._log = log
        self.command = (
            *(sys.executable, "-m", "airflow_provider_mqs", "emulator"),
            *("--port", "0", "--data", str(data), "--seed", "demo"),
        )

    def connection(self) -> str | None:
        """Find the Airflow connection that the service prints when it is up; None when not yet."""
        lines = self._log.read_text().splitlines()
        return next((line[len(VARIABLE) :].strip("'") for line in lines if line.startswith(VARIABLE)), None)

    def first_hour(self) -> datetime:
        """Find the beginning of the seeded day."""
        [(timestamp_ms,)] = self._rows("SELECT min(timestamp_ms) FROM messages WHERE topic = ?", TOPIC)
        return datetime.fromtimestamp(timestamp_ms // 3_600_000 * 3600, tz=timezone.utc)

    def verdict(self, start: datetime, width: timedelta) -> str:
        """
        Compare what the topic held with what was sent again.

        :return: one sentence, when every message was sent exactly once and no other one at all
        :raises DemoError: otherwise, with the numbers
        """
        query = (
            "SELECT partition, message_offset FROM messages"
            " WHERE topic = ? AND source_offset IS NULL AND timestamp_ms >= ? AND timestamp_ms < ?"
        )
        bounds = (int(moment.timestamp() * 1000) for moment in (start, start + width))
        held = {(partition, offset) for partition, offset in self._rows(query, TOPIC, *bounds)}
        sent = {(partition, offset): times for partition, offset, times in self._sent()}
        if problem := difference(held, sent):
            raise DemoError(f"The service's log does not show every message exactly once: {problem}.")
        return f"The service's own log shows {len(held)} messages, each sent again exactly once."

    def _sent(self) -> list[tuple[int, int, int]]:
        host = json.loads(self.connection() or "{}")["host"]
        answer = httpx.get(f"{host}/admin/resends", params={"topic": TOPIC}, timeout=20, trust_env=False)
        return list(answer.raise_for_status().json()["counts"][TOPIC])

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{self._data.as_uri()}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query, values).fetchall()


def difference(held: Collection[MessageRef], sent: Mapping[MessageRef, int]) -> str:
    """Count what is missing, foreign or repeated; empty when nothing is."""
    if not held:
        return "the intervals hold no message"
    counts = {
        "never sent": sum(place not in sent for place in held),
        "from outside the intervals": sum(place not in held for place in sent),
        "sent more than once": sum(times > 1 for times in sent.values()),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
