"""
Which traits a copy shares with its source: learned from messages that were surely sent, never assumed.

The documents do not say what a copy looks like, and no field of the query marks one. So each trait of a row is tried in
turn, and counts only if there is still a candidate for every message that was surely sent (``traits_all_keep``). Of
those that count, a source and its copy have the same values: the *match key*. A size counts if all copies are larger
than their sources by the same number of bytes, since the service may add headers.

To recognise copies by something else, add it to ``Traits`` and ``traits_of``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_mqs.core.values.message import Message

_MAX_SIZE_SHIFTS = 50
_MAJORITY = 0.5


class Traits(NamedTuple):
    """What a row of a window query shows of a message, apart from its position and time."""

    key: str | None
    size: int | None  # bytes
    tag: str | None
    app_id: str | None
    message_id: str | None


_POSITIONS = {name: position for position, name in enumerate(Traits._fields)}

TraitsByOffset: TypeAlias = "dict[int, dict[int, Traits]]"
"""By partition and offset."""
MatchKey: TypeAlias = tuple[Any, ...]
"""The values of the traits that count; a source and its copy have the same."""


def traits_of(message: Message) -> Traits:
    """Return the traits of a source or a candidate; an empty text counts as none."""
    return Traits(
        message.key or None, message.size, message.tag or None, message.app_id or None, message.message_id or None
    )


@dataclass(frozen=True, slots=True)
class KeptTraits:
    """Which traits a copy keeps, and by how many bytes it is larger than its source."""

    names: tuple[str, ...] = ()
    size_shift: int = 0

    def key_of_source(self, traits: Traits) -> MatchKey:
        """Return the match key that the copy of a source must have."""
        if "size" in self.names and traits.size is not None:
            traits = traits._replace(size=traits.size + self.size_shift)
        return self.key_of_candidate(traits)

    def key_of_candidate(self, traits: Traits) -> MatchKey:
        """Return the match key that a candidate has."""
        return tuple(traits[_POSITIONS[name]] for name in self.names)


TraitsByPartition: TypeAlias = "Mapping[int, Iterable[Traits]]"


def traits_all_keep(known_sent: TraitsByPartition, candidates: TraitsByPartition) -> KeptTraits | None:
    """
    Return every trait that all copies of known-sent messages keep.

    ``None`` if nothing was surely sent, or if there are fewer candidates than messages: not every copy is visible, so
    what copies look like cannot be known.
    """
    sources = [(partition, traits) for partition, found in known_sent.items() for traits in found]
    if not sources or _count_matches(KeptTraits(), sources, candidates) < len(sources):
        return None
    return _learn(sources, candidates, len(sources))


def traits_most_keep(known_sent: TraitsByPartition, candidates: TraitsByPartition) -> KeptTraits:
    """Return every trait that at least half of the copies keep, so that messages without a copy can be named."""
    sources = [(partition, traits) for partition, found in known_sent.items() for traits in found]
    return _learn(sources, candidates, len(sources) * _MAJORITY)


def _learn(sources: list[tuple[int, Traits]], candidates: TraitsByPartition, enough: float) -> KeptTraits:
    """Add one trait after the other, as long as enough sources still have a candidate."""
    kept = KeptTraits()
    for name in Traits._fields:
        for shift in _size_shifts(sources, candidates) if name == "size" else [kept.size_shift]:
            more = KeptTraits((*kept.names, name), shift)
            if _count_matches(more, sources, candidates) >= enough:
                kept = more
                break
    return kept


def _size_shifts(sources: list[tuple[int, Traits]], candidates: TraitsByPartition) -> list[int]:
    """List by how many bytes copies may differ from their sources: none at all first, then the smallest numbers."""
    if not sources:
        return [0]
    # the copy of the first source is among the candidates, so the right number is among the differences from it
    partition, first = sources[0]
    sizes = {row.size for row in candidates.get(partition, ()) if row.size is not None}
    shifts = {size - first.size for size in sizes} if first.size is not None else set()
    return sorted({0, *shifts}, key=abs)[:_MAX_SIZE_SHIFTS]


def _count_matches(kept: KeptTraits, sources: list[tuple[int, Traits]], candidates: TraitsByPartition) -> int:
    """Count the sources that have a candidate with their match key, each candidate used once."""
    wanted = Counter((partition, kept.key_of_source(traits)) for partition, traits in sources)
    there = Counter(
        (partition, kept.key_of_candidate(traits)) for partition, rows in candidates.items() for traits in rows
    )
    return sum((wanted & there).values())
