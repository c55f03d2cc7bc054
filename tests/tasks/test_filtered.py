"""Every filter is an argument of operator, sensor, hook and command, and none is lost on its way to the query."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, TaskDeferred

from airflow_provider_mqs.__main__ import main
from airflow_provider_mqs.core.query.filters import FUNCTIONS, Filters
from airflow_provider_mqs.core.values.time_window import to_ms
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor
from tests.support import EXAMPLES, example_of

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator
    from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger

NAMES = [one.name for one in fields(Filters)]
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(minutes=10)
WINDOW = {"start": START, "end": END}
TASKS: Any = pytest.mark.parametrize("task", [QueryMessagesOperator, MessagesInWindowSensor])


@pytest.fixture(autouse=True)
def _seeded(mqs: MqsEmulator) -> None:
    # the second message matches the example of every filter, the first none of them; a filter on a field that no row
    # carries is refused, so each has all fields
    mqs.seed("orders", 0, START, END, partitions=3)
    example = {"key": "key-1", "tag": "a", "message_id": "message-1", "app_id": "app-1"}
    mqs.append("orders", 1, "first", timestamp_ms=to_ms(START), **dict.fromkeys(example, "another"))
    mqs.append("orders", 0, "second", timestamp_ms=to_ms(END) - 1, **example)


def test_every_filter_has_an_example() -> None:
    """One without an example would be tested by none of what follows; ``tests/support.py`` has them."""
    assert set(EXAMPLES) == set(NAMES)


@pytest.mark.parametrize("value", [None, "", "None"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "message_filter"], indirect=True)
def test_what_is_left_out_filters_nothing(name: str, value: Any) -> None:
    """A template that renders to nothing is no filter."""
    assert Filters.read(**{name: value}) == Filters()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each field of ``Filters`` in turn."""
    return str(request.param)


def asked(document: dict[str, Any], name: str) -> None:
    assert document == Filters.read(**example_of(name)).to_xcom()
    assert name in document


def test_the_operator_applies_every_filter(name: str) -> None:
    """Its document says which filters made it."""
    operator = QueryMessagesOperator(task_id="query", topic="orders", **WINDOW, **example_of(name))

    document = operator.execute({})
    asked(document["filters"], name)
    found: set[str] = {"message_filter": set[str](), "fetch_values": {"0", "1"}}.get(name, {"0"})
    assert document["partitions"].keys() == found


def test_the_hook_applies_every_filter(name: str) -> None:
    """Its offsets say which filters made them."""
    asked(dict(MqsHook().query("orders", **WINDOW, **example_of(name)).filters), name)


async def test_the_coroutine_of_the_hook_applies_every_filter(name: str) -> None:
    """It does what its twin does."""
    async with MqsHook() as hook:
        asked(dict((await hook.aquery("orders", **WINDOW, **example_of(name))).filters), name)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FUNCTIONS], indirect=True)
def test_the_command_applies_every_filter(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All but functions, which nobody can write on a command line."""
    ((argument, value),) = example_of(name).items()
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    words = [f"--{argument.replace('_', '-')}", text, "--start", str(to_ms(START)), "--end", str(to_ms(END))]
    capsys.readouterr()

    assert main(["query", "--topic", "orders", *words]) == 0
    asked(json.loads(capsys.readouterr().out)["filters"], name)


def test_the_sensor_counts_by_every_filter(name: str) -> None:
    """Nothing of the first message is as in the example, but that it has a content."""
    first = {"start": START, "end": START + timedelta(seconds=20), "on_closed_empty": "fail"}
    sensor = MessagesInWindowSensor(task_id="wait", topic="orders", **first, **example_of(name))

    if name == "fetch_values":
        assert sensor.execute({})["count"] == 1
    else:
        with pytest.raises(AirflowException, match="0 messages"):
            sensor.execute({})


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FUNCTIONS], indirect=True)
def test_every_filter_reaches_the_triggerer(name: str) -> None:
    """All but functions, which the sensor refuses to defer."""
    window = {"start": START, "end": datetime.now(timezone.utc) + timedelta(hours=3)}
    sensor = MessagesInWindowSensor(task_id="wait", topic="orders", deferrable=True, **window, **example_of(name))

    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute({})
    trigger: MessagesInWindowTrigger = deferral.value.trigger  # type: ignore[assignment]  # ours
    asked(trigger.condition.filters.to_xcom(), name)


@TASKS
def test_every_filter_is_templated(task: type[QueryMessagesOperator | MessagesInWindowSensor], name: str) -> None:
    """All but the function itself."""
    assert (name in task.template_fields) == (name != "message_filter")


@TASKS
def test_every_filter_is_documented(task: type[QueryMessagesOperator | MessagesInWindowSensor], name: str) -> None:
    """The arguments are declared in a base class, but a reader finds them with the others."""
    lines = [line.strip() for line in (task.__doc__ or "").splitlines()]

    assert sum(line.startswith(f":param {name}: ") for line in lines) == 1
    assert not any("{filter_params}" in line for line in lines)


@TASKS
def test_every_filter_has_a_default_of_the_dag(task: Any, name: str) -> None:
    """``default_args`` reach the base class."""
    with DAG("orders", schedule=None, default_args=example_of(name)):
        operator = task(task_id="task", topic="orders")

    assert operator.read_filters() == Filters.read(**example_of(name))


@TASKS
def test_every_filter_can_be_mapped(task: Any, name: str) -> None:
    """Airflow looks for the names of ``partial`` and ``expand`` in the base classes, too."""
    example = example_of(name)
    with DAG("orders", schedule=None):
        mapped = task.partial(task_id="task", topic="orders", **example_of(name, leave_out=name)).expand(
            **{name: [example[name]]}
        )

    assert mapped.operator_class is task


@TASKS
def test_an_unknown_filter_is_refused_when_the_dag_is_parsed(task: Any) -> None:
    """A misspelt filter is not no filter."""
    with pytest.raises((AirflowException, TypeError), match="kex"):
        task(task_id="task", topic="orders", kex="k")
    with pytest.raises(TypeError, match="kex"):
        task.partial(task_id="task", topic="orders", kex="k")
    with pytest.raises(TypeError, match="kex"):
        MqsHook().query("orders", START, END, kex="k")  # type: ignore[call-arg]  # that is the mistake
