"""Many triggers for one triggerer: DAGs of sensors that never run on a worker, and watched assets."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, AssetWatcher

from airflow_provider_mqs.assets.mqs import mqs_topic_asset
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor
from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger

TASKS, WATCHERS = int(os.environ["CROWD_TASKS"]), int(os.environ["CROWD_WATCHERS"])
TOPIC, BEGIN_MS, INTERVAL_S = os.environ["CROWD_TOPIC"], int(os.environ["CROWD_BEGIN_MS"]), 15.0


def watched(number: int) -> AssetWatcher:
    """Watch from a moment of its own on, because Airflow takes equal triggers for one."""
    trigger = NewMessagesTrigger(topic=TOPIC, poll_interval_s=INTERVAL_S, start=BEGIN_MS + number)
    return AssetWatcher(name="new", trigger=trigger)


with DAG("sleepers", schedule=None):
    for number in range(TASKS):
        DateTimeSensorAsync(task_id=f"sleep_{number}", target_time="{{ macros.datetime.max }}")

with DAG("sensors", schedule=None):
    for number in range(TASKS):
        MessagesInWindowSensor(task_id=f"wait_{number}", topic=TOPIC, lookback=timedelta(hours=1), deferrable=True)

assets = [
    mqs_topic_asset(host="127.0.0.1", instance_id="any", topic=f"{TOPIC}-{number}", watchers=[watched(number)])
    for number in range(WATCHERS)
]
with DAG("watched", schedule=assets):
    pass
