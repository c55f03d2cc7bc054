"""
What a resend is asked to send: read from every shape that XComs and people use, checked before anything is sent.

Accepted are a document of the query, a list (or lazy sequence) of them, plain ``{"partition", "message_offset"}``
items, nested lists of these, and JSON text (or Python text, as Jinja writes it) of any of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.values.arguments import documents, partition_number, topic_name
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition


@dataclass(frozen=True, slots=True)
class Plan:
    """Which messages to send again."""

    topic: str
    """``""`` only if there is nothing to send."""
    partitions: OffsetsByPartition
    sources: tuple[Offsets, ...] = ()
    """The documents of the query that they come from; none for plain items."""
    repeats: int = 0
    """Plain items that came more than once, and are sent once."""
    digest: str | None = None
    """That of the one document that this comes from; ``None`` if it comes from several or none."""

    @property
    def count(self) -> int:
        """How many messages."""
        return partition_offsets.count(self.partitions)

    @property
    def total(self) -> int:
        """How many messages the plan's window holds; more than ``count`` if this is one batch of several."""
        return max([self.count, *(source.batch.total for source in self.sources if source.batch)])

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """Within which time its messages lie, half-open; ``None`` if they come without one."""
        parts = [part for source in self.sources for part in source.partitions.values()]
        if not parts:
            return None
        return min(part.first_timestamp for part in parts), max(part.last_timestamp for part in parts) + 1

    @property
    def share(self) -> float:
        """Which fraction of a window's batches this is: batches sent side by side share a rate."""
        parts = [1 / source.batch.of if source.batch else 1.0 for source in self.sources]
        return min(1.0, sum(parts)) if parts else 1.0


def receivers_of(consumer_key: str | None) -> str:
    """Name who receives the copies, for a sentence in logs and approvals."""
    if not consumer_key:
        return "every consumer of the topic"
    return f"consumers that honour the header consumer_key={consumer_key!r}, which is advisory"


def plan_of(messages: Any, topic: str | None, *, endpoint: str, instance_id: str) -> Plan:
    """
    Read and check what to send to a service; an empty list or an empty window is an empty plan.

    ``topic`` is needed for plain items, and must agree with documents.
    """
    parts = list(documents(messages, "messages", "query.output, or a list of partition and message_offset"))
    # one of the two fields is enough: a broken document is not a plain item
    found = [part for part in parts if "partitions" in part or "schema" in part]
    if found and len(found) < len(parts):
        raise ConfigurationError("messages mixes documents of the query with plain items: pass one kind.")
    if not found:
        return _plan_of_items(parts, topic)
    sources = tuple(Offsets.from_xcom(document) for document in found)
    union: dict[int, Ranges] = {}
    for source in sources:
        _check_source(source, endpoint, instance_id)
        topic = _agreed(topic, source.topic)
        for number, ranges in source.ranges.items():
            known = union.get(number, ())
            # batches that overlap would send a message twice, in whatever order their tasks run
            if offset_ranges.intersection(known, ranges):
                raise ConfigurationError(
                    f"messages holds offsets of partition {number} twice: two of its documents overlap."
                )
            union[number] = offset_ranges.merge((*known, *ranges))
    digest = found[0]["digest"] if len(found) == 1 else None
    return Plan(topic_name(topic), dict(sorted(union.items())), sources, digest=digest)


def replay_id_of(endpoint: str, instance_id: str, plan: Plan, consumer_key: str | None) -> str:
    """Return the id of a replay: SHA-256 of what it sends, where and to whom, so the same in every try and run."""
    exact = {str(number): ranges for number, ranges in sorted(plan.partitions.items())}
    text = json.dumps([endpoint, instance_id, plan.topic, consumer_key, exact], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plan_of_items(items: list[Mapping[str, Any]], topic: str | None) -> Plan:
    refs: list[MessageRef] = []
    for item in items:
        unknown = set(item) - {"topic", "partition", "message_offset"}
        if unknown:
            raise ConfigurationError(f"messages has an item with the unknown field {min(map(str, unknown))[:40]!r}.")
        partition = partition_number(item.get("partition"), "messages[].partition")
        offset = item.get("message_offset")
        if not offset_ranges.is_offset(offset):
            raise ConfigurationError(f"messages[].message_offset must be a whole number from 0; got {offset!r:.40}.")
        refs.append((partition, int(offset)))  # type: ignore[arg-type]  # is_offset saw an int
        topic = _agreed(topic, item.get("topic"))
    if not items:
        return Plan(topic or "", {})
    if not topic:
        raise ConfigurationError("topic is missing: plain messages do not say which topic they are in.")
    offsets = partition_offsets.from_refs(refs)
    return Plan(topic_name(topic), offsets, repeats=len(items) - partition_offsets.count(offsets))


def _agreed(topic: str | None, other: Any) -> str | None:
    if other in (None, ""):
        return topic
    if topic not in (None, "", other):
        raise ConfigurationError(f"messages are of topic {other!r:.80}, but topic is {topic!r:.80}.")
    return str(other)


def _check_source(source: Offsets, endpoint: str, instance_id: str) -> None:
    for name, theirs, ours in (
        ("endpoint", source.endpoint, endpoint),
        ("instance_id", source.instance_id, instance_id),
    ):
        if theirs != ours:
            raise ConfigurationError(
                f"messages were queried at {name} {theirs!r:.80}, but this connection is for {ours!r:.80}."
            )
    if not source.complete and source.on_incomplete != "warn":
        raise ConfigurationError(
            "messages is not complete (the query could not read all of its window): "
            "query a shorter window, or set on_incomplete='warn' in the query."
        )
