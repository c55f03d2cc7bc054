"""
Which traits a copy shares with its source: learned from copies that are surely copies, never assumed.

The documents do not say what a copy looks like, and no field of a query marks one. What tells is the content: a row
after the last offset of its partition that has the content of a message that was surely sent is its copy. Such *pairs*
teach which traits stay (key, size, tag, application, message id, partition), by how many bytes copies are larger, and
whether they keep the time of their source. Traits are never dropped until the numbers fit: a message whose copy was
lost, and a row of a producer, would then make a pair.

Pairs that contradict each other mean that copies changed their look, or that a producer wrote the content of a message
again. A trait that not every pair keeps does not count, and counting alone proves nothing any more (``steady``).

To recognise copies by something else, add it to ``Traits`` and ``traits_of``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.values.message import Message


class Traits(NamedTuple):
    """What a row of a window query shows of a message, apart from its position and time."""

    key: str | None
    size: int | None  # bytes
    tag: str | None
    app_id: str | None
    message_id: str | None


MatchKey: TypeAlias = tuple[Any, ...]
"""The values of the traits that count; a source and its copy have the same."""


class Shown(NamedTuple):
    """A message as a row shows it."""

    ref: MessageRef
    time_ms: int
    traits: Traits


def shown(message: Message) -> Shown:
    """Return what is shown of a message."""
    return Shown((message.partition, message.message_offset), message.timestamp, traits_of(message))


def traits_of(message: Message) -> Traits:
    """Return the traits of a message; an empty text counts as none."""
    return Traits(
        message.key or None, message.size, message.tag or None, message.app_id or None, message.message_id or None
    )


@dataclass(frozen=True, slots=True)
class KeptTraits:
    """What a copy keeps of its source, and by how many bytes it is larger."""

    names: tuple[str, ...]
    size_shift: int = 0
    same_partition: bool = True
    same_time: bool = False
    """Whether the copy has the time of its source; otherwise that of its append."""
    steady: bool = True
    """Whether all pairs agree."""

    def key_of_source(self, source: Shown) -> MatchKey:
        """Return the match key that the copy of a source must have."""
        traits = source.traits
        if self.size_shift and traits.size is not None:
            traits = traits._replace(size=traits.size + self.size_shift)
        return self.key_of_row(source._replace(traits=traits))

    def key_of_row(self, row: Shown) -> MatchKey:
        """Return the match key that a row has."""
        partition = row.ref[0] if self.same_partition else -1
        return (partition, *(getattr(row.traits, name) for name in self.names))


def learn(pairs: Iterable[tuple[Shown, Shown]]) -> KeptTraits | None:
    """Return what every pair of source and copy keeps; ``None`` without a pair."""
    pairs = list(pairs)
    if not pairs:
        return None
    names, steady = [], True
    for position, name in enumerate(Traits._fields):
        values = [(source.traits[position], copy.traits[position]) for source, copy in pairs]
        if name == "size":
            shifts = {None if None in (before, after) else after - before for before, after in values}  # type: ignore[operator]
            kept, agree = len(shifts) == 1 and None not in shifts, len(shifts) == 1
            size_shift = shifts.pop() or 0 if kept else 0
        else:
            # what neither has says nothing about whether it would be kept
            same = {before == after for before, after in values if before is not None or after is not None}
            kept, agree = False not in same, len(same) <= 1
        names += [name] if kept else []
        steady = steady and agree
    partitions = {source.ref[0] == copy.ref[0] for source, copy in pairs}
    times = {source.time_ms == copy.time_ms for source, copy in pairs}
    return KeptTraits(
        tuple(names),
        size_shift,
        same_partition=partitions == {True},
        same_time=times == {True},
        steady=steady and len(partitions) == len(times) == 1,
    )
