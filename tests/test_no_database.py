"""DAG authors can unit-test with a plain dict and the local service, without an Airflow database."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

USERS_TEST = """
from datetime import datetime, timedelta, timezone

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
INTERVAL = {"data_interval_start": END - timedelta(hours=1), "data_interval_end": END}


def test_replay(mqs_emulator, monkeypatch):
    mqs_emulator.seed("orders", 30, END - timedelta(hours=1), END, partitions=3)
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())

    waited = MessagesInWindowSensor(task_id="wait", topic="orders", min_messages=30).execute(INTERVAL)
    offsets = QueryMessagesOperator(task_id="query", topic="orders").execute(INTERVAL)
    report = ResendMessagesOperator(task_id="resend", messages=offsets).execute(INTERVAL)

    assert waited["count"] == offsets["count"] == report["sent"] == 30
    assert set(mqs_emulator.resend_counts("orders").values()) == {1}
"""


def test_execute_with_a_plain_dict_needs_no_airflow_database(tmp_path: Path) -> None:
    """A user's own pytest run passes even if the metadata database can be neither opened nor created."""
    (tmp_path / "test_users_dag.py").write_text(USERS_TEST)
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/no/such/folder/airflow.db",
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
