"""How an outcome is brought about and observed, with our own sensor and service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.peers.cases import BODY, Case
from benchmarks.peers.observing import describe, holds, observe
from benchmarks.peers.rest import Ours
from benchmarks.peers.task import Ending
from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def ours() -> Iterator[Ours]:
    with Ours() as peer:
        yield peer


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", "")  # so that it is as before when the test is over


def test_what_is_there_is_found_and_stays(ours: Ours) -> None:
    """Three messages of the interval; what was asked is counted."""
    row = observe(ours, Case("there", before=3), "poke")

    assert (row["state"], row["seen"], row["left"]) == ("success", 3, {"messages": 3})
    assert row["requests"] == len(ours.times()) > 0
    assert row["holds"]["xcom"]["bytes"] > row["holds"]["xcom"]["bodies"] == 0


def test_a_message_of_today_is_not_one_of_yesterday(ours: Ours) -> None:
    """The interval is an hour of the day before."""
    row = observe(ours, Case("past", today=1), "poke")

    assert (row["state"], row["left"]) == ("skipped", {"messages": 1})


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="`make peers` makes triggers as Airflow 3.3 does")
def test_a_fault_in_the_triggerer_begins_when_the_task_waits_there(ours: Ours) -> None:
    """Not at the look before."""
    row = observe(ours, Case("denied", before=1, fault=403, defers=True), "deferred")

    assert (row["state"], row["deferrals"]) == ("failed", 1)
    assert "403" in row["error"]


def test_the_service_recovers_when_a_case_is_over(ours: Ours) -> None:
    """The next one finds it well."""
    observe(ours, Case("denied", before=1, fault=403), "poke")

    assert observe(ours, Case("there", before=1), "poke")["state"] == "success"


def test_a_second_run_is_observed_alone(ours: Ours) -> None:
    """What the first one has asked does not count."""
    row = observe(ours, Case("again", before=1, twice=True), "poke")

    assert (row["state"], row["requests"]) == ("success", 2)


@pytest.mark.parametrize(("times", "rate"), [([], None), ([0.0, 0.5], None), ([0.0, 1.0, 2.0], 1.0)])
def test_a_rate_needs_a_second(ours: Ours, times: list[float], rate: float | None) -> None:
    """Two requests at once are no rate."""
    ours.begin(Case("there").now())

    assert describe(ours, Case("there"), Ending(), times)["per_second"] == rate


def test_bodies_and_secrets_are_counted_wherever_they_are(ours: Ours) -> None:
    """In nested documents, and without writing them down."""
    ours.begin(Case("there").now())
    document: Any = {"a": [BODY, {"b": BODY}], "c": ours.secrets[0]}

    found = holds(document, ours)

    assert (found["bodies"], found["secrets"]) == (2, 1)
    assert holds(None, ours) == {"bytes": 0, "bodies": 0, "secrets": 0}
