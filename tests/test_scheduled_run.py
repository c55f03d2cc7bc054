"""The hourly example under a real scheduler: switching it on starts a run, and that run posts nothing."""

from __future__ import annotations

import secrets
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

EXAMPLE = Path(__file__).resolve().parents[1] / "example_dags" / "mqs_hourly_replay.py"
DAG_ID = "mqs_hourly_replay"
TIMEOUT_S = 120.0


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="the programs of the demo are those of the main series")
def test_the_scheduled_run_of_the_hourly_example_posts_nothing(mqs_emulator: MqsEmulator, tmp_path: Path) -> None:
    """Unpausing starts a run of the last complete hour; it finds the messages, reports a dry run, and sends none."""
    from scripts.demo import airflow
    from scripts.demo.processes import Processes, free_port

    now = datetime.now(timezone.utc)
    mqs_emulator.seed("orders", 300, now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3), now)
    dags, passwords, port, password = tmp_path / "dags", tmp_path / "passwords", free_port(), secrets.token_hex()
    dags.mkdir()
    shutil.copy(EXAMPLE, dags)
    passwords.write_text(f'{{"admin": "{password}"}}')
    env = airflow.environment(tmp_path, dags, port, passwords)
    env["AIRFLOW_CONN_MQS_DEFAULT"] = mqs_emulator.connection_json()
    api = airflow.Airflow(f"http://127.0.0.1:{port}", password)

    with Processes(tmp_path / "logs", env) as programs:
        programs.start("migrate", *airflow.command("db", "migrate"))
        programs.finish("migrate", TIMEOUT_S)
        programs.start("api-server", *airflow.command("api-server", "--host", "127.0.0.1", "--port", str(port)))
        for name in ("scheduler", "triggerer"):
            programs.start(name, *airflow.command(name, "--skip-serve-logs"))
        programs.start("dag-processor", *airflow.command("dag-processor"))
        programs.until("Airflow is healthy", api.healthy, TIMEOUT_S)
        programs.until("The DAG is there", lambda: api.knows(DAG_ID), TIMEOUT_S)
        api.unpause(DAG_ID)

        def ended() -> dict[str, object] | None:
            runs = api.get(f"dags/{DAG_ID}/dagRuns", run_type="scheduled")["dag_runs"]
            return next((run for run in runs if run["state"] in {"success", "failed"}), None)

        run = programs.until("The scheduled run has ended", ended, TIMEOUT_S)
        report = api.result(DAG_ID, str(run["dag_run_id"]), "resend")

    assert run["state"] == "success"
    assert report["dry_run"] is True
    assert report["requested"] > 0
    assert mqs_emulator.requests("resend") == []
