"""Which stores a task has for ledgers and indexes, in real tasks of a real Airflow."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_mqs.core.ledger.stores import FileStore
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError
from airflow_provider_mqs.operators.base import RecordedOperator
from airflow_provider_mqs.tasks.stores import (
    RECORD_NAME,
    AssetStateStore,
    TaskStateStore,
    VariableStore,
    choose_stores,
    open_folder,
    record_inlets,
    stores_of_task,
)
from tests.airflow import AIRFLOW, run_dag, xcom

if TYPE_CHECKING:
    from pathlib import Path

NEW = AIRFLOW >= (3, 3)
DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)
STATE = object()
FOLDER = FileStore("/ledgers")


class Remembering(RecordedOperator):
    """Writes into each store that a task has, and reads it back."""

    def __init__(self, *, number: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> dict[str, Any]:
        stores = stores_of_task(context, None)
        key = f"a-key-{self.number}"
        before = [store.get(key) for store in stores]
        for store in stores:
            store.set(key, {"done": [[0, self.number]]})
        return {
            "names": [type(store).__name__ for store in stores],
            "before": before,
            "after": [store.get(key) for store in stores],
            "inlets": [getattr(inlet, "name", None) for inlet in self.inlets],
        }


def test_a_task_has_the_stores_of_its_series() -> None:
    """State stores from 3.3 on, Variables before; a mapped task has the same."""
    with DAG("remembering", schedule=None, start_date=DAY) as dag:
        Remembering(task_id="one")
        Remembering.partial(task_id="many").expand(number=[2, 3])

    run = run_dag(dag, DAY)

    expected = ["AssetStateStore"] if NEW else ["VariableStore"]
    for found, number in ((xcom(run, "one"), 1), (xcom(run, "many", 0), 2), (xcom(run, "many", 1), 3)):
        assert found["names"] == expected
        assert found["after"] == [{"done": [[0, number]]}] * len(expected)
        assert found["inlets"] == ([RECORD_NAME] if NEW else [])


def test_the_inlet_is_declared_once_beside_the_users_own() -> None:
    """Also if the user declares it too."""
    own = object() if not record_inlets() else record_inlets()[0]

    operator = RecordedOperator(task_id="x", inlets=[own])

    assert operator.inlets == [own]


@pytest.mark.parametrize(
    ("reachable", "chosen"),
    [
        ({"task_state": STATE, "record_state": STATE}, [AssetStateStore]),
        ({"task_state": STATE, "record_state": STATE, "configured": FOLDER}, [AssetStateStore, FileStore]),
        ({"record_state": STATE, "configured": FOLDER}, [AssetStateStore, FileStore]),
        ({"task_state": STATE}, [TaskStateStore]),
        ({"task_state": STATE, "configured": FOLDER}, [FileStore]),
        ({"variables": True}, [VariableStore]),
        ({"variables": True, "configured": FOLDER}, [FileStore]),
        ({"configured": FOLDER}, [FileStore]),
        ({}, []),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_stores_are_chosen_by_what_a_caller_can_reach(reachable: dict[str, Any], chosen: list[type]) -> None:
    """All that others read too; the state of the task itself and Variables are the last resort."""
    assert [type(store) for store in choose_stores(**{"configured": None, **reachable})] == chosen


@pytest.mark.parametrize("path", ["folder", "./folder"])
def test_a_relative_folder_is_refused(path: str) -> None:
    """It would be a different folder on each worker."""
    with pytest.raises(ConfigurationError, match="ledger_path must be an absolute path"):
        open_folder(path)


def test_a_folder_may_be_a_path_or_a_url(tmp_path: Path) -> None:
    """``file://`` and a plain path are the same."""
    assert open_folder(str(tmp_path)) == open_folder(f"file://{tmp_path}") == FileStore(tmp_path)


def test_the_configuration_may_name_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument takes precedence."""
    monkeypatch.setenv("AIRFLOW__MQS__LEDGER_PATH", str(tmp_path))

    assert stores_of_task({}, None) == (FileStore(tmp_path),)
    assert stores_of_task({}, str(tmp_path / "own")) == (FileStore(tmp_path / "own"),)


def test_a_folder_is_used_beside_the_asset(tmp_path: Path) -> None:
    """Commands see what tasks sent, and tasks what commands sent."""
    assets = {asset: object() for asset in record_inlets()}
    context = {"ti": object(), **({"asset_state_store": assets} if assets else {})}

    stores = stores_of_task(context, str(tmp_path))

    assert [type(store) for store in stores] == [AssetStateStore, FileStore][not assets :]


def test_outside_a_task_there_is_no_store() -> None:
    """A plain dict as context has none."""
    assert stores_of_task({}, None) == stores_of_task({"ti": object()}, None) == ()


def test_a_storage_that_is_not_installed_is_an_error() -> None:
    """The error names the storage."""
    with pytest.raises((ConfigurationError, StoreError), match="nowhere"):
        open_folder("nowhere://mqs-ledgers").get("key")


@pytest.mark.skipif(not NEW, reason="state stores came with Airflow 3.3")
@pytest.mark.parametrize("kind", [TaskStateStore, AssetStateStore])
def test_what_airflow_refuses_stops_the_sending(kind: Any) -> None:
    """A cleared task may no longer write, which fences it off."""

    class Refusing:
        def get(self, *_: object, **__: object) -> None:
            raise RuntimeError("404 Task instance not found")

        set = get

    with pytest.raises(StoreError, match="404 Task instance not found"):
        kind(Refusing()).get("key")
    with pytest.raises(StoreError, match="state store"):
        kind(Refusing()).set("key", 1)


def test_other_operators_have_no_inlet() -> None:
    """Only ours declare it."""
    assert BaseOperator(task_id="x").inlets == []
