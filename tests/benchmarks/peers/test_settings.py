"""Which settings reach the triggerer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseSensorOperator
from airflow.providers.standard.triggers.temporal import DateTimeTrigger

from benchmarks.peers.settings import fates, leaves

MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Forgetful(BaseSensorOperator):
    """Tells its trigger a moment and a timeout, and nothing else."""

    def __init__(
        self, *, moment: datetime = MOMENT, name: str = "a", wrong: bool = False, here: bool = False, **arguments: Any
    ) -> None:
        super().__init__(task_id="wait", **arguments)
        self.moment, self.name, self.wrong, self.here = moment, name, wrong, here

    def execute(self, context: Any) -> None:
        del context
        if self.wrong:
            raise AirflowFailException("wrong")
        if not self.here:
            trigger = DateTimeTrigger(moment=self.moment)
            self.defer(trigger=trigger, method_name="execute", timeout=timedelta(seconds=self.timeout))


CHANGED = {"moment": datetime(2026, 1, 2, tzinfo=timezone.utc), "name": "b", "wrong": True, "here": True}


def test_a_setting_is_lost_that_changes_nothing() -> None:
    """Those of the base sensor, too; the timeout is Airflow's to heed."""
    found = fates(Forgetful, CHANGED)

    assert found["kept"] == ["moment", "timeout"]
    assert found["lost"] == ["name", "poke_interval", "exponential_backoff", "max_wait", "silent_fail"]


def test_what_does_not_defer_is_told_apart() -> None:
    """An error for good is an answer; staying in the worker is none."""
    found = fates(Forgetful, CHANGED)

    assert (found["refused"], found["not deferred"]) == (["wrong"], ["here"])


def test_what_the_sensor_heeds_itself_is_not_lost() -> None:
    """When it resumes it has all its arguments."""
    assert "name" in fates(Forgetful, CHANGED, {"name"})["kept"]


def test_a_time_that_passes_is_no_setting() -> None:
    """What differs between two of the same is left out."""
    passing = iter(range(100))

    def make(**arguments: Any) -> Forgetful:
        return Forgetful(**{"moment": MOMENT + timedelta(seconds=next(passing)), **arguments})

    assert "name" in fates(make, CHANGED)["lost"]


def test_nested_arguments_are_compared_one_by_one() -> None:
    """One of them that changes by itself does not hide the others."""
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": [2]})) == {"/a/b": 1, "/a/c": {}, "/d": [2]}
