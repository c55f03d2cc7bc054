"""Dataset events with the output of a query, on a real Airflow 2, which has no watchers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_mqs.assets.mqs import mqs_topic_asset
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from tests.airflow import AIRFLOW, prepared_database

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

pytestmark = pytest.mark.skipif(AIRFLOW >= (3, 0), reason="tests/test_real_triggerer.py covers Airflow 3")
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
MIDDLE, START = END - timedelta(minutes=30), END - timedelta(hours=1)


def part(start: datetime, end: datetime) -> dict[str, Any]:
    return QueryMessagesOperator(task_id="query", topic="orders", start=start, end=end).execute({})


def create_run(dag: Any, source: Any, *extras: dict[str, Any]) -> None:
    """Start a run as the scheduler does, with dataset events that carry these extras."""
    from airflow.models.dataset import DatasetEvent, DatasetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        dag.sync_to_db(session=session)
        dataset = session.query(DatasetModel).filter_by(uri=source.uri).one()
        run = dag.create_dagrun(
            run_id="dataset_triggered__first",
            run_type="dataset_triggered",
            execution_date=END,
            data_interval=(END, END),
            state="running",
            session=session,
        )
        run.consumed_dataset_events.extend(DatasetEvent(dataset_id=dataset.id, extra=extra) for extra in extras)
        run.dag = dag
        run.task_instance_scheduling_decisions(session=session)  # makes the mapped ones


def outcome(dag: Any, task_id: str, map_index: int = -1) -> Any:
    """Run a task in a session of its own, as a worker does, and return what it pushed."""
    from airflow.utils.session import create_session

    with create_session() as session:
        run = dag.get_dagrun(run_id="dataset_triggered__first", session=session)
        ti = run.get_task_instance(task_id, map_index=map_index, session=session)
        ti.task = dag.get_task(task_id)
        ti.run(session=session, ignore_task_deps=True)
        return ti.xcom_pull(task_ids=task_id, map_indexes=map_index, session=session)


def test_tasks_take_window_and_messages_of_the_events(mqs: MqsEmulator) -> None:
    """Query, resend and mapped resends read the events in the form that Airflow 2 has for them."""
    prepared_database()
    mqs.seed("orders", 30, START, END, partitions=3)
    source = mqs_topic_asset(host="example.com", instance_id="any", topic="orders")
    with DAG("on_dataset", schedule=[source], start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)) as dag:
        QueryMessagesOperator(task_id="find", topic="orders")
        ResendMessagesOperator(task_id="look", messages="events", dry_run=True)
        ResendMessagesOperator.partial(task_id="each", messages="events", dry_run=True).expand(concurrency=[1, 2])

    create_run(dag, source, part(START, MIDDLE), part(MIDDLE, END), part(START, MIDDLE))

    found = outcome(dag, "find")
    assert found["window"] == {**part(START, END)["window"], "source": "event"}
    reports = [outcome(dag, "look"), outcome(dag, "each", 0), outcome(dag, "each", 1)]
    assert [report["plan"]["count"] for report in reports] == [found["count"]] * 3 == [30] * 3
