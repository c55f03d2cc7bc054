"""One DAG for each thing that people do to tasks, on a topic of the same name; see ``tests/test_real_scheduler.py``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

WINDOW = {"start": "{{ dag_run.conf['start'] }}", "end": "{{ dag_run.conf['end'] }}"}


def replay(topic: str, retry_delay_s: float = 0, **resend: Any) -> None:
    query = QueryMessagesOperator(task_id="query", topic=topic, **({} if topic == "back_filled" else WINDOW))
    delay = timedelta(seconds=retry_delay_s)
    ResendMessagesOperator(
        task_id="resend", messages=query.output, verify_wait=2, retries=20, retry_delay=delay, **resend
    )


with DAG("marked_failed", schedule=None, is_paused_upon_creation=False):
    replay("marked_failed")

with DAG("cleared", schedule=None, is_paused_upon_creation=False):
    replay("cleared")

with DAG("timed_out", schedule=None, is_paused_upon_creation=False):
    replay("timed_out", retry_delay_s=4, execution_timeout=timedelta(seconds=6))

with DAG("terminated", schedule=None, is_paused_upon_creation=False):
    replay("terminated", retry_delay_s=4)

with DAG("killed", schedule=None, is_paused_upon_creation=False):
    replay("killed")

with DAG("rivals", schedule=None, is_paused_upon_creation=False):
    replay("rivals")

with DAG(
    "back_filled",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    end_date=pendulum.today("UTC"),  # so that nothing is scheduled besides the backfill
    catchup=False,
):
    replay("back_filled")
