"""A topic that starts a DAG, and a resend to it; see ``tests/test_real_triggerer.py``."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, AssetWatcher, get_current_context, task

from airflow_provider_mqs.assets.mqs import mqs_topic_asset
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger

TRIGGER = NewMessagesTrigger(topic="watched", poll_interval_s=1, settle_s=1, start=1_700_000_000_000)
WATCHED = mqs_topic_asset(
    host="127.0.0.1", instance_id="any", topic="watched", watchers=[AssetWatcher(name="new_messages", trigger=TRIGGER)]
)


@task
def record() -> dict[str, Any]:
    """Keep what the events of this run carry."""
    events = get_current_context()["triggering_asset_events"]
    return {"payloads": [event.extra["payload"] for some in events.values() for event in some]}


with DAG("watched", schedule=[WATCHED], is_paused_upon_creation=False):
    record()
    QueryMessagesOperator(task_id="find", topic="watched")
    ResendMessagesOperator(task_id="look", messages="events", dry_run=True)
    ResendMessagesOperator(task_id="back", messages="events")

with DAG("resent", schedule=None, is_paused_upon_creation=False):
    ResendMessagesOperator(task_id="resend", messages="{{ dag_run.conf['messages'] | tojson }}", topic="watched")
