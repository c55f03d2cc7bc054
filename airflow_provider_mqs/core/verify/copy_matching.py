"""
Which messages were sent, judged from the rows that came after the sending began. Pure decisions, by counting.

Messages that look alike are one group. A group that has as many rows as messages was sent; one that has no row beyond
those of the messages that were surely sent was not. Whatever live producers may have added needs the contents, and what
contents cannot tell apart stays unknown: a wrong verdict would lose a message, or send it twice.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    Marks: TypeAlias = Mapping[int, Hashable]
    """What a message or row looks like, by offset."""

_ECHO_SAMPLE = 5


@dataclass(slots=True)
class Group:
    """
    Messages and rows of one partition that look alike.

    :param known: offsets that were surely sent
    :param doubts: offsets that may have been sent, ascending
    :param rows: offsets of candidates
    """

    known: list[int] = field(default_factory=list)
    doubts: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    @property
    def spare(self) -> int:
        """Rows beyond the copies of what was surely sent; below zero, copies are missing."""
        return len(self.rows) - len(self.known)

    @property
    def surplus(self) -> int:
        """Rows that no message of the plan explains."""
        return self.spare - len(self.doubts)


@dataclass(slots=True)
class Judgement:
    """
    The verdicts on one partition.

    :param sent: doubts that were sent
    :param unsent: doubts that have no copy, as far as can be seen
    :param unknown: doubts that cannot be told
    :param copies: rows that are copies
    :param missing: surely sent messages that have no copy
    :param unclear: groups that have more rows than messages: some are not copies, and contents must tell which
    """

    sent: list[int] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    unclear: list[Group] = field(default_factory=list)


def groups_of(known: Marks, doubts: Marks, rows: Marks) -> dict[Any, Group]:
    """
    Sort messages and rows by what they look like.

    :param known: surely sent messages of one partition
    :param doubts: messages in doubt
    :param rows: candidates
    :return: the groups by look
    """
    groups: dict[Any, Group] = defaultdict(Group)
    for offset in sorted(known):
        groups[known[offset]].known.append(offset)
    for offset in sorted(doubts):
        groups[doubts[offset]].doubts.append(offset)
    for offset in sorted(rows):
        groups[rows[offset]].rows.append(offset)
    return dict(groups)


def judge(groups: Sequence[Group], *, ordered: bool, by_content: bool = False) -> Judgement:
    """
    Judge one partition by counting alone.

    Counting is fooled where live producers write just as many look-alikes as copies are absent, so it is enough for
    messages that were surely sent, and settles doubts only where contents cannot be had.

    :param groups: what looks alike
    :param ordered: whether messages were sent one by one in the order of their offsets, so that of equal ones the first
        were sent
    :param by_content: whether contents will be compared, so that doubts beside a row are left ``unclear``
    :return: the verdicts; groups with doubts that counting cannot settle are ``unclear``, with their doubts in no list
    """
    quiet = all(group.surplus <= 0 for group in groups)
    judgement = Judgement()
    for group in groups:
        if by_content and group.doubts and group.rows:
            judgement.unclear.append(group)
            continue
        if group.spare <= 0:
            _settle(judgement, group, 0)
            judgement.missing += group.known[len(group.rows) :]
        elif group.surplus <= 0 and quiet and (ordered or not group.surplus):
            _settle(judgement, group, group.spare)
        elif group.doubts or (group.known and group.surplus):
            judgement.unclear.append(group)
            continue
        if group.known or group.doubts:
            judgement.copies += group.rows
    return judgement


def _settle(judgement: Judgement, group: Group, sent: int) -> None:
    judgement.sent += group.doubts[:sent]
    judgement.unsent += group.doubts[sent:]


def to_compare(judgement: Judgement, *, everything: bool) -> list[Group]:
    """
    Choose the groups whose contents are worth a request for each of their messages and rows.

    :param judgement: what counting left
    :param everything: whether each copy is wanted; else only groups with doubts, and a few others that show whether
        live producers repeat the contents of messages
    :return: the groups
    """
    in_doubt = [group for group in judgement.unclear if group.doubts]
    others = [group for group in judgement.unclear if not group.doubts]
    if everything:
        return in_doubt + others
    return in_doubt + others[:_ECHO_SAMPLE] if in_doubt else []


def judge_by_content(judgement: Judgement, groups: Sequence[Group]) -> Judgement:
    """
    Judge what counting left, by contents.

    :param judgement: what counting settled; its ``unclear`` groups are replaced by those of ``groups``
    :param groups: the groups of ``to_compare``, split by content
    :return: the verdicts; ``unclear`` keeps what even contents cannot tell apart
    """
    echo = any(group.surplus > 0 for group in groups if group.known or group.doubts)
    judgement.unclear = []
    for group in groups:
        if group.spare <= 0:
            _settle(judgement, group, 0)
            judgement.missing += group.known[len(group.rows) :]
        elif group.doubts and (echo or group.surplus):
            judgement.unknown += group.doubts
        elif group.doubts:
            _settle(judgement, group, group.spare)
        if not (group.known or group.doubts):
            continue
        if group.surplus > 0:
            judgement.unclear.append(group)
        else:
            judgement.copies += group.rows
    return judgement
