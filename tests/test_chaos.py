"""Replays in real task processes under Airflow's supervisor, killed again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airflow import AIRFLOW

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.airflow
@pytest.mark.skipif(AIRFLOW < (3, 3), reason="the task state store came with Airflow 3.3")
def test_eight_kills_lose_nothing_and_send_nothing_twice() -> None:
    """Both stores and both orderings, against a service that throttles, appends before a 504, and appends late."""
    command = [sys.executable, "-m", "scripts.chaos"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}

    words = ["--seed", "7", "--kills", "8", "--each", "2", "--messages", "800", "--care", "verified"]
    process = subprocess.Popen(
        [*command, *words], cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        output, errors = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it stops its own programs
        output, errors = process.communicate(timeout=60)

    table = output[output.rfind("| ledger") :]
    assert process.returncode == 0, table + errors[-2000:]
    assert table.count("| verified | 1 | 800 | 2 |") == 4, table
