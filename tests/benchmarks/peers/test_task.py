"""How a sensor is run as a task: in each mode, with a triggerer that may die."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)
from airflow.providers.standard.triggers.temporal import DateTimeTrigger

from benchmarks.peers.task import StillWaitingError, Task, first_event, state_of
from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 3), reason="`make peers` runs tasks and triggers as Airflow 3.3 does")
NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)


class Third(BaseSensorOperator):
    """Finds something at the third look."""

    looks = 0

    def poke(self, context: Any) -> PokeReturnValue:
        del context
        Third.looks += 1
        return PokeReturnValue(is_done=Third.looks % 3 == 0, xcom_value="found")


class Deferred(BaseSensorOperator):
    """Waits in the triggerer for a moment."""

    def __init__(self, *, moment: datetime = NOW, limit: timedelta | None = HOUR, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.moment = moment
        self.limit = limit

    def execute(self, context: Any) -> None:
        del context
        self.defer(trigger=DateTimeTrigger(moment=self.moment), method_name="resumed", timeout=self.limit)

    def resumed(self, context: Any, event: Any) -> str:
        context["ti"].xcom_push(key="event", value=event)
        return "done"


def task(kind: type[BaseSensorOperator], **arguments: Any) -> Task:
    return Task(lambda: kind(task_id="wait", poke_interval=0.01, **arguments), (NOW - HOUR, NOW))


def deferred(**arguments: Any) -> Task:
    return task(Deferred, **arguments)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_worker_looks_until_something_is_found(mode: str) -> None:
    """In one process or in one for each look."""
    ending = task(Third, mode=mode).run()

    assert (ending.state, ending.xcom, ending.deferrals) == ("success", {"return_value": "found"}, 0)


def test_a_deferred_task_is_resumed_with_the_event() -> None:
    """By another sensor, and a trigger that was made of what is stored."""
    called: list[str] = []
    run = deferred()
    run.on_deferral = lambda: called.append("deferred")

    ending = run.run()

    assert (ending.state, ending.deferrals, ending.timeout_s) == ("success", 1, 3600)
    assert ending.xcom == {"event": ending.event, "return_value": "done"}
    assert called == ["deferred"]


def test_the_time_of_a_deferral_is_bounded() -> None:
    """As the scheduler does it, which tells the sensor so."""
    ending = deferred(moment=NOW + HOUR, limit=timedelta(seconds=0.05)).run()

    assert (ending.state, ending.error) == ("failed", "AirflowSensorTimeout: Trigger timeout")


def test_who_waits_without_a_bound_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The observation ends by itself."""
    monkeypatch.setattr("benchmarks.peers.task.LIMIT_S", 0.05)

    assert deferred(moment=NOW + HOUR, limit=None).run().state == "deferred"


def test_a_trigger_that_breaks_fails_the_task() -> None:
    """The sensor decides whether that is a skip."""

    def broken(**arguments: Any) -> Task:
        run = deferred(moment=NOW + HOUR, **arguments)
        run.restart, run.between = "waiting", _break
        run.life_s = 0.01
        return run

    assert broken().run().state == "up_for_retry"
    assert broken(soft_fail=True).run().state == "skipped"


def _break() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize("restart", ["waiting", "found"])
def test_a_triggerer_may_die(restart: str) -> None:
    """While nothing has come, or with an event that nobody gets; the next one begins anew."""
    lives: list[str] = []
    run = deferred(moment=datetime.now(timezone.utc) + timedelta(seconds=1))
    run.restart, run.life_s, run.between = restart, 0.01, lambda: lives.append("over")

    ending = run.run()

    assert (ending.state, lives) == ("success", ["over"])


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (AirflowSkipException, "skipped"),
        (AirflowFailException, "failed"),
        (AirflowSensorTimeout, "failed"),
        (AirflowException, "up_for_retry"),
        (ValueError, "up_for_retry"),
        (StillWaitingError, "deferred"),
    ],
)
def test_an_exception_says_the_state(make: Callable[[], Exception], state: str) -> None:
    """Of a task that has retries."""
    assert state_of(make()) == state


async def test_a_trigger_is_cleaned_up_that_breaks() -> None:
    """As the triggerer does, so that nothing stays open."""
    with pytest.raises(ValueError, match="broken"):
        await first_event(Broken(), 1)

    assert Broken.cleaned == 1


class Broken:
    """A trigger that never has an event."""

    cleaned = 0

    async def run(self) -> Any:
        raise ValueError("broken")
        yield

    async def cleanup(self) -> None:
        Broken.cleaned += 1
