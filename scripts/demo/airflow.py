"""Airflow as the demo and the tests need it: settings of a private instance, and its REST API."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from scripts.demo.processes import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HEALTHY = "healthy"
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
ATTEMPTS = 5
Json = dict[str, Any]


def command(*arguments: str) -> tuple[str, ...]:
    """Return the command line of an Airflow command in this virtual environment."""
    return (sys.executable, "-m", "airflow", *arguments)


def environment(home: Path, dags: Path, port: int, passwords: Path, **changes: object) -> dict[str, str]:
    """Return the environment of a private Airflow, with nothing of the user's own instance, on 127.0.0.1 only."""
    url = f"http://127.0.0.1:{port}"
    settings: dict[str, object] = {
        "API__BASE_URL": url,
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__SECRET_KEY": secrets.token_urlsafe(),
        "API__WORKERS": 1,
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(),
        "CORE__DAGS_FOLDER": dags,
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 3,  # SQLite: more writers at once end in "database is locked"
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        # SQLite: a connection that is used again may still read an old snapshot, and then cannot write
        "DATABASE__SQL_ALCHEMY_POOL_ENABLED": False,
        "USAGE_DATA_COLLECTION__ENABLED": False,
        **changes,
    }
    # measuring coverage there only costs time: the processes of tasks end without saving it
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "COVERAGE"))}
    return {
        **own,
        "AIRFLOW_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
    }


def log_lines(entry: Any) -> Iterator[str]:
    """Return an entry of a task's log as lines of text; an entry that Airflow could not parse is text already."""
    if not isinstance(entry, dict):
        yield str(entry)
        return
    yield f"{entry.get('timestamp') or ''} {entry.get('level') or ''} {entry['event']}".strip()
    for error in entry.get("error_detail") or ():
        yield f"{error['exc_type']}: {error['exc_value']}"


class Airflow:
    """The REST API of one Airflow, used as ``admin``; ``parts`` are those that must be healthy."""

    def __init__(self, url: str, password: str, parts: Iterable[str] = PARTS) -> None:
        self.url = url
        self._parts = tuple(parts)
        self._password = password
        self._http = httpx.Client(base_url=url, timeout=20, trust_env=False)
        # one at a time: a change holds SQLite's lock until the server's event loop has time, which waits for the next's
        self._one_change = threading.Lock()

    def healthy(self) -> bool | None:
        """Return true if every part is healthy and a login works; None if not yet."""
        try:
            parts = self._http.get("/api/v2/monitor/health").json()
            if any(parts[name]["status"] != HEALTHY for name in self._parts):
                return None
            login = {"username": "admin", "password": self._password}
            token = self._http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        except (httpx.HTTPError, ValueError):
            return None
        self._http.headers["Authorization"] = f"Bearer {token}"
        return True

    def attempt(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """Send a request once; None if the server is too busy, because with SQLite it answers 5xx now and then."""
        try:
            response = self._http.request(method, f"/api/v2/{path}", **arguments)
        except httpx.TransportError:
            return None
        return None if response.is_server_error else response

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request that may be repeated."""
        for number in range(ATTEMPTS):
            with nullcontext() if method == "GET" else self._one_change:
                response = self.attempt(method, path, **arguments)
            if response is not None:
                return response
            time.sleep(1 + number)
        raise DemoError(f"Airflow did not answer {method} {path} in {ATTEMPTS} attempts.")

    def get(self, path: str, **query: Any) -> Json:
        """Read a resource that exists."""
        return self._checked(self.call("GET", path, params=query))

    def change(self, method: str, path: str, body: Json) -> Json:
        """Change something that may safely be changed twice."""
        return self._checked(self.call(method, path, json=body))

    def knows(self, dag_id: str) -> bool | None:
        """Return true if Airflow has read a DAG, None if not yet; a DAG that it cannot read is an error."""
        if errors := self.get("importErrors")["import_errors"]:
            raise DemoError(f"Airflow cannot read {errors[0]['filename']}:\n{errors[0]['stack_trace']}")
        return self.call("GET", f"dags/{dag_id}").is_success or None

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on."""
        self.change("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Switch a DAG off."""
        self.change("PATCH", f"dags/{dag_id}", {"is_paused": True})

    def backfill(self, dag_id: str, first: str, last: str, *, reprocess: str = "none") -> None:
        """Create the runs from the first to the last logical date, unless an earlier attempt has done so."""
        body = {
            "dag_id": dag_id,
            "from_date": first,
            "to_date": last,
            "max_active_runs": 3,
            "dag_run_conf": {},
            "reprocess_behavior": reprocess,
        }
        before = self._backfills(dag_id)
        for _ in range(ATTEMPTS):
            with self._one_change:
                response = self.attempt("POST", "backfills", json=body)
            if response is not None:
                self._checked(response)
                return
            time.sleep(1)
            if self._backfills(dag_id) > before:
                return
        raise DemoError("Airflow did not create the backfill.")

    def trigger(self, dag_id: str, run_id: str, conf: Json, **moments: str) -> None:
        """Start a run, unless an earlier attempt has done so; its interval counts only with a logical date."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf, **moments}
        response = self.call("POST", f"dags/{dag_id}/dagRuns", json=body)
        if response.status_code != httpx.codes.CONFLICT:
            self._checked(response)

    def mark_failed(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Mark a task as failed, as the button in the UI does."""
        self.change("PATCH", self._task(dag_id, run_id, task_id), {"new_state": "failed"})

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear tasks of a run in any state, as the button in the UI does; all of them if none is named."""
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, "task_ids": list(task_ids) or None}
        self.change("POST", f"dags/{dag_id}/clearTaskInstances", body)

    def runs(self, dag_id: str) -> list[Json]:
        """List the backfill's runs, oldest interval first."""
        query = {"run_type": "backfill", "order_by": "logical_date"}
        return list(self.get(f"dags/{dag_id}/dagRuns", **query)["dag_runs"])

    def tasks(self, dag_id: str, run_ids: list[str]) -> list[Json]:
        """List the task instances of some runs."""
        found = self.get(f"dags/{dag_id}/dagRuns/~/taskInstances", limit=100)["task_instances"]
        return [task for task in found if task["dag_run_id"] in run_ids]

    def task(self, dag_id: str, run_id: str, task_id: str) -> Json:
        """Read a task instance."""
        return self.get(self._task(dag_id, run_id, task_id))

    def result(self, dag_id: str, run_id: str, task_id: str) -> Json:
        """Read what a task returned."""
        path = f"{self._task(dag_id, run_id, task_id)}/xcomEntries/return_value"
        return dict(self.get(path, deserialize=True)["value"])

    def log(self, task: Json, try_number: int | None = None) -> str:
        """Read the log of a task's last try, or of another one, as text."""
        path = self._task(task["dag_id"], task["dag_run_id"], task["task_id"])
        content = self.get(f"{path}/logs/{try_number or task['try_number']}", map_index=-1)["content"]
        return "\n".join(line for entry in content for line in log_lines(entry))

    def _backfills(self, dag_id: str) -> int:
        return int(self.get("backfills", dag_id=dag_id)["total_entries"])

    @staticmethod
    def _checked(response: httpx.Response) -> Json:
        if response.is_error:
            request = f"{response.request.method} {response.request.url.path}"
            raise DemoError(f"Airflow answered {response.status_code} to {request}: {response.text[:300]}")
        return dict(response.json())

    @staticmethod
    def _task(dag_id: str, run_id: str, task_id: str) -> str:
        return f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
