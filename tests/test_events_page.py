"""The DAG on the page about events is valid, and its tasks read what their events carry."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from tests.airflow import AIRFLOW
from tests.support import started_by

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

PAGE = (Path(__file__).resolve().parents[1] / "docs/events.md").read_text()
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
MIDDLE, START = END - timedelta(minutes=30), END - timedelta(hours=1)
pytestmark = pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 has no watchers")


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, Any]:
    """Run the code of the page."""
    names: dict[str, Any] = {"__file__": str(tmp_path / "events.py")}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, names)  # noqa: S102 - our own page
    return names


@pytest.fixture
def batches(mqs: MqsEmulator) -> list[dict[str, Any]]:
    """Return the payloads of two events."""
    mqs.seed("orders", 40, START, END, partitions=2, tags=("paid", "open"))
    query = {"task_id": "query", "topic": "orders"}
    return [
        QueryMessagesOperator(**query, start=start, end=end).execute({})
        for start, end in ((START, MIDDLE), (MIDDLE, END))
    ]


def test_the_asset_is_watched_by_our_trigger(shown: dict[str, Any]) -> None:
    """Airflow stores the serialised trigger."""
    (watcher,) = shown["orders"].watchers
    path, arguments = watcher.trigger.serialize()

    assert path == "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger"
    assert arguments["topic"] == "orders"


def test_the_resend_takes_the_messages_of_all_events(
    shown: dict[str, Any], batches: list[dict[str, Any]], mqs: MqsEmulator
) -> None:
    """Each message once, although one event comes twice."""
    report = shown["dag"].task_dict["look"].execute(started_by(*batches, batches[0]))

    assert report["plan"]["count"] == len(mqs.offsets("orders", START, END))
    assert mqs.resends("orders") == []


def test_the_query_takes_the_window_of_all_events(shown: dict[str, Any], batches: list[dict[str, Any]]) -> None:
    """Its filter applies to the whole window."""
    document = shown["dag"].task_dict["paid"].execute(started_by(*batches))

    ends = {"start": batches[0]["window"]["start"], "end": batches[1]["window"]["end"]}
    assert document["window"] == {**ends, "source": "event"}
    assert document["count"] == 20


def test_a_mapped_task_takes_what_one_event_carries(shown: dict[str, Any], batches: list[dict[str, Any]]) -> None:
    """The task that lists the events returns one document per event."""
    listed = shown["each"].function(**started_by(*batches))
    mapped = shown["dag"].task_dict["look_at_each"]

    reports = [
        ResendMessagesOperator(task_id="look", **mapped.partial_kwargs, messages=one).execute({}) for one in listed
    ]

    assert listed == batches
    assert [report["plan"]["count"] for report in reports] == [batch["count"] for batch in batches]


def test_templates_reach_what_an_event_carries() -> None:
    """The expression on the page renders to the value."""
    from airflow.sdk import Asset

    (expression,) = re.findall(r"`(\{\{.*?\}\})`", PAGE)
    event = SimpleNamespace(extra={"payload": {"count": 12}})
    query = QueryMessagesOperator(task_id="query", topic="orders", max_messages=expression)

    query.render_template_fields({"triggering_asset_events": {Asset("orders"): [event]}})

    assert json.loads(str(query.max_messages)) == 12
