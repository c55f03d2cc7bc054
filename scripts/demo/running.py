"""A private Airflow in a folder of its own: how its programs start, and one for the time of a block."""

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
    """
    An Airflow that runs.

    :param api: its REST API
    :param programs: what it consists of
    """

    api: Airflow
    programs: Processes


@contextmanager
def running_airflow(folder: Path, dags: Path, connection: str, **settings: object) -> Iterator[Running]:
    """
    Run an Airflow without triggerer until the end of the block.

    :param folder: for everything that it writes
    :param dags: folder of the DAG files
    :param connection: ``mqs_default``, as JSON or URI
    :param settings: as ``CORE__PARALLELISM=4``, over those of ``environment``
    """
    # tasks have an API server of their own: in one process, a person's change can wait for a task's, and that for it
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
    """Write down who may log in."""
    path = folder / "passwords.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"admin": password}))
    return path


def migrate(programs: Processes) -> None:
    """Make Airflow's database."""
    programs.start("migrate", *command("db", "migrate"))
    programs.finish("migrate", START_TIMEOUT_S)


def start(programs: Processes, servers: Mapping[str, int], *workers: str) -> None:
    """Start API servers, each for ``core``, ``execution`` or ``all``, the named workers, and what reads DAGs."""
    for apps, port in servers.items():
        where = ("--host", "127.0.0.1", "--port", str(port))
        programs.start(f"api-server-{apps}", *command("api-server", "--apps", apps, *where, "--workers", "1"))
    for name in workers:
        programs.start(name, *command(name, "--skip-serve-logs"))
    programs.start("dag-processor", *command("dag-processor"))
