"""Show the main job end to end, and check it: wait for three hours of messages, query them, send them again."""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import signal
import sys
import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from scripts.demo import airflow, service
from scripts.demo.airflow import Airflow, Json
from scripts.demo.processes import DemoError, Processes, free_port, tail
from scripts.demo.progress import Changes, Interval, say, table

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".data/demo"
LOGS = HOME / "logs"
DAG_ID = "mqs_hourly_replay"
INTERVALS = 3
START_TIMEOUT_S, RUN_TIMEOUT_S = 120.0, 180.0
DONE = {"success", "failed"}


def prepare(password: str) -> Path:
    """Start from an empty folder: nothing of an earlier demo can make this one look good."""
    shutil.rmtree(HOME, ignore_errors=True)
    (HOME / "dags").mkdir(parents=True)
    shutil.copy(ROOT / f"example_dags/{DAG_ID}.py", HOME / "dags")
    passwords = HOME / "passwords.json"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({"admin": password}))
    return passwords


def start(programs: Processes, port: int, service_port: int) -> None:
    """Start everything that Airflow consists of, and the service."""
    say(f"Starting the local MQS service and Airflow; their logs are in {LOGS.relative_to(ROOT)}.")
    programs.start("service", *service.command(service_port, HOME / "mqs.db"))
    programs.start("migrate", *airflow.command("db", "migrate"))
    programs.finish("migrate", START_TIMEOUT_S)
    say("Airflow's database is ready; starting its four programs.")
    api_server = ("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    programs.start("api-server", *airflow.command(*api_server))
    programs.start("scheduler", *airflow.command("scheduler", "--skip-serve-logs"))
    programs.start("triggerer", *airflow.command("triggerer", "--skip-serve-logs"))
    programs.start("dag-processor", *airflow.command("dag-processor"))


def wait_until_ready(programs: Processes, api: Airflow) -> None:
    """Wait until every part answers and the DAG is there, and see that nobody else can reach them."""
    programs.until("Airflow is healthy", api.healthy, START_TIMEOUT_S)
    say("Airflow is healthy: API server, scheduler, triggerer and DAG processor.")
    programs.until(f"The DAG {DAG_ID} is there", lambda: api.unpause(DAG_ID), START_TIMEOUT_S)
    if foreign := programs.foreign_listeners():
        raise DemoError(f"Something listens on {', '.join(foreign)}, reachable from outside; stopping.")


def backfill(programs: Processes, api: Airflow) -> list[Json]:
    """Back-fill the first hours of yesterday and follow the runs to their end."""
    yesterday = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    last = yesterday + timedelta(hours=INTERVALS - 1)
    say(f"Back-filling {yesterday:%Y-%m-%d %H:%M} to {last + timedelta(hours=1):%H:%M} UTC of {DAG_ID}.")
    api.backfill(DAG_ID, yesterday.isoformat(), last.isoformat())
    changes = Changes()

    def finished() -> list[Json] | None:
        runs = api.runs(DAG_ID)
        hours = {run["dag_run_id"]: run["data_interval_start"][11:16] for run in runs}
        for task in api.tasks(DAG_ID, list(hours)):
            changes.show(hours[task["dag_run_id"]], task["task_id"], task["state"])
        return runs if len(runs) == INTERVALS and all(run["state"] in DONE for run in runs) else None

    return programs.until("The back-fill is done", finished, RUN_TIMEOUT_S, pause_s=0.5)


def explain_failures(api: Airflow, runs: list[Json]) -> None:
    """Raise with the logs of failed tasks, if there are any."""
    failed = [run["dag_run_id"] for run in runs if run["state"] != "success"]
    if not failed:
        return
    tasks = [task for task in api.tasks(DAG_ID, failed) if task["state"] == "failed"]
    logs = [f"--- the log of {task['task_id']} in {task['dag_run_id']}\n{api.log(task)[-3000:]}" for task in tasks]
    raise DemoError("\n".join([f"{len(failed)} of {len(runs)} runs failed.", *logs]))


def outcome(api: Airflow, run: Json) -> Interval:
    """Read what a run found and sent."""
    first, last = (datetime.fromisoformat(run[name].replace("Z", "+00:00")) for name in ("start_date", "end_date"))
    return Interval(
        start=datetime.fromisoformat(run["data_interval_start"].replace("Z", "+00:00")),
        found=api.result(DAG_ID, run["dag_run_id"], "query")["count"],
        sent=api.result(DAG_ID, run["dag_run_id"], "resend")["sent"],
        seconds=(last - first).total_seconds(),
    )


def demo(programs: Processes, api: Airflow, port: int, service_port: int) -> None:
    """Run the demo up to its verdict."""
    start(programs, port, service_port)
    wait_until_ready(programs, api)
    runs = backfill(programs, api)
    explain_failures(api, runs)
    intervals = [outcome(api, run) for run in runs]
    print(f"\n{table(intervals)}\n")
    say(service.verdict(service_port, [interval.start for interval in intervals]))


def stay(programs: Processes, url: str, password: str) -> None:
    """Keep everything up for a person at a terminal."""
    say(f"Airflow is at {url} (user admin, password {password}). Ctrl-C stops everything.")
    with suppress(KeyboardInterrupt):
        while not threading.Event().wait(1):
            programs.check()


def main() -> int:
    """Run the demo; the exit code says whether every message was sent exactly once."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return complain("Another demo is running in this folder; stop it first.")
        password, port, service_port = secrets.token_urlsafe(9), free_port(), free_port()
        env = airflow.environment(HOME / "airflow", HOME / "dags", port, prepare(password))
        env["AIRFLOW_CONN_MQS_DEFAULT"] = json.dumps(service.connection(service_port))
        api = Airflow(f"http://127.0.0.1:{port}", password)
        with Processes(LOGS, env) as programs:
            try:
                demo(programs, api, port, service_port)
                if sys.stdin.isatty() and sys.stdout.isatty():
                    stay(programs, api.url, password)
            except DemoError as error:
                return complain(f"{error}\nAll logs are in {LOGS}; `make demo` starts afresh.")
    return 0


def complain(text: str) -> int:
    """Print an error and return the exit code that goes with it."""
    print(f"\n{text}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
