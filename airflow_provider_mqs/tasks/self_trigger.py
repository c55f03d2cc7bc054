"""Whether a run was started by an event of the topic that it resends to: its copies would start the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.values.asset_uri import topic_uri
from airflow_provider_mqs.tasks.events import events_of, is_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def started_by_topic(context: Mapping[str, Any], place: Mapping[str, str]) -> bool:
    """
    Tell whether an event of a topic started a run.

    :param context: Airflow's context; a plain dict will do
    :param place: ``endpoint``, ``instance_id`` and ``topic``
    :return: whether an event is of the topic's asset, or carries offsets or a report of the topic
    """
    uri = topic_uri(place["endpoint"], place["instance_id"], place["topic"])
    return any(uri in event.uris or any(is_of(one, place) for one in event.carried) for event in events_of(context))
