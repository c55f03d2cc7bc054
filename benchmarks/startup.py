"""
What a DAG file costs that imports this provider: fresh interpreters, in turns with a file that imports only Airflow.

Loading is almost only work of the processor, so processor time is measured: other work on the machine does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

_TIMED = "import time; began = time.process_time()\n{}\nprint(time.process_time() - began)"
_BARE = """
from airflow.sdk import DAG
with DAG("bench", schedule=None):
    pass
"""
_PROVIDER = """
from airflow.sdk import DAG
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor
with DAG("bench", schedule=None):
    closed = MessagesInWindowSensor(task_id="closed", topic="orders")
    query = QueryMessagesOperator(task_id="query", topic="orders")
    closed >> query >> ResendMessagesOperator(task_id="resend", messages=query.output)
"""
FILES = {"imports airflow.sdk only": _BARE, "both operators and the sensor": _PROVIDER}


def seconds(times: int) -> dict[str, list[float]]:
    """Load each file this many times, after one time that only fills the caches."""
    with tempfile.TemporaryDirectory(prefix="mqs-bench-") as home:
        rounds = [{name: _load(text, home) for name, text in FILES.items()} for _ in range(times + 1)]
    return {name: [found[name] for found in rounds[1:]] for name in FILES}


def _load(text: str, home: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(text)],
        env=os.environ | {"AIRFLOW_HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])
