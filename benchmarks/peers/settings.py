"""Which settings of a sensor reach the triggerer: those that change what it is given."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_HOUR = timedelta(hours=1)
BASE: dict[str, Any] = {
    "timeout": 2.0,
    "poke_interval": 7.0,
    "exponential_backoff": True,
    "max_wait": timedelta(seconds=3),
    "silent_fail": True,
}
"""Those of Airflow's base sensor that say how to wait; the others are heeded when the task ends."""


def fates(make: Callable[..., Any], changed: Mapping[str, Any], after: Collection[str] = ()) -> dict[str, list[str]]:
    """
    Sort the settings by what becomes of them.

    :param make: makes a sensor that defers, with these arguments
    :param changed: another value for each argument
    :param after: arguments that the sensor itself heeds when it resumes
    :return: names by fate: ``kept``, ``lost``, ``refused`` with an error, or ``not deferred``, where they keep the task
        in the worker
    """
    end = datetime.now(timezone.utc) + _HOUR
    context = {"data_interval_start": end - _HOUR, "data_interval_end": end}
    first, second = given(make, context), given(make, context)
    steady = {path for path in first if first[path] == second.get(path)}
    found: dict[str, list[str]] = {"kept": [], "lost": [], "refused": [], "not deferred": []}
    for name, value in {**changed, **BASE}.items():
        now = given(make, context, **{name: value})
        if "fate" in now:
            fate = now["fate"]
        else:
            same = all(now.get(path) == first[path] for path in steady) and now.keys() == first.keys()
            fate = "lost" if same and name not in after else "kept"
        found[fate].append(name)
    return found


def given(make: Callable[..., Any], context: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Give what the triggerer is given, and the timeout, by path; or the ``fate`` of what does not defer."""
    sensor = make(**{"timeout": 1.0, "poke_interval": 1.0, **arguments})
    sensor.render_template_fields(context)
    try:
        sensor.execute(context)
    except BaseException as error:  # noqa: BLE001 - a deferral is no Exception in Airflow 3
        names = {one.__name__ for one in type(error).__mro__}
        if "TaskDeferred" in names:
            return _written(error)
        return {"fate": "refused" if "AirflowFailException" in names else "not deferred"}
    return {"fate": "not deferred"}


def _written(deferral: Any) -> dict[str, Any]:
    timeout = deferral.timeout and round(deferral.timeout.total_seconds())
    document = json.loads(json.dumps(deferral.trigger.serialize()[1], default=str))
    return dict(leaves({"arguments": document, "timeout": timeout}))


def leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Give the values of nested JSON by path."""
    if isinstance(document, dict) and document:
        for name, value in document.items():
            yield from leaves(value, f"{path}/{name}")
    else:
        yield path, document
