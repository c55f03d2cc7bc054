"""
The events that started a run, and the offsets that they carry. All that reads them from Airflow's context.

An event carries a document of offsets (``mqs.offsets/1``) as its payload, where ``NewMessagesTrigger`` raised it, or as
its ``extra``, where a task of another DAG put it there. A run may be started by several, and delivery is at least once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.hooks.mqs import MqsHook

EVENTS: Final = "events"
"""What ``messages`` says that means those of these events."""
_NAMES = ("triggering_asset_events", "triggering_dataset_events")
"""The second is that of Airflow 2."""


@dataclass(frozen=True, slots=True)
class Event:
    """
    An event of an asset.

    :param uris: what the asset is called
    :param carried: its ``extra``, and the payload in it
    """

    uris: frozenset[str]
    carried: tuple[Any, Any]


def events_of(context: Mapping[str, Any]) -> list[Event]:
    """
    List the events that started a run.

    :param context: Airflow's context; a plain dict will do
    :return: the events; none for a run that started otherwise
    """
    run_type = getattr(context.get("dag_run"), "run_type", None)
    # Airflow 2 asks its database when they are read, which fails where tasks share a session, as in dag.test()
    if run_type is not None and not str(getattr(run_type, "value", run_type)).endswith("_triggered"):
        return []
    listed = [pair for name in _NAMES for pair in (context.get(name) or {}).items()]
    return [_event(asset, event) for asset, events in listed for event in events]


def _event(asset: Any, event: Any) -> Event:
    sources = (asset, getattr(event, "asset", None), getattr(event, "dataset", None))
    uris = (getattr(one, "uri", one) for one in sources)
    extra = getattr(event, "extra", None) or {}
    payload = extra.get("payload") if isinstance(extra, Mapping) else None
    return Event(frozenset(uri for uri in uris if isinstance(uri, str)), (extra, payload))


def place_of(hook: MqsHook, topic: str) -> dict[str, str]:
    """
    Say where a topic is, as documents of offsets do.

    :param hook: the connection
    :param topic: topic name
    :return: ``endpoint``, ``instance_id`` and ``topic``
    :raises ConfigurationError: the connection is wrong
    """
    return {"endpoint": hook.settings.host, "instance_id": hook.instance_id, "topic": topic}


def is_of(document: Any, place: Mapping[str, str]) -> bool:
    """
    Tell whether what an event carries is of a place.

    :param document: anything
    :param place: what it must say
    :return: whether it says that
    """
    return isinstance(document, Mapping) and all(document.get(name) == value for name, value in place.items())


def window_of_events(events: list[Event], place: Mapping[str, str]) -> TimeWindow | None:
    """
    Give the window of the events of a topic.

    :param events: the events
    :param place: ``endpoint``, ``instance_id`` and ``topic``
    :return: from the earliest start to the latest end; ``None`` where no event carries offsets of the topic
    :raises ConfigurationError: what one carries is no whole document
    """
    windows = [offsets.window for offsets in _offsets(events, place)]
    if not windows:
        return None
    return TimeWindow(min(one.start_ms for one in windows), max(one.end_ms for one in windows), SOURCE_EVENT)


def messages_of_events(context: Mapping[str, Any], hook: MqsHook, topic: str | None) -> list[dict[str, Any]]:
    """
    Give the messages of the events that started a run, each once.

    :param context: Airflow's context
    :param hook: the connection; events of another endpoint or instance do not count
    :param topic: those of other topics do not count; ``None`` where all must be of the same
    :return: documents that do not overlap, for the resend
    :raises ConfigurationError: no event started the run, none that counts did, or they are of several topics
    """
    events = events_of(context)
    if not events:
        raise ConfigurationError(
            f"messages={EVENTS!r} means those of the events that started the run, but no event started this one: "
            "give the query's output (query.output), or a list of partition and message_offset."
        )
    place = {name: value for name, value in place_of(hook, topic or "").items() if value}
    found = list(_offsets(events, place))
    if not found:
        raise ConfigurationError(f"{none_of(place)}: give the query's output (query.output).")
    topics = sorted({offsets.topic for offsets in found})
    if len(topics) > 1:
        raise ConfigurationError(
            f"The events that started this run are of several topics ({', '.join(topics)[:80]}): set topic to one."
        )
    from airflow_provider_mqs.core.offsets.document import each_once  # noqa: PLC0415 - not to parse a DAG

    return [offsets.to_xcom() for offsets in each_once(found)]


def none_of(place: Mapping[str, str]) -> str:
    """
    Say that no event is of a place.

    :param place: ``endpoint``, ``instance_id`` and perhaps ``topic``
    :return: a sentence without its full stop
    """
    topic = f" of topic {place['topic']!r}" if "topic" in place else ""
    return (
        f"This run was started by events, but none carries offsets{topic} "
        f"of instance {place['instance_id']!r:.80} at {place['endpoint']!r:.80}"
    )


def _offsets(events: list[Event], place: Mapping[str, str]) -> Iterator[Offsets]:
    from airflow_provider_mqs.core.offsets.document import FAMILY, Offsets  # noqa: PLC0415 - not to parse a DAG

    for document in (document for event in events for document in event.carried):
        if is_of(document, place) and str(document.get("schema")).startswith(FAMILY):
            try:
                yield Offsets.from_xcom(document)
            except ConfigurationError as error:
                raise ConfigurationError(f"An event that started this run cannot be read: {error}") from error
