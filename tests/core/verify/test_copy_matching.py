"""Which rows are copies, and of which messages, compared with what really happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.verify.copy_matching import Matching, Source, match
from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Shown, Traits

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef

KEPT = KeptTraits(("key", "size"))


@dataclass
class World:
    """What really happened: who made each row, and which sources have one that can be seen."""

    sources: list[Source] = field(default_factory=list)
    rows: list[Shown] = field(default_factory=list)
    contents: dict[MessageRef, str] = field(default_factory=dict)
    maker: dict[MessageRef, int | None] = field(default_factory=dict)
    """By row, the position of its source; ``None`` for a producer."""

    def post(self, ref: MessageRef, look: str, content: str, token: str, at_ms: int, *, known: bool, row: bool) -> None:
        """Post a message at a moment; ``row`` if its copy can be seen."""
        source = Source(Shown(ref, 0, look_of(look)), token, known, at_ms - 5, at_ms + 5)
        self.contents[ref] = content
        if row:
            self._add(ref[0], at_ms, look, content, len(self.sources))
        self.sources.append(source)

    def produce(self, partition: int, look: str, content: str, at_ms: int) -> None:
        self._add(partition, at_ms, look, content, None)

    def _add(self, partition: int, at_ms: int, look: str, content: str, maker: int | None) -> None:
        ref = (partition, 1000 + len(self.rows))
        self.rows.append(Shown(ref, at_ms, look_of(look)))
        self.contents[ref] = content
        self.maker[ref] = maker

    def matched(self, budget: int = 1000, kept: KeptTraits = KEPT) -> Matching:
        """Match, reading the contents that are wanted as long as they can be afforded."""
        contents: dict[MessageRef, str] = {}
        while True:
            matching = match(self.sources, self.rows, kept, contents)
            wanted = next((refs for refs in matching.wanted if len(refs) <= budget), None)
            if wanted is None:
                return matching
            budget -= len(set(wanted) - set(contents))
            contents |= {ref: self.contents[ref] for ref in wanted}

    def has_row(self, source: Source) -> bool:
        return any(maker is not None and self.sources[maker] is source for maker in self.maker.values())


def look_of(look: str) -> Traits:
    return Traits(look, 10, None, None, None)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to three executions, whose messages look alike or are equal; lost and late copies, and live producers."""
    world = World()
    for number in range(draw(st.integers(1, 7))):
        look, content = draw(st.sampled_from("LM")), draw(st.sampled_from("abcd"))
        known, row = draw(st.booleans() | st.just(True)), draw(st.booleans() | st.just(True))
        world.post(
            (draw(st.integers(0, 1)), number),
            look,
            look + content,
            draw(st.sampled_from("ABC")),
            draw(st.integers(0, 40)),
            known=known,
            row=row,
        )
    for _ in range(draw(st.integers(0, 4))):
        look, content = draw(st.sampled_from("LMN")), draw(st.sampled_from("abxyz"))
        world.produce(draw(st.integers(0, 1)), look, look + content, draw(st.integers(-10, 60)))
    return world


def is_excused(world: World, row: Shown) -> bool:
    """
    Return whether a producer's row may be taken for a copy, which nobody can rule out.

    It equals a message in content; or it looks like a message that was lost, and came when that was posted, or another
    that was posted at the same time as that.
    """
    alike = [source for source in world.sources if (source.ref[0], source.shown.traits) == (row.ref[0], row.traits)]
    if any(world.contents[source.ref] == world.contents[row.ref] for source in alike):
        return True
    reached = [source for source in alike if source.covers(row)]
    for source in reached:
        reached += [
            other
            for other in alike
            if other not in reached and other.start_ms <= source.end_ms and source.start_ms <= other.end_ms
        ]
    return any(source.known and not world.has_row(source) for source in reached)


@given(worlds(), st.sampled_from([0, 6, 1000]))
@settings(max_examples=600)
def test_no_answer_is_wrong(world: World, budget: int) -> None:
    """Whatever was lost, is late, or was written by others, and however few contents may be read."""
    matching = world.matched(budget)

    made = {row.ref for row in world.rows if world.maker[row.ref] is not None}
    for row in [row for _, row in matching.copies] + [row for _, row in matching.spare_copies]:
        assert row.ref in made or is_excused(world, row)
    # of messages that are equal it does not matter whose copy it is
    rows_of = Counter((row.ref[0], world.contents[row.ref]) for row in world.rows)
    found = Counter((source.ref[0], world.contents[source.ref]) for source, _ in matching.copies)
    excused = {(row.ref[0], row.traits) for row in world.rows if row.ref not in made and is_excused(world, row)}
    for (partition, content), count in found.items():
        assert count <= rows_of[partition, content] or (partition, look_of(content[0])) in excused
    for source in matching.absent:
        assert not world.has_row(source)
    for source in matching.sent:
        equal = [one for one in world.sources if (one.ref[0], world.contents[one.ref]) == key_of(world, source)]
        assert (
            world.has_row(source)
            or any(
                world.maker[row.ref] is None and (row.ref[0], world.contents[row.ref]) == key_of(world, source)
                for row in world.rows
            )
            or all(one in matching.sent for one in equal if not one.known and world.has_row(one))
        )
    named = [*(one for one, _ in matching.copies), *matching.missing, *matching.unclear, *matching.absent]
    assert sorted(map(id, named)) == sorted(map(id, world.sources))


def key_of(world: World, source: Source) -> tuple[int, str]:
    return source.ref[0], world.contents[source.ref]


@given(worlds())
def test_a_message_that_is_called_missing_has_no_row_of_its_own(world: World) -> None:
    """Counted over those that are equal to each other, and of one execution."""
    matching = world.matched()

    for source in matching.missing:
        equal = [
            one for one in world.sources if one.token == source.token and key_of(world, one) == key_of(world, source)
        ]
        missing = sum(one in matching.missing for one in equal)
        assert missing <= sum(not world.has_row(one) for one in equal)
