# Unpausing this DAG starts a run at once: `catchup=False` leaves out the past, but not the last complete hour.
# A run that nobody asked for must not send anything: scheduled runs are dry, backfills and manual runs send.
"""
Send the messages of an hour again.

Backfill the hours that a consumer has lost. Each run waits until its hour is over, queries the offsets of the messages
in it, and sends each of them again, once; an hour without messages is skipped. A copy is appended to the same topic:
every consumer of the topic receives it.

Scheduled runs only show what they would send.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor

TOPIC = "orders"

with DAG(
    dag_id="mqs_hourly_replay",
    # on Airflow 3 the intervals of "@hourly" have no width
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["mqs"],
):
    # an hour of the past is polled at once, on the worker; the wait for the current one is deferred to the triggerer
    wait = MessagesInWindowSensor(task_id="wait", topic=TOPIC, deferrable=True)
    query = QueryMessagesOperator(task_id="query", topic=TOPIC)
    resend = ResendMessagesOperator(
        task_id="resend",
        messages=query.output,
        dry_run="{{ dag_run.run_type == 'scheduled' }}",
    )
    wait >> query >> resend
