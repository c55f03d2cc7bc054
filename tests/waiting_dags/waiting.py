"""
One DAG for each way that waiting ends, on a topic and a connection of its name; see ``tests/test_real_waiting.py``.

A window ends when its task starts: one with a ``settle`` is never final at the first poll, however late that comes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor

SOON = {"settle": 10}
LATE = {"settle": 0, "on_closed_empty": "wait"}


def sensor(name: str, task_id: str = "wait", **arguments: Any) -> MessagesInWindowSensor:
    return MessagesInWindowSensor(
        task_id=task_id,
        topic=name,
        start="{{ (ti.start_date - macros.timedelta(hours=2)).isoformat() }}",
        end="{{ ti.start_date.isoformat() }}",
        mqs_conn_id=name,
        deferrable=True,
        retries=2,
        retry_delay=timedelta(0),
        **{"poke_interval": 2, **arguments},
    )


def waiting(name: str, **arguments: Any) -> None:
    with DAG(name, schedule=None, is_paused_upon_creation=False):
        sensor(name, **arguments) >> EmptyOperator(task_id="after")


waiting("satisfied", **SOON)
waiting("ended_there", **SOON, end_from_trigger=True)
waiting("skipped_there", **SOON, end_from_trigger=True)
waiting("empty", **SOON)
waiting("refused", **SOON, on_closed_empty="fail")
waiting("late", **LATE)
waiting("timed_out", **LATE, timeout=12)
waiting("timed_out_softly", **LATE, timeout=12, soft_fail=True)
waiting("unavailable", **SOON)
waiting("forbidden", **SOON)
waiting("marked_failed", **LATE)
waiting("cleared", **LATE)

with DAG("killed", schedule=None, is_paused_upon_creation=False):
    sensor("killed", **LATE, queue="killed")
    sensor("killed", "expire", **LATE, queue="killed", min_messages=1000, timeout=45)
