"""
Send a large window again with several workers: one mapped task a batch.

Batches are sent side by side, so the order inside a partition holds only inside each batch. How many run at once is up
to Airflow: a pool, or ``max_active_tis_per_dagrun``.

Each batch looks for its copies. Batches that were sent at the same time share that work; the last task finds what none
of them could tell, with one reading for all. Usually nothing is left, and it makes no request.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator, VerifyReplayOperator

with DAG(
    dag_id="mqs_mapped_replay",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["mqs"],
):
    query = QueryMessagesOperator(task_id="query", topic="orders", batch_size=1000)
    resend = ResendMessagesOperator.partial(
        task_id="resend",
        dry_run="{{ dag_run.run_type == 'scheduled' }}",  # unpausing starts a run that nobody asked for
        max_rate=100,  # a second, in each batch
        max_active_tis_per_dagrun=4,
    ).expand(messages=query.output)
    # batches that another run has sent are skipped
    VerifyReplayOperator(task_id="verify", replays=resend.output, trigger_rule="none_failed")
