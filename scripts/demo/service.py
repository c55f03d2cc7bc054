"""The local MQS service as the demo uses it: how it starts, how Airflow reaches it, and its verdict on what was sent."""

from __future__ import annotations

import sys
from pathlib import Path


def command(port: int, data: Path) -> tuple[str, ...]:
    """Build the command line of the service, with a seeded day of messages."""
    return (
        *(sys.executable, "-m", "airflow_provider_mqs", "emulator"),
        *("--port", str(port), "--data", str(data), "--seed", "demo"),
    )


def connection(port: int) -> dict[str, object]:
    """Build the Airflow connection to the service."""
    return {"conn_type": "mqs", "host": "http://127.0.0.1", "port": port}


def verdict(port: int, starts: list[object]) -> str:
    """Stand-in."""
    return "ok"
