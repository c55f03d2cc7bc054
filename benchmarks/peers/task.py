"""Run a sensor as a task in each mode, with a triggerer that can be restarted, and say how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ("poke", "reschedule", "deferred")
LIMIT_S = 40.0
"""So long a trigger is watched at most."""


class TaskInstance:
    """What sensors ask of a task instance; keeps what is pushed."""

    dag_id = task_id = run_id = "wait"
    map_index, max_tries, try_number = -1, 0, 1

    def __init__(self) -> None:
        self.started = datetime.now(timezone.utc)
        self.pushed: dict[str, Any] = {}

    def get_first_reschedule_date(self, _context: Any) -> datetime:
        """Give when the first poke began."""
        return self.started

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom."""
        self.pushed[key] = value


class Store(dict[str, Any]):
    """The two calls of Airflow's task state store that are used."""

    set = dict.__setitem__


@dataclass
class Ending:
    """
    How a task ended.

    :param state: as Airflow's UI has it; ``up_for_retry`` where a retry is allowed
    :param seconds: from its start
    :param error: class and beginning of what it raised
    :param xcom: all that it pushed
    :param deferrals: how often it was deferred
    :param arguments: of the last trigger
    :param timeout_s: that Airflow was given for the deferral
    :param event: what the trigger sent
    """

    state: str = "success"
    seconds: float = 0.0
    error: str = ""
    xcom: dict[str, Any] = field(default_factory=dict)
    deferrals: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    event: Any = None


@dataclass
class Task:
    """
    One run of a sensor.

    :param make: makes the sensor, as each process does that parses the DAG
    :param interval: the two ends of the data interval
    :param on_deferral: called when the task waits in the triggerer
    :param restart: how the triggerer dies: not at all, while it is ``waiting``, or as soon as it ``found`` something
    :param life_s: how long a triggerer lives that dies while it waits
    :param between: called between the two lives of the triggerer
    """

    make: Callable[[], Any]
    interval: tuple[datetime, datetime]
    on_deferral: Callable[[], None] = lambda: None
    restart: str = ""
    life_s: float = 1.0
    between: Callable[[], None] = lambda: None

    def run(self) -> Ending:
        """Run it to its end."""
        ending, instance = Ending(), TaskInstance()
        start, end = self.interval
        context = {
            "ti": instance,
            "task_instance": instance,
            "task_state_store": Store(),
            "data_interval_start": start,
            "data_interval_end": end,
        }
        began_s = time.monotonic()
        try:
            result = self._execute(context, ending)
            if result is not None:
                instance.pushed["return_value"] = result
        except Exception as error:  # noqa: BLE001 - whatever a sensor raises is what is observed
            ending.state = state_of(error)
            ending.error = f"{type(error).__name__}: {str(error).strip()[:160]}"
        ending.seconds = round(time.monotonic() - began_s, 2)
        ending.xcom = instance.pushed
        return ending

    def _execute(self, context: dict[str, Any], ending: Ending) -> Any:
        while True:
            sensor = self.make()
            sensor.render_template_fields(context)
            try:
                return sensor.execute(context)
            except BaseException as error:  # a deferral is no Exception in Airflow 3
                name = type(error).__name__
                if name == "TaskDeferred":
                    return self._resume(context, ending, error)
                if name != "AirflowRescheduleException":
                    raise
                pause = error.reschedule_date - datetime.now(timezone.utc)  # type: ignore[attr-defined]
                time.sleep(min(LIMIT_S, max(0.0, pause.total_seconds())))

    def _resume(self, context: dict[str, Any], ending: Ending, deferral: Any) -> Any:
        ending.deferrals += 1
        ending.arguments = deferral.trigger.serialize()[1]
        ending.timeout_s = deferral.timeout.total_seconds() if deferral.timeout else None
        self.on_deferral()
        method, arguments = asyncio.run(self._wait(deferral, ending))
        sensor = self.make()
        sensor.render_template_fields(context)
        return sensor.resume_execution(method, arguments, context)

    async def _wait(self, deferral: Any, ending: Ending) -> tuple[str, dict[str, Any]]:
        """Do what triggerer and scheduler do; the deadline of the row is that of the first life."""
        deadline_s = time.monotonic() + min(LIMIT_S, ending.timeout_s or LIMIT_S)
        try:
            if self.restart:
                await self._first_life(deferral.trigger, deadline_s)
                self.between()
            ending.event = await first_event(again(deferral.trigger), deadline_s - time.monotonic())
        except asyncio.TimeoutError:
            if ending.timeout_s is None or ending.timeout_s > LIMIT_S:
                raise StillWaitingError from None
            return "__fail__", {"error": "Trigger timeout"}
        except Exception as error:  # noqa: BLE001 - so does the triggerer
            return "__fail__", {"error": "Trigger failure", "traceback": [f"{type(error).__name__}: {error}"]}
        return deferral.method_name, {**(deferral.kwargs or {}), "event": ending.event}

    async def _first_life(self, trigger: Any, deadline_s: float) -> None:
        """Let the triggerer die; what it had found is not in Airflow's database."""
        limit_s = self.life_s if self.restart == "waiting" else deadline_s - time.monotonic()
        with contextlib.suppress(asyncio.TimeoutError):
            await first_event(again(trigger), limit_s)


class StillWaitingError(Exception):
    """The time of the observation is up, and nothing bounds the waiting."""


def again(trigger: Any) -> Any:
    """Make a trigger of what Airflow stores of it."""
    from airflow.models.trigger import Trigger

    path, arguments = trigger.serialize()
    room, _, name = path.rpartition(".")
    stored = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(arguments))  # noqa: SLF001 - as the triggerer does
    return getattr(import_module(room), name)(**stored)


async def first_event(trigger: Any, limit_s: float) -> Any:
    """Run a trigger until its first event, as it comes out of Airflow's database."""
    from airflow.serialization.serialized_objects import BaseSerialization

    events = trigger.run()
    try:
        event = await asyncio.wait_for(events.__anext__(), max(0.0, limit_s))
        return BaseSerialization.deserialize(json.loads(json.dumps(BaseSerialization.serialize(event.payload))))
    finally:
        await events.aclose()
        await trigger.cleanup()


def state_of(error: BaseException) -> str:
    """Say what Airflow makes of an exception of a task that has retries."""
    names = {one.__name__ for one in type(error).__mro__}
    if names & {"StillWaitingError"}:
        return "deferred"
    if names & {"AirflowSkipException"}:
        return "skipped"
    if names & {"AirflowFailException", "AirflowSensorTimeout"}:
        return "failed"
    return "up_for_retry"
