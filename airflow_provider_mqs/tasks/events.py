"""
The events that started a run, and the offsets that they carry. Everything that reads them from Airflow's context.

An event carries a document of offsets (``mqs.offsets/1``) as its payload if ``NewMessagesTrigger`` raised it, or as its
``extra`` if a task of another DAG put it there. A run may be started by several, and delivery is at least once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.values.asset_uri import topic_uri
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.hooks.mqs import MqsHook

EVENTS: Final = "events"
"""The value of ``messages`` that means those of these events."""
_NAMES = ("triggering_asset_events", "triggering_dataset_events")
"""The second is that of Airflow 2."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of an asset."""

    uris: frozenset[str]
    """What the asset is called."""
    carried: tuple[Any, Any]
    """Its ``extra``, and the payload in it."""

    @classmethod
    def read(cls, asset: Any, event: Any) -> Event:
        """Read Airflow's event of an asset, which is an object or its URI."""
        sources = (asset, getattr(event, "asset", None), getattr(event, "dataset", None))
        uris = (getattr(one, "uri", one) for one in sources)
        extra = getattr(event, "extra", None) or {}
        payload = extra.get("payload") if isinstance(extra, Mapping) else None
        return cls(frozenset(uri for uri in uris if isinstance(uri, str)), (extra, payload))


def events_of(context: Mapping[str, Any]) -> list[Event]:
    """Return the events that started a run; none if it was started otherwise."""
    run_type = getattr(context.get("dag_run"), "run_type", None)
    # Airflow 2 asks its database when they are read, which fails if tasks share a session, as in dag.test()
    if run_type is not None and not str(getattr(run_type, "value", run_type)).endswith("_triggered"):
        return []
    listed = [pair for name in _NAMES for pair in (context.get(name) or {}).items()]
    return [Event.read(asset, event) for asset, events in listed for event in events]


def topic_ref_of(hook: MqsHook, topic: str) -> TopicRef:
    """Return where a topic of a connection is."""
    return TopicRef(hook.settings.host, hook.instance_id, topic)


def started_by_topic(context: Mapping[str, Any], ref: TopicRef) -> bool:
    """
    Tell whether an event of a topic started a run, so that copies of its messages would start the next one.

    Such an event is one of the topic's asset, or carries offsets or a report of the topic.
    """
    uri = topic_uri(*ref)
    return any(uri in event.uris or any(_is_of(one, ref) for one in event.carried) for event in events_of(context))


def window_of_events(events: list[Event], ref: TopicRef) -> TimeWindow | None:
    """Return the window from the earliest start to the latest end of a topic's events; ``None`` if there are none."""
    windows = [offsets.window for offsets in _offsets(events, ref)]
    if not windows:
        return None
    return TimeWindow(min(one.start_ms for one in windows), max(one.end_ms for one in windows), SOURCE_EVENT)


def messages_of_events(context: Mapping[str, Any], hook: MqsHook, topic: str | None) -> list[dict[str, Any]]:
    """
    Return the messages of the events that started a run, each once, as documents for the resend.

    Events of another endpoint, instance or topic do not count; without ``topic``, all must be of the same.
    """
    events = events_of(context)
    if not events:
        raise ConfigurationError(
            f"messages={EVENTS!r} means those of the events that started the run, but no event started this one: "
            "give the query's output (query.output), or a list of partition and message_offset."
        )
    ref = topic_ref_of(hook, topic or "")
    found = list(_offsets(events, ref))
    if not found:
        raise ConfigurationError(f"{no_offsets_of(ref)}: give the query's output (query.output).")
    topics = sorted({offsets.topic for offsets in found})
    if len(topics) > 1:
        raise ConfigurationError(
            f"The events that started this run are of several topics ({', '.join(topics)[:80]}): set topic to one."
        )
    from airflow_provider_mqs.core.offsets.document import each_once  # noqa: PLC0415 - not to parse a DAG

    return [offsets.to_xcom() for offsets in each_once(found)]


def no_offsets_of(ref: TopicRef) -> str:
    """Say that no event is of a topic; without the full stop."""
    topic = f" of topic {ref.topic!r}" if ref.topic else ""
    return (
        f"This run was started by events, but none carries offsets{topic} "
        f"of instance {ref.instance_id!r:.80} at {ref.endpoint!r:.80}"
    )


def _is_of(document: Any, ref: TopicRef) -> bool:
    """Tell whether what an event carries is of a topic; a name of ``""`` means any topic of the instance."""
    wanted = ref._asdict()
    return isinstance(document, Mapping) and all(document.get(name) == wanted[name] for name in wanted if wanted[name])


def _offsets(events: list[Event], ref: TopicRef) -> Iterator[Offsets]:
    from airflow_provider_mqs.core.offsets.document import FAMILY, Offsets  # noqa: PLC0415 - not to parse a DAG

    for document in (document for event in events for document in event.carried):
        if _is_of(document, ref) and str(document.get("schema")).startswith(FAMILY):
            try:
                yield Offsets.from_xcom(document)
            except ConfigurationError as error:
                raise ConfigurationError(f"An event that started this run cannot be read: {error}") from error
