"""
What a copy has in common with its source: learned from messages that were surely sent, never assumed.

The documents do not say what a copy looks like, and the query shows nothing that marks one. So each trait that a row
shows is put to the test: it counts only if the rows hold a match for every message that was surely sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_mqs.core.values.message import Message

_MAX_SHIFTS = 50
_MOST = 0.5


class Traits(NamedTuple):
    """
    What a row of a window query shows of a message, apart from its place and time.

    :param key: message key, ``None`` where the row has none
    :param size: bytes
    :param tag: label
    :param app_id: id of the producer's application
    :param message_id: id given by the producer's application
    """

    key: str | None
    size: int | None
    tag: str | None
    app_id: str | None
    message_id: str | None


Mark: TypeAlias = tuple[Any, ...]
"""The traits that count, as one value: a copy and its source have the same."""
_NAMES = Traits._fields


def traits_of(message: Message) -> Traits:
    """
    Take the traits of a row.

    :param message: a source or a candidate
    :return: its traits; an empty text is no text
    """
    return Traits(
        message.key or None, message.size, message.tag or None, message.app_id or None, message.message_id or None
    )


@dataclass(frozen=True, slots=True)
class Likeness:
    """
    Which traits a copy keeps.

    :param names: the traits that count
    :param size_shift: bytes that a copy is larger than its source
    """

    names: tuple[str, ...] = ()
    size_shift: int = 0

    def of_source(self, traits: Traits) -> Mark:
        """
        Say what the copy of a message must look like.

        :param traits: of the source
        :return: the mark
        """
        if "size" in self.names and traits.size is not None:
            traits = traits._replace(size=traits.size + self.size_shift)
        return self.of_row(traits)

    def of_row(self, traits: Traits) -> Mark:
        """
        Say what a row looks like.

        :param traits: of the row
        :return: the mark
        """
        return tuple(getattr(traits, name) for name in self.names)


Seen: TypeAlias = "Mapping[int, Iterable[Traits]]"
"""Traits by partition."""


def learn(known: Seen, rows: Seen) -> Likeness | None:
    """
    Find which traits copies keep.

    :param known: messages that were surely sent, by partition
    :param rows: rows that came after the sending began
    :return: every trait that holds for all of them; ``None`` where none was surely sent, or not all copies can be seen
    """
    sources = [(partition, traits) for partition, found in known.items() for traits in found]
    if not sources or _matches(Likeness(), sources, rows) < len(sources):
        return None
    return _grown(sources, rows, len(sources))


def learn_most(known: Seen, rows: Seen) -> Likeness:
    """
    Find which traits most copies keep, so that those which lack a copy can be named.

    :param known: messages that were surely sent, by partition
    :param rows: rows that came after the sending began
    :return: every trait that holds for at least half of them
    """
    sources = [(partition, traits) for partition, found in known.items() for traits in found]
    return _grown(sources, rows, len(sources) * _MOST)


def _grown(sources: list[tuple[int, Traits]], rows: Seen, enough: float) -> Likeness:
    likeness = Likeness()
    for name in _NAMES:
        for shift in _shifts(sources, rows) if name == "size" else [likeness.size_shift]:
            larger = Likeness((*likeness.names, name), shift)
            if _matches(larger, sources, rows) >= enough:
                likeness = larger
                break
    return likeness


def _shifts(sources: list[tuple[int, Traits]], rows: Seen) -> list[int]:
    """List by how many bytes copies may differ: no difference first, then the small ones."""
    if not sources:
        return [0]
    partition, first = sources[0]
    sizes = {row.size for row in rows.get(partition, ()) if row.size is not None}
    shifts = {size - first.size for size in sizes} if first.size is not None else set()
    return sorted({0, *shifts}, key=abs)[:_MAX_SHIFTS]


def _matches(likeness: Likeness, sources: list[tuple[int, Traits]], rows: Seen) -> int:
    """Count the messages for which there is a row, each row used once."""
    wanted = Counter((partition, likeness.of_source(traits)) for partition, traits in sources)
    there = Counter((partition, likeness.of_row(traits)) for partition, found in rows.items() for traits in found)
    return sum((wanted & there).values())
