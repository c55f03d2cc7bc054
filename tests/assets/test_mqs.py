"""Topics as assets: one spelling, events with the report, lineage."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.openlineage import facet
from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_mqs.assets.mqs import convert_asset_to_openlineage, create_asset, mqs_topic_asset, sanitize_uri
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator
from airflow_provider_mqs.tasks.stores import RECORD_URI
from tests.airflow import AIRFLOW, run_dag

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

HOST, INSTANCE = "roma.cn-north-4.myhuaweicloud.com", "640bb069-151e-4d5e-bd1b-000000000000"
URI = f"mqs://{HOST}/{INSTANCE}/orders"
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


def test_a_topic_has_one_uri() -> None:
    """The helper, the factory and the plain class make the same asset, however the host is written."""
    parts = {"host": HOST.upper(), "instance_id": INSTANCE, "topic": "orders"}

    assert mqs_topic_asset(**parts) == create_asset(**parts)
    assert mqs_topic_asset(**parts).uri == URI
    assert getattr(mqs_topic_asset(**parts), "name", URI) == URI
    assert sanitize_uri(urlsplit(f"mqs://{HOST.upper()}/{INSTANCE}/orders/")).geturl() == URI


def test_airflow_checks_the_uris_of_dags() -> None:
    """A wrong one is an error of the DAG file (on Airflow 2 a warning); the record's own is right."""
    assert Asset(uri=f"{URI}/").uri == URI
    assert Asset(uri=RECORD_URI).uri.rstrip("/") == RECORD_URI
    form = "has the form mqs://"
    with pytest.raises(ValueError, match=form) if AIRFLOW >= (3, 0) else pytest.warns(UserWarning, match=form):
        Asset(uri=f"mqs://{HOST}/orders")


@pytest.mark.parametrize(
    "uri", ["mqs:///i/orders", f"mqs://{HOST}", f"mqs://{HOST}/i", f"mqs://{HOST}/i/orders/x", f"mqs://{HOST}/i/1"]
)
def test_what_names_no_topic_is_refused(uri: str) -> None:
    """The error shows the form."""
    with pytest.raises(ValueError, match=r"mqs://|topic must start"):
        sanitize_uri(urlsplit(uri))


@pytest.mark.parametrize("changes", [{"host": ""}, {"host": f"https://{HOST}"}, {"instance_id": ""}, {"topic": "1"}])
def test_an_invalid_part_is_refused(changes: dict[str, str]) -> None:
    """Before Airflow sees it."""
    with pytest.raises(ValueError, match=r"needs host|topic must start"):
        mqs_topic_asset(**{"host": HOST, "instance_id": INSTANCE, "topic": "orders", **changes})


def test_lineage_names_instance_and_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of replays is no data and has no name; without OpenLineage there is none at all."""
    monkeypatch.setattr(facet, "Dataset", SimpleNamespace)
    dataset = convert_asset_to_openlineage(mqs_topic_asset(host=HOST, instance_id=INSTANCE, topic="orders"), None)
    record: Any = type("Record", (), {"uri": RECORD_URI})()

    assert dataset is not None
    assert (dataset.namespace, dataset.name) == (f"mqs://{HOST}/{INSTANCE}", "orders")
    assert convert_asset_to_openlineage(record, None) is None


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 keeps events of datasets in tables of other names")
def test_the_event_of_the_topic_carries_the_report(mqs: MqsEmulator) -> None:
    """For lineage and DAGs downstream; failures are not in it, nor is another topic's event touched."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    mqs.seed("orders", 30, END - timedelta(hours=1), END, partitions=3)
    host = mqs.url.removeprefix("http://")
    orders, others = (
        mqs_topic_asset(host=host, instance_id=mqs.identity.instance_id, topic=topic) for topic in ("orders", "others")
    )
    with DAG("eventful", schedule=None, start_date=END - timedelta(days=1)) as dag:
        query = QueryMessagesOperator(task_id="query", topic="orders", start=END - timedelta(hours=1), end=END)
        ResendMessagesOperator(task_id="resend", messages=query.output, outlets=[orders, others])

    run = run_dag(dag, END)

    assert run.state == "success"
    with create_session() as session:
        events = {event.asset.uri: event.extra for event in session.query(AssetEvent).all()}
    assert (events[orders.uri]["schema"], events[orders.uri]["sent"]) == ("mqs.replay/1", 30)
    assert "failures" not in events[orders.uri]
    assert events[others.uri] == {}
