"""What the page about events shows is a DAG that Airflow understands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator
from tests.airflow import AIRFLOW

PAGE = (Path(__file__).resolve().parents[1] / "docs/events.md").read_text()
pytestmark = pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 has no watchers")


@pytest.fixture
def shown() -> dict[str, Any]:
    """Run the page's code."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    return names


def test_the_asset_is_watched_by_our_trigger(shown: dict[str, Any]) -> None:
    """Airflow stores the trigger by what it serialises to."""
    (watcher,) = shown["orders"].watchers
    path, arguments = watcher.trigger.serialize()

    assert path == "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger"
    assert arguments["topic"] == "orders"


def test_the_task_takes_the_document_of_the_event(shown: dict[str, Any]) -> None:
    """The template gives JSON text that the operator reads."""
    from airflow.sdk import Asset

    document = {"schema": "mqs.offsets/1", "topic": "it's <b>"}
    event = type("Event", (), {"extra": {"from_trigger": True, "payload": document}})
    (task,) = shown["dag"].tasks

    task.render_template_fields({"triggering_asset_events": {Asset("orders"): [event]}})

    assert json.loads(task.messages) == document


def test_the_window_of_the_event_is_one_for_the_query() -> None:
    """The expression of the page gives the time as the query reads it."""
    from airflow.sdk import Asset

    (start,) = re.findall(r'start="(\{\{.*?\}\})"', PAGE)
    event = type("Event", (), {"extra": {"payload": {"window": {"start": "2026-11-22T00:00:00.000+00:00"}}}})
    query = QueryMessagesOperator(task_id="query", topic="orders", start=start)

    query.render_template_fields({"triggering_asset_events": {Asset("orders"): [event]}})

    assert query.start == "2026-11-22T00:00:00.000+00:00"
