"""Each example DAG runs on a real metadata database, against the local service."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from tests.airflow import AIRFLOW, prepared_database, run_dag, xcom
from tests.support import beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from fastapi.testclient import TestClient

    from airflow_provider_mqs.testing import MqsEmulator

EXAMPLES = Path(__file__).resolve().parents[1] / "example_dags"
HOUR = timedelta(hours=1)
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR
START = END - HOUR
MIDNIGHT = END.replace(hour=0)
NEEDS_APPROVAL = pytest.mark.skipif(AIRFLOW < (3, 3), reason="before Airflow 3.3 an approval needs a triggerer")


def example(name: str) -> Any:
    """Load the DAG of an example file."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return next(value.dag for value in vars(module).values() if isinstance(value, BaseOperator))


def once(mqs: MqsEmulator, start: datetime, end: datetime) -> bool:
    """Check that the service's own log shows each message of the window once, and no other."""
    return mqs.resend_counts("orders") == dict.fromkeys(mqs.offsets("orders", start, end), 1)


def test_hourly_replay_sends_the_hour_before_the_logical_date(mqs: MqsEmulator) -> None:
    """A manual run waits for its interval, queries it and resends it."""
    mqs.seed("orders", 60, START, END, partitions=3)

    run = run_dag(example("mqs_hourly_replay"), END)

    assert run.state == "success"
    assert once(mqs, START, END)


def test_adhoc_replay_is_a_dry_run_by_default(mqs: MqsEmulator) -> None:
    """The values of the form reach the operators; nothing is sent until ``dry_run`` is off."""
    mqs.seed("orders", 60, START, END, partitions=3)
    form = {"start": START.isoformat(), "end": END.isoformat(), "consumer_key": "keyA"}

    dry = run_dag(example("mqs_adhoc_replay"), run_conf=form)
    assert xcom(dry, "resend")["requested"] == 60
    assert mqs.resends("orders") == []

    wet = run_dag(example("mqs_adhoc_replay"), run_conf={**form, "dry_run": False, "max_rate": 1000})
    assert wet.state == "success"
    assert once(mqs, START, END)
    assert {one.consumer_key for one in mqs.resends("orders")} == {"keyA"}


def test_mapped_replay_sends_and_proves_the_day_in_batches(mqs: MqsEmulator) -> None:
    """A manual run of the daily example resends the day before in batches, and knows all copies in the end."""
    mqs.seed("orders", 60, MIDNIGHT - 24 * HOUR, MIDNIGHT, partitions=3)

    run = run_dag(example("mqs_mapped_replay"), MIDNIGHT)

    assert run.state == "success"
    assert once(mqs, MIDNIGHT - 24 * HOUR, MIDNIGHT)
    assert xcom(run, "verify")["verified"] is True


def test_mapped_replay_of_an_empty_day_succeeds(mqs: MqsEmulator) -> None:
    """There is no batch, so nothing to prove either."""
    mqs.seed("orders", 0, MIDNIGHT - 24 * HOUR, MIDNIGHT, partitions=3)

    run = run_dag(example("mqs_mapped_replay"), MIDNIGHT)

    assert run.state == "success"
    assert mqs.resends("orders") == []


@pytest.fixture(scope="module")
def airflows_api() -> Iterator[TestClient]:
    """Log in to Airflow's REST API, which the UI uses."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    prepared_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
        with TestClient(create_app("core"), base_url="http://testserver") as client:
            client.headers["Authorization"] = f"Bearer {client.get('/auth/token').json()['access_token']}"
            yield client


@NEEDS_APPROVAL
@pytest.mark.parametrize(("answer", "sent"), [("Approve", 60), ("Reject", 0)])
def test_approved_replay_sends_what_a_person_approved(
    mqs: MqsEmulator, airflows_api: TestClient, answer: str, sent: int
) -> None:
    """The approval shows window, counts and receivers; only "Approve" sends."""
    morning = MIDNIGHT.replace(hour=6)
    morning = morning if morning <= END else morning - 24 * HOUR
    mqs.seed("orders", 60, morning - 24 * HOUR, morning, partitions=3)
    shown: list[str] = []

    with beside(lambda over: shown.append(answer_question(airflows_api, answer, over))):
        run = run_dag(example("mqs_approved_replay"), morning)

    assert run.state == "success"
    assert len(mqs.resends("orders")) == sent
    assert "| 0 | 20 | 0 to 19 |" in shown[0]
    assert "Who receives the copies: every consumer of the topic." in shown[0]


def answer_question(api: TestClient, answer: str, over: threading.Event) -> str:
    """Wait for the question, answer it as the UI does, and return its text."""
    found: list[Any] = []
    while not found:
        assert not over.wait(0.1), "the run has ended without a question"
        answered = api.get("/api/v2/dags/~/dagRuns/~/hitlDetails", params={"response_received": False})
        found = answered.raise_for_status().json()["hitl_details"]
    ti = found[0]["task_instance"]
    path = f"/api/v2/dags/{ti['dag_id']}/dagRuns/{ti['dag_run_id']}/taskInstances/{ti['task_id']}/-1/hitlDetails"
    api.patch(path, json={"chosen_options": [answer], "params_input": {}}).raise_for_status()
    return str(found[0]["body"])
