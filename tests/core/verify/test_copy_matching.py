"""Which messages in doubt were sent: by counting, then by contents, compared with what really happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.verify.copy_matching import (
    MatchGroup,
    Matching,
    group_by_key,
    groups_to_compare,
    match_by_content,
    match_by_count,
)


@dataclass
class Truth:
    """One partition; messages and candidates are pairs of match key and content, by offset."""

    messages: dict[int, tuple[int, int]]
    known_sent: set[int]
    in_doubt: set[int]
    sent: set[int]
    candidates: dict[int, tuple[int, int]]


@st.composite
def truths(draw: st.DrawFn, *, live: bool) -> Truth:
    message = st.tuples(st.integers(0, 2), st.integers(0, 2))
    messages = dict(enumerate(draw(st.lists(message, min_size=1, max_size=8))))
    known_sent = draw(st.sets(st.sampled_from(sorted(messages))))
    in_doubt = set(messages) - known_sent
    sent = draw(st.sets(st.sampled_from(sorted(in_doubt)))) if in_doubt else set()
    # live producers write the match keys of messages, and contents of their own
    made = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(10, 12)), max_size=3)) if live else []
    candidates = dict(enumerate([*(messages[offset] for offset in sorted(known_sent | sent)), *made], start=100))
    return Truth(messages, known_sent, in_doubt, sent, candidates)


def matched(truth: Truth) -> Matching:
    def part(offsets: set[int], index: int) -> dict[int, int]:
        return {offset: truth.messages[offset][index] for offset in offsets}

    rows = {offset: row[0] for offset, row in truth.candidates.items()}
    groups = group_by_key(part(truth.known_sent, 0), part(truth.in_doubt, 0), rows)
    matching = match_by_count(groups, ordered=False, by_content=True)
    contents = {offset: row[1] for offset, row in {**truth.messages, **truth.candidates}.items()}
    split: list[MatchGroup] = []
    for group in groups_to_compare(matching, everything=True):
        parts = (group.known_sent, group.in_doubt, group.candidates)
        split += group_by_key(*({offset: contents[offset] for offset in part} for part in parts))
    return match_by_content(matching, split)


def check(truth: Truth) -> None:
    matching = matched(truth)
    assert sorted([*matching.sent, *matching.unsent, *matching.unknown]) == sorted(truth.in_doubt)
    # of messages with equal content it does not matter which was sent
    sent = Counter(truth.messages[offset] for offset in matching.sent)
    resolved = Counter(truth.messages[offset] for offset in (*matching.sent, *matching.unsent))
    in_doubt = Counter(truth.messages[offset] for offset in truth.in_doubt)
    really = Counter(truth.messages[offset] for offset in truth.sent)
    assert all(sent[message] == really[message] for message in resolved if resolved[message] == in_doubt[message])


@given(truths(live=False))
def test_on_a_quiet_topic_every_answer_is_right(truth: Truth) -> None:
    """Nobody but us writes."""
    check(truth)


@given(truths(live=True))
def test_live_producers_of_look_alikes_fool_nobody(truth: Truth) -> None:
    """Their contents differ, and if contents are not enough, the answer is unknown."""
    check(truth)


def test_equal_contents_of_live_producers_stay_unknown() -> None:
    """One candidate too many means that any other may be a producer's, too."""
    matching = match_by_count([MatchGroup([1], [2], [101, 102, 103])], ordered=False)

    assert match_by_content(matching, [MatchGroup([1], [2], [101, 102, 103])]).unknown == [2]


def test_in_order_the_first_of_equal_messages_were_sent() -> None:
    """Counting is then enough."""
    matching = match_by_count([MatchGroup([], [3, 5, 7], [101, 102])], ordered=True)

    assert (matching.sent, matching.unsent) == ([3, 5], [7])


def test_a_known_message_without_a_row_is_missing() -> None:
    """Then its twins in doubt were not sent."""
    matching = match_by_count([MatchGroup([1, 2], [3], [101])], ordered=True)

    assert (matching.missing, matching.unsent, matching.copies) == ([2], [3], [101])


def test_candidates_that_match_no_message_are_no_copies() -> None:
    """A group without a message of ours is ignored."""
    matching = match_by_count([MatchGroup([], [], [101])], ordered=True)

    assert (matching.copies, matching.unclear) == ([], [])


def test_few_contents_are_compared_if_only_messages_in_doubt_matter() -> None:
    """The other groups only show whether producers repeat contents; a few are enough."""
    sure = [MatchGroup([number], [], [100 + number, 200 + number]) for number in range(9)]
    matching = Matching(unclear=[*sure, MatchGroup([20], [21], [120, 121, 122])])

    assert len(groups_to_compare(matching, everything=True)) == 10
    assert len(groups_to_compare(matching, everything=False)) == 6
    assert groups_to_compare(Matching(unclear=sure), everything=False) == []
