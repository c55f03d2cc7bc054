"""Whether a run was started by an event of the topic that it resends to: its copies would start the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.models.topic_uri import topic_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("triggering_asset_events", "triggering_dataset_events")
"""The second is that of Airflow 2."""


def started_by_topic(context: Mapping[str, Any], place: Mapping[str, str]) -> bool:
    """
    Tell whether an event of a topic started a run.

    :param context: Airflow's context; a plain dict will do
    :param place: ``endpoint``, ``instance_id`` and ``topic``
    :return: whether an event is of the topic's asset, or carries offsets or a report of the topic
    """
    uri = topic_uri(place["endpoint"], place["instance_id"], place["topic"])
    return any(uri in uris or any(_is_of(one, place) for one in said) for uris, said in _events(context))


def _events(context: Mapping[str, Any]) -> Iterator[tuple[set[Any], list[Any]]]:
    """List the events: the URIs that each names, and what it carries."""
    run_type = getattr(context.get("dag_run"), "run_type", None)
    # Airflow 2 asks its database when they are read, which fails beside a mapped task
    if run_type is not None and not str(getattr(run_type, "value", run_type)).endswith("_triggered"):
        return
    for name in _NAMES:
        for asset, events in (context.get(name) or {}).items():
            for event in events:
                sources = (asset, getattr(event, "asset", None), getattr(event, "dataset", None))
                uris = {getattr(one, "uri", one) for one in sources if isinstance(getattr(one, "uri", one), str)}
                extra = getattr(event, "extra", None) or {}
                yield uris, [extra, extra.get("payload") if isinstance(extra, Mapping) else None]


def _is_of(document: Any, place: Mapping[str, str]) -> bool:
    return isinstance(document, Mapping) and all(document.get(name) == value for name, value in place.items())
