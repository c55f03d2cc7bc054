"""What is learned from pairs of a source and its copy."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mqs.core.values.message import Message
from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Shown, Traits, learn, shown

SOURCE = Traits("k", 10, "t", "a", "m")
NAMES = Traits._fields


def pair(source: Traits = SOURCE, partition: int = 0, time_ms: int = 1, **changes: Any) -> tuple[Shown, Shown]:
    """A source, and a copy with other traits."""
    copy_partition, copy_time_ms = changes.pop("partition_", partition), changes.pop("time_ms_", 2)
    return (
        Shown((partition, 1), time_ms, source),
        Shown((copy_partition, 100), copy_time_ms, source._replace(**changes)),
    )


def test_without_a_pair_nothing_is_learned() -> None:
    """What a copy looks like is never assumed."""
    assert learn([]) is None


def test_whatever_a_pair_has_in_common_is_kept() -> None:
    """And only that."""
    assert learn([pair()]) == KeptTraits(NAMES)
    assert learn([pair(key=None, message_id=None)]) == KeptTraits(("size", "tag", "app_id"))
    assert learn([pair(key="another")]) == KeptTraits(("size", "tag", "app_id", "message_id"))


def test_a_copy_may_be_larger_by_some_bytes() -> None:
    """By the same number each time; else its size says nothing, and pairs do not agree."""
    assert learn([pair(size=34), pair(SOURCE._replace(size=50), size=74)]) == KeptTraits(NAMES, 24)
    other = learn([pair(size=34), pair(SOURCE._replace(size=50), size=75)])
    assert other is not None
    assert ("size" in other.names, other.steady) == (False, False)


@pytest.mark.parametrize(
    "second", [pair(key=None), pair(partition_=1), pair(time_ms_=1)], ids=["key", "partition", "time"]
)
def test_pairs_that_contradict_each_other_are_not_steady(second: tuple[Shown, Shown]) -> None:
    """Copies changed their look, or a producer wrote an equal content."""
    kept = learn([pair(), second])

    assert kept is not None
    assert not kept.steady
    assert not kept.same_time


def test_what_neither_has_contradicts_nothing() -> None:
    """A message without a key says nothing of whether copies keep theirs."""
    keyless = SOURCE._replace(key=None)

    assert learn([pair(keyless), pair(key=None)]) == KeptTraits(("size", "tag", "app_id", "message_id"))
    assert learn([pair(keyless), pair()]) == KeptTraits(NAMES)


def test_where_and_when_a_copy_lands_is_learned() -> None:
    """In another partition, or with the time of its source."""
    kept = learn([pair(partition_=1, time_ms_=1), pair(partition_=2, time_ms_=1)])

    assert kept == KeptTraits(NAMES, same_partition=False, same_time=True)


def test_a_source_and_its_copy_have_the_same_match_key() -> None:
    """Whatever the copy keeps."""
    for changes in ({}, {"size": 34}, {"key": None, "message_id": None}, {"partition_": 2}):
        source, copy = pair(**changes)
        kept = learn([(source, copy)])
        assert kept is not None
        assert kept.key_of_source(source) == kept.key_of_row(copy)


def test_an_empty_text_counts_as_none() -> None:
    """Services differ in that."""
    message = Message("orders", 0, 1, 2, key="", tag="", app_id="", message_id="")

    assert shown(message) == Shown((0, 1), 2, Traits(None, None, None, None, None))
