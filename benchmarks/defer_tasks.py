"""
Defer all tasks of a DAG in Airflow's database, as if workers had done so, or end them; a program in its environment.

Usage: ``python -m benchmarks.defer_tasks defer '["dag", "trigger", 1700000000]'``, or ``release '["dag"]'``.
"""

from __future__ import annotations

import json
import sys

from benchmarks.deferred import serialized


def defer(dag_id: str, name: str, final_s: float) -> None:
    """Create a trigger of this class for each task of the DAG; its window is final at ``final_s``."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    path, arguments = serialized(name, 15.0, final_s)
    with create_session() as session:
        tasks = list(session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag_id)))
        triggers = [Trigger(classpath=path, kwargs=arguments) for _ in tasks]
        session.add_all(triggers)
        session.flush()
        for task, trigger in zip(tasks, triggers, strict=True):
            task.trigger_id, task.state = trigger.id, TaskInstanceState.DEFERRED
            task.next_method, task.next_kwargs = "execute_complete", {}


def release(dag_id: str) -> None:
    """End all tasks of the DAG, so that the next triggerer does not resume theirs."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import update

    with create_session() as session:
        tasks = update(TaskInstance).where(TaskInstance.dag_id == dag_id)
        session.execute(tasks.values(state=TaskInstanceState.SUCCESS, trigger_id=None))


if __name__ == "__main__":
    change = defer if sys.argv[1] == "defer" else release
    change(*json.loads(sys.argv[2]))
