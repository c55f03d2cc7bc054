"""Start a private Airflow in a folder of its own, for the demo or while a block runs."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.demo.airflow import PARTS, Airflow, command, environment
from scripts.demo.processes import Processes, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Running:
    """A running Airflow: its REST API and its programs."""

    api: Airflow
    programs: Processes


@contextmanager
def running_airflow(folder: Path, dags: Path, connection: str, **settings: object) -> Iterator[Running]:
    """
    Run an Airflow without a triggerer while a block runs; it writes only to ``folder``.

    ``connection`` is ``mqs_default`` as JSON or URI; settings such as ``CORE__PARALLELISM=4`` override those of
    ``environment``.
    """
    # tasks have an API server of their own: in one server, a change by a person and one by a task can block each other
    ports, password = {"core": free_port(), "execution": free_port()}, secrets.token_urlsafe(9)
    settings["CORE__EXECUTION_API_SERVER_URL"] = f"http://127.0.0.1:{ports['execution']}/execution/"
    settings.setdefault("DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL", 600)  # the files do not change
    env = environment(folder, dags, ports["core"], passwords_file(folder, password), **settings)
    api = Airflow(f"http://127.0.0.1:{ports['core']}", password, set(PARTS) - {"triggerer"})
    with Processes(folder / "logs", {**env, "AIRFLOW_CONN_MQS_DEFAULT": connection}) as programs:
        migrate(programs)
        start(programs, ports, "scheduler")
        programs.until("Airflow is healthy", api.healthy, START_TIMEOUT_S)
        yield Running(api, programs)


def passwords_file(folder: Path, password: str) -> Path:
    """Write the file that says who may log in."""
    path = folder / "passwords.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"admin": password}))
    return path


def migrate(programs: Processes) -> None:
    """Create Airflow's database."""
    programs.start("migrate", *command("db", "migrate"))
    programs.finish("migrate", START_TIMEOUT_S)


def start(programs: Processes, servers: Mapping[str, int], *workers: str) -> None:
    """Start the API servers (for ``core``, ``execution`` or ``all``), the named programs, and the DAG processor."""
    for apps, port in servers.items():
        address = ("--host", "127.0.0.1", "--port", str(port))
        programs.start(f"api-server-{apps}", *command("api-server", "--apps", apps, *address, "--workers", "1"))
    for name in workers:
        programs.start(name, *command(name, "--skip-serve-logs"))
    programs.start("dag-processor", *command("dag-processor"))
