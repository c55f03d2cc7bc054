"""The README is executed: its DAGs, its commands, and the table of connection fields."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.connection.fields import FIELDS_BY_NAME
from tests.airflow import AIRFLOW, run_dag

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
HOUR = timedelta(hours=1)


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="the README shows the imports of Airflow 3")
def test_the_dag_of_the_readme_sends_its_hour(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The first DAG that a reader copies waits in the triggerer, queries and resends."""
    end = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR
    mqs.seed("orders", 30, end - HOUR, end, partitions=3)
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    names: dict[str, object] = {"__file__": str(tmp_path / "readme.py")}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own text

    run = run_dag(names["wait"].dag, end)  # type: ignore[attr-defined]

    assert run.state == "success"
    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", end - HOUR, end), 1)


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="the README shows the imports of Airflow 3")
def test_the_careful_resend_of_the_readme_sends_all(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The operator accepts each option that it shows, and verifies the canary."""
    end = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR
    mqs.seed("orders", 30, end - HOUR, end, partitions=3)
    dag, careful = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[:2]
    names: dict[str, Any] = {"__file__": str(tmp_path / "readme.py")}
    exec(compile(dag, "README.md", "exec"), names)  # noqa: S102 - our own text
    found = names["query"].execute({"data_interval_start": end - HOUR, "data_interval_end": end})
    names["query"] = SimpleNamespace(output=found)

    exec(compile(careful, "README.md", "exec"), names)  # noqa: S102 - our own text
    report = names["careful"].execute({})

    assert (report["sent"], report["verified"], report["plan"]["canary"]) == (30, True, 10)


def test_the_connection_table_has_every_field() -> None:
    """A field that is not in the README is one that nobody sets."""
    table = README[README.index("## Connection") : README.index("## What a second run does")]

    assert [name for name in FIELDS_BY_NAME if f"`{name}`" not in table] == []


def test_the_two_commands_exist() -> None:
    """The commands at the top of the README are targets of the Makefile."""
    commands = re.findall(r"^make (\w+)", README, re.MULTILINE)

    assert commands[:2] == ["demo", "test"]
    assert all(f"\n{command}:" in (ROOT / "Makefile").read_text() for command in commands)


def test_the_commands_of_the_readme_send_each_message_once(
    mqs: MqsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Query, dry run, resend with a canary, as printed except for the connection and the hour."""
    end = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR
    mqs.seed("orders", 30, end - HOUR, end, partitions=3)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    block = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[0]
    commands = "\n".join(line for line in block.splitlines() if line.startswith("python -m "))
    commands = commands.replace("2026-11-22T00:00Z", (end - HOUR).isoformat()).replace(
        "2026-11-22T01:00Z", end.isoformat()
    )

    script = f"set -e\n{commands}".replace("python -m", f"{sys.executable} -m")
    subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, check=True, capture_output=True)

    assert commands.count("python -m airflow_provider_mqs") == 3
    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", end - HOUR, end), 1)
