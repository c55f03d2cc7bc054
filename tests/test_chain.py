"""Query and resend as Airflow runs them: a DAG on a real metadata database, with XComs and mapped tasks."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from tests.airflow import run_dag, xcom

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)


def dag_of(dag_id: str, *, batch_size: int | None = None) -> Any:
    with DAG(dag_id=dag_id, schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)) as dag:
        query = QueryMessagesOperator(task_id="query", topic="orders", start=START, end=END, batch_size=batch_size)
        if batch_size:
            ResendMessagesOperator.partial(task_id="resend").expand(messages=query.output)
        else:
            ResendMessagesOperator(task_id="resend", messages=query.output)
    return dag


def test_the_chain_sends_each_message_once(mqs: MqsEmulator) -> None:
    """The offsets travel through XCom, and the service's own log shows each message of the window once."""
    mqs.seed("orders", 300, START, END, partitions=3, gap_every=40)

    run = run_dag(dag_of("chain"))

    assert run.state == "success"
    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", START, END), 1)
    assert xcom(run, "resend")["sent"] == xcom(run, "query")["count"] == 300


def test_mapped_batches_send_each_message_once(mqs: MqsEmulator) -> None:
    """Tasks mapped over the batches of the query cover the window without overlap."""
    mqs.seed("orders", 100, START, END, partitions=2)

    run = run_dag(dag_of("mapped", batch_size=40))

    assert run.state == "success"
    assert mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", START, END), 1)
    assert [xcom(run, "resend", index)["sent"] for index in range(3)] == [40, 40, 20]


def test_an_empty_window_maps_no_task(mqs: MqsEmulator) -> None:
    """An empty list of batches skips the mapped task, and nothing is sent."""
    mqs.seed("orders", 0, START, END, partitions=2)

    run = run_dag(dag_of("empty", batch_size=40))

    assert run.state == "success"
    assert mqs.resends("orders") == []


def test_the_tests_have_an_airflow_of_their_own() -> None:
    """No test can reach the metadata database of whoever runs the suite."""
    assert "mqs-airflow-" in os.environ["AIRFLOW_HOME"]
