"""Which topic, of which instance, at which endpoint; and its URI, by which Airflow's assets name it."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote

from airflow_provider_mqs.core.values.arguments import topic_name

SCHEME: Final = "mqs"
RECORD_HOST: Final = "replay-record"
"""The one asset of the scheme that is no topic: the record of replays."""
_SHAPE: Final = f"{SCHEME}://{{host}}/{{instance_id}}/{{topic}}"
_SEGMENTS: Final = 2


class TopicRef(NamedTuple):
    """Endpoint, instance and name of a topic: what offsets, ledgers and reports are compared by."""

    endpoint: str
    instance_id: str
    topic: str


def topic_uri(host: str, instance_id: str, topic: str) -> str:
    """Return the URI of a topic; the host may have a port, but neither scheme nor path."""
    if not host or "/" in host or not instance_id:
        raise ValueError(f"An MQS asset needs host, instance_id and topic ({_SHAPE}); got host {host!r:.80}.")
    return f"{SCHEME}://{host.lower()}/{quote(instance_id, safe='')}/{topic_name(topic)}"


def ref_of_uri(parts: SplitResult) -> TopicRef:
    """Return the topic that a URI of this scheme names; ``ValueError`` if it names none."""
    segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
    if not parts.netloc or len(segments) != _SEGMENTS or not all(segments):
        raise ValueError(f"An asset URI of MQS has the form {_SHAPE}; got {parts.geturl()!r:.120}.")
    return TopicRef(parts.netloc.lower(), segments[0], topic_name(segments[1]))
