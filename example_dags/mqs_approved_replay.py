"""
Show a person what would be sent, and send it only if they approve. Needs Airflow 3.1 or later.

The approval waits in the UI (Required Actions) for up to four hours, without a worker. What is sent is what the person
saw: the offsets of the query, not a new query.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_mqs.core.offsets.plan import receivers_of
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

CONSUMER_KEY = None  # the application key of the one consumer that should receive the copies; None for all

BODY = """
{%- set found = ti.xcom_pull(task_ids="query") -%}
Window **{{ found.window.start }}** to **{{ found.window.end }}** (not included)

| partition | messages | offsets |
|---|---|---|
{%- for number, part in found.partitions.items() %}
| {{ number }} | {{ part.count }} | {{ part.ranges[0][0] if part.ranges else "?" }} to
{{- " " }}{{ part.ranges[-1][1] if part.ranges else "?" }} |
{%- endfor %}

Who receives the copies: RECEIVERS.
""".replace("RECEIVERS", receivers_of(CONSUMER_KEY))

with DAG(
    dag_id="mqs_approved_replay",
    schedule=CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["mqs"],
):
    query = QueryMessagesOperator(task_id="query", topic="orders", on_empty="skip")
    approve = ApprovalOperator(
        task_id="approve",
        subject="Resend {{ ti.xcom_pull(task_ids='query').count }} messages of topic orders?",
        body=BODY,
        response_timeout=timedelta(hours=4),
    )
    resend = ResendMessagesOperator(
        task_id="resend",
        messages=query.output,
        consumer_key=CONSUMER_KEY,
    )
    query >> approve >> resend
