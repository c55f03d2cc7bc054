"""Show and check the whole job: wait for three hours of messages, query them, resend them."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.demo import airflow, running
from scripts.demo.airflow import Airflow, Json
from scripts.demo.processes import DemoError, Processes, free_port
from scripts.demo.progress import Changes, Interval, say, table
from scripts.demo.running import START_TIMEOUT_S
from scripts.demo.service import LocalService

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".data/demo"
LOGS = HOME / "logs"
DAG_ID = "mqs_hourly_replay"
INTERVALS = 3
WIDTH = timedelta(hours=INTERVALS)
RUN_TIMEOUT_S = 180.0
DONE = {"success", "failed"}


def prepare(password: str) -> Path:
    """Start from an empty folder, so that nothing of an earlier demo can make this one look good."""
    shutil.rmtree(HOME, ignore_errors=True)
    (HOME / "dags").mkdir(parents=True)
    shutil.copy(ROOT / f"example_dags/{DAG_ID}.py", HOME / "dags")
    return running.passwords_file(HOME, password)


def start(programs: Processes, service: LocalService, port: int) -> None:
    """Start the service and all programs of Airflow."""
    say(f"Starting the local MQS service and Airflow; their logs are in {LOGS.relative_to(ROOT)}.")
    programs.start("service", *service.command)
    connection = programs.until("the service is up", service.connection, START_TIMEOUT_S)
    programs.env["AIRFLOW_CONN_MQS_DEFAULT"] = connection
    running.migrate(programs)
    say("Airflow's database is ready; starting its four processes.")
    running.start(programs, {"all": port}, "scheduler", "triggerer")


def wait_until_ready(programs: Processes, api: Airflow) -> None:
    """Wait until every part of Airflow is up and knows the DAG, and check that no other machine can reach them."""
    programs.until("Airflow is healthy", api.healthy, START_TIMEOUT_S)
    programs.until(f"Airflow has read the DAG {DAG_ID}", lambda: api.knows(DAG_ID), START_TIMEOUT_S)
    if foreign := programs.foreign_listeners():
        raise DemoError(
            f"A program listens on {', '.join(foreign)}, which other machines can reach. Stopping everything."
        )
    say("Airflow is healthy and listens only on 127.0.0.1.")


def backfill(programs: Processes, api: Airflow, start: datetime) -> list[Json]:
    """Backfill the first hours of the day, and follow the runs to their end."""
    say(f"Backfilling {start:%Y-%m-%d %H:%M} to {start + WIDTH:%H:%M} UTC with {DAG_ID}.")
    last = start + WIDTH - timedelta(hours=1)
    # while the DAG is paused: on SQLite a scheduler that picks up half a backfill dies when the rest is rolled back
    api.backfill(DAG_ID, start.isoformat(), last.isoformat())
    api.unpause(DAG_ID)
    changes = Changes()

    def finished() -> list[Json] | None:
        runs = api.runs(DAG_ID)
        hours = {run["dag_run_id"]: run["data_interval_start"][11:16] for run in runs}
        for task in api.tasks(DAG_ID, list(hours)):
            changes.show(hours[task["dag_run_id"]], task["task_id"], task["state"])
        return runs if len(runs) == INTERVALS and all(run["state"] in DONE for run in runs) else None

    return programs.until("the backfill is done", finished, RUN_TIMEOUT_S, pause_s=0.5)


def explain_failures(api: Airflow, runs: list[Json]) -> None:
    """Raise an error with the logs of failed tasks, if there are any."""
    failed = [run["dag_run_id"] for run in runs if run["state"] != "success"]
    if not failed:
        return
    tasks = [task for task in api.tasks(DAG_ID, failed) if task["state"] == "failed"]
    logs = [f"--- log of {task['task_id']} in {task['dag_run_id']}\n{api.log(task)[-3000:]}" for task in tasks]
    raise DemoError("\n".join([f"{len(failed)} of {len(runs)} runs failed.", *logs]))


def outcome(api: Airflow, run: Json) -> Interval:
    """Read what a run found and resent."""
    first, last = (datetime.fromisoformat(run[name].replace("Z", "+00:00")) for name in ("start_date", "end_date"))
    return Interval(
        start=datetime.fromisoformat(run["data_interval_start"].replace("Z", "+00:00")),
        found=api.result(DAG_ID, run["dag_run_id"], "query")["count"],
        sent=api.result(DAG_ID, run["dag_run_id"], "resend")["sent"],
        seconds=(last - first).total_seconds(),
    )


def demo(programs: Processes, api: Airflow, port: int) -> None:
    """Run the demo, and check its result."""
    service = LocalService(HOME / "mqs.db", LOGS / "service.log")
    start(programs, service, port)
    wait_until_ready(programs, api)
    first_hour = service.first_hour()
    runs = backfill(programs, api, first_hour)
    explain_failures(api, runs)
    print("", table(outcome(api, run) for run in runs), "", sep="\n")
    say(service.check(first_hour, WIDTH))


def stay(programs: Processes, url: str, password: str) -> None:
    """Keep everything running for a person at a terminal, until Ctrl-C or until a program ends."""
    say(f"Airflow is at {url} (user admin, password {password}). Ctrl-C stops everything.")
    with suppress(KeyboardInterrupt):
        while not threading.Event().wait(1):
            programs.check()
    say("Stopping everything.")


@contextmanager
def alone() -> Iterator[None]:
    """Refuse a second demo in the same folder, which would delete the files of the first."""
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError("Another demo is running in this folder. Stop it first.") from None
        yield


def run() -> None:
    """Run the demo, and keep everything running if there is a terminal."""
    password, port = secrets.token_urlsafe(9), free_port()
    api = Airflow(f"http://127.0.0.1:{port}", password)
    env = airflow.environment(HOME / "airflow", HOME / "dags", port, prepare(password))
    with Processes(LOGS, env) as programs:
        demo(programs, api, port)
        if sys.stdin.isatty() and sys.stdout.isatty():
            stay(programs, api.url, password)


def main() -> int:
    """Run the demo; the exit code is 0 if every message was resent exactly once."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        with alone():
            run()
    except KeyboardInterrupt:
        return complain("Interrupted. Nothing is left running.")
    except DemoError as error:
        return complain(str(error))
    return 0


def complain(text: str) -> int:
    """Print an error, and return the exit code for it."""
    print(f"\n{text}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
