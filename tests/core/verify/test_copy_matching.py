"""Which doubts were sent: judged by counting, then by contents, against what really happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.verify.copy_matching import (
    Group,
    Judgement,
    groups_of,
    judge,
    judge_by_content,
    to_compare,
)


@dataclass
class Truth:
    """
    One partition.

    :param looks: look and content by offset of each message
    :param known: surely sent
    :param doubts: may have been sent
    :param sent: those of them that were
    :param rows: look and content by offset of each candidate
    """

    looks: dict[int, tuple[int, int]]
    known: set[int]
    doubts: set[int]
    sent: set[int]
    rows: dict[int, tuple[int, int]]


@st.composite
def truths(draw: st.DrawFn, *, live: bool) -> Truth:
    look = st.tuples(st.integers(0, 2), st.integers(0, 2))
    looks = dict(enumerate(draw(st.lists(look, min_size=1, max_size=8))))
    known = draw(st.sets(st.sampled_from(sorted(looks))))
    doubts = set(looks) - known
    sent = draw(st.sets(st.sampled_from(sorted(doubts)))) if doubts else set()
    # live producers write the looks of messages, and contents of their own
    made = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(10, 12)), max_size=3)) if live else []
    rows = dict(enumerate([*(looks[offset] for offset in sorted(known | sent)), *made], start=100))
    return Truth(looks, known, doubts, sent, rows)


def judged(truth: Truth) -> Judgement:
    def part(offsets: set[int], index: int) -> dict[int, int]:
        return {offset: truth.looks[offset][index] for offset in offsets}

    by_look = groups_of(part(truth.known, 0), part(truth.doubts, 0), {o: row[0] for o, row in truth.rows.items()})
    judgement = judge(list(by_look.values()), ordered=False, by_content=True)
    split: list[Group] = []
    for group in to_compare(judgement, everything=True):
        contents = {**{o: look[1] for o, look in truth.looks.items()}, **{o: row[1] for o, row in truth.rows.items()}}
        named = [{o: contents[o] for o in offsets} for offsets in (group.known, group.doubts, group.rows)]
        split += groups_of(*named).values()
    return judge_by_content(judgement, split)


def check(truth: Truth) -> None:
    finding = judged(truth)
    assert sorted([*finding.sent, *finding.unsent, *finding.unknown]) == sorted(truth.doubts)
    # of messages with equal content it does not matter which was sent
    said = Counter(truth.looks[offset] for offset in finding.sent)
    settled = Counter(truth.looks[offset] for offset in (*finding.sent, *finding.unsent))
    doubted = Counter(truth.looks[offset] for offset in truth.doubts)
    really = Counter(truth.looks[offset] for offset in truth.sent)
    assert all(said[look] == really[look] for look in settled if settled[look] == doubted[look])


@given(truths(live=False))
def test_on_a_quiet_topic_every_verdict_is_right(truth: Truth) -> None:
    """Nobody but us writes."""
    check(truth)


@given(truths(live=True))
def test_live_producers_of_look_alikes_fool_nobody(truth: Truth) -> None:
    """Their contents differ, and where contents were not enough the verdict is unknown."""
    check(truth)


def test_equal_contents_of_live_producers_stay_unknown() -> None:
    """A row too many in one group means that any other may be foreign, too."""
    judgement = judge([Group([1], [2], [101, 102, 103])], ordered=False)

    assert judge_by_content(judgement, [Group([1], [2], [101, 102, 103])]).unknown == [2]


def test_in_order_the_first_of_equal_messages_were_sent() -> None:
    """Counting is then enough."""
    judgement = judge([Group([], [3, 5, 7], [101, 102])], ordered=True)

    assert (judgement.sent, judgement.unsent) == ([3, 5], [7])


def test_a_known_message_without_a_row_is_missing() -> None:
    """Its doubtful twins were then not sent."""
    judgement = judge([Group([1, 2], [3], [101])], ordered=True)

    assert (judgement.missing, judgement.unsent, judgement.copies) == ([2], [3], [101])


def test_rows_of_nobody_are_no_copies() -> None:
    """A group without a message of ours is left alone."""
    judgement = judge([Group([], [], [101])], ordered=True)

    assert (judgement.copies, judgement.unclear) == ([], [])


def test_few_contents_are_asked_for_where_only_doubts_matter() -> None:
    """Groups without a doubt only show whether producers repeat contents; a few are enough."""
    sure = [Group([number], [], [100 + number, 200 + number]) for number in range(9)]
    judgement = Judgement(unclear=[*sure, Group([20], [21], [120, 121, 122])])

    assert len(to_compare(judgement, everything=True)) == 10
    assert len(to_compare(judgement, everything=False)) == 6
    assert to_compare(Judgement(unclear=sure), everything=False) == []
