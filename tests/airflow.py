"""Run the tests' DAGs on a real metadata database, on every Airflow series."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import airflow

if TYPE_CHECKING:
    from datetime import datetime

AIRFLOW = tuple(int(part) for part in airflow.__version__.split(".")[:2])


@cache
def prepared_database() -> None:
    """Create the metadata database of this process, once."""
    from airflow.utils.db import initdb

    initdb()
    if AIRFLOW >= (3, 0):
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()


def run_dag(dag: Any, moment: datetime | None = None, **arguments: Any) -> Any:
    """Run a DAG in this process, as ``dag.test()`` does, and return its run."""
    prepared_database()
    if AIRFLOW >= (3, 1):
        _serialize(dag)
    if moment is not None:
        arguments["logical_date" if AIRFLOW >= (3, 0) else "execution_date"] = moment
    return dag.test(**arguments)


def xcom(run: Any, task_id: str, map_index: int = -1) -> Any:
    """Read the return value of a task of a run."""
    ti = run.get_task_instance(task_id, map_index=map_index)
    return ti.xcom_pull(task_ids=task_id, map_indexes=map_index)


def _serialize(dag: Any) -> None:
    if AIRFLOW >= (3, 2):
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    else:
        from airflow.models.dagbag import DagBag, sync_bag_to_db
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
