"""The hook's tests talk to the local service over a real socket, through a connection in the environment."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator

HOUR_MS = 3_600_000


@pytest.fixture
def connect(mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define ``mqs_default``: the local service's connection with some of its fields changed."""
    # Airflow compiles all values that it masks into one expression; long tokens of many tests make that slow
    mqs_emulator.behave(token_bytes=100)

    def define(auth_type: str = "password", extra: dict[str, Any] | None = None, **fields: Any) -> None:
        connection = {**mqs_emulator.connection(auth_type, **(extra or {})), **fields}
        monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps(connection))

    define()
    return define


@pytest.fixture
def hour(mqs_emulator: MqsEmulator) -> tuple[int, int]:
    """Return an hour of 120 messages in three partitions of ``orders``, ended a second ago, as epoch ms."""
    end = time.time_ns() // 1_000_000 - 1000
    mqs_emulator.seed("orders", 120, end - HOUR_MS, end, partitions=3)
    return end - HOUR_MS, end
