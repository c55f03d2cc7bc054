"""Run tasks as an executor does, each try in a process of its own under Airflow's supervisor; kill some of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.executors.workloads import ExecuteTask
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.xcom import XComModel
from airflow.sdk.api.client import Client
from airflow.sdk.execution_time.supervisor import in_process_api_server, supervise_task
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.models.taskinstance import TaskInstance
    from airflow.serialization.definitions.dag import SerializedDAG
    from sqlalchemy.orm import Session

DAG_FILE = Path("chaos.py")
TASK_TIMEOUT_S = 300.0


def prepare(dags: Path) -> None:
    """Create the metadata database, and write the DAGs to it."""
    initdb()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]  # Airflow's
    bag = BundleDagBag(dag_folder=dags, bundle_path=dags, bundle_name="dags-folder")
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    sync_bag_to_db(bag, "dags-folder", None)


class Run:
    """One run of a DAG with a configuration; the output of its tasks goes to a log file."""

    def __init__(self, dag_id: str, conf: dict[str, Any], log: Path) -> None:
        now = datetime.now(timezone.utc)
        self.dag_id = dag_id
        self.run_id = f"chaos__{now:%H%M%S%f}"
        self._log = log
        # the supervisor's API without a socket; the process of the task is real
        self._client = Client(base_url=None, token="", dry_run=True, transport=in_process_api_server().transport)
        self._client.base_url = "http://in-process.invalid./"
        with create_session() as session:
            _dag(dag_id, session).create_dagrun(
                run_id=self.run_id,
                logical_date=now,
                data_interval=(now, now),
                run_after=now,
                conf=conf,
                run_type=DagRunType.MANUAL,
                state=DagRunState.RUNNING,
                triggered_by=DagRunTriggeredByType.TEST,
                session=session,
            )

    def attempt(self, task_id: str, kill_after_s: float | None = None) -> str:
        """
        Run a task once, and return its state in Airflow, or ``killed``.

        Its process gets SIGKILL after ``kill_after_s``, unless it has ended by then. A task that does not end although
        nobody kills it is an error.
        """
        workload = self._queued(task_id)
        with _killing(TASK_TIMEOUT_S if kill_after_s is None else kill_after_s) as killed:
            supervise_task(
                ti=workload.ti,  # type: ignore[arg-type]  # as Airflow's executors do
                bundle_info=workload.bundle_info,
                dag_rel_path=DAG_FILE,
                token="",
                client=self._client,
                log_path=str(self._log),
            )
        if killed and kill_after_s is None:
            raise TimeoutError(f"{task_id} of {self.dag_id} did not end within {TASK_TIMEOUT_S:.0f} s.")
        if killed:
            return "killed"
        with create_session() as session:
            return str(self._found(task_id, session)[1].state)

    def result(self, task_id: str) -> dict[str, Any]:
        """Return what the last try of a task returned."""
        with create_session() as session:
            [value] = session.scalars(
                XComModel.get_many(run_id=self.run_id, dag_ids=self.dag_id, task_ids=task_id, key="return_value")
            )
            return dict(XComModel.deserialize_value(value))

    def _queued(self, task_id: str) -> ExecuteTask:
        """Do what the scheduler does before a try."""
        with create_session() as session:
            run, ti = self._found(task_id, session)
            run.dag = _dag(self.dag_id, session)
            ti.task = run.dag.get_task(task_id)
            run.schedule_tis([ti], session=session)
            session.refresh(ti)
            ti.set_state(TaskInstanceState.QUEUED, session=session)
            return ExecuteTask.make(ti, dag_rel_path=DAG_FILE)

    def _found(self, task_id: str, session: Session) -> tuple[DagRun, TaskInstance]:
        run = DagRun.find(dag_id=self.dag_id, run_id=self.run_id, session=session)[0]
        ti = run.get_task_instance(task_id, session=session)
        if ti is None:
            raise LookupError(f"{self.dag_id} has no task {task_id}.")
        return run, ti


def _dag(dag_id: str, session: Session) -> SerializedDAG:
    dag = SerializedDagModel.get_dag(dag_id, session=session)
    if dag is None:
        raise LookupError(f"There is no DAG {dag_id}.")
    return dag


@contextmanager
def _killing(after_s: float) -> Iterator[list[int]]:
    """Kill the process that starts in the block after it has run for some time; yield the pids of those killed."""
    killed: list[int] = []
    over = threading.Event()
    before = {child.pid for child in psutil.Process().children()}

    def kill() -> None:
        while not (found := [child for child in psutil.Process().children() if child.pid not in before]):
            if over.wait(0.002):
                return
        # one that ends by itself at this very moment was not killed
        with suppress(psutil.NoSuchProcess):
            if not over.wait(after_s):
                found[0].kill()
                killed.append(found[0].pid)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        try:
            yield killed
        finally:
            over.set()
        killing.result()  # raises what failed in the thread
