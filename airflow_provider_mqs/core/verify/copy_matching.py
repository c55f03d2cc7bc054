"""
Which messages were sent, decided by matching them with the candidates for copies. Pure decisions on one partition.

Messages and candidates with the same match key form a group. Of its candidates, as many as there are known-sent
messages are their copies; the rest is *spare*, and what is left when every message in doubt has one is *unexplained*:
somebody else wrote it.

* No spare candidate: no message in doubt was sent. Fewer candidates than known-sent messages: copies are missing.
* As many spare candidates as messages in doubt, and nothing unexplained in the whole partition: all of them were sent.
  Fewer: if messages were sent one by one in the order of their offsets, the first ones were.
* Anything else is *unclear*. Counting can be fooled, too: a live producer may write a look-alike just as a copy is
  absent. So if contents can be had, every group with a message in doubt and a candidate is unclear.

Unclear groups are split by content and matched again. If any group then still has an unexplained candidate, producers
repeat the contents of messages, so any candidate may be theirs: every message in doubt that has one stays *unknown*. So
do messages of equal content of which only some have a copy. A wrong answer would lose a message or send it twice;
*unknown* only asks for a person.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    KeysByOffset: TypeAlias = Mapping[int, Hashable]

_REPEAT_SAMPLE = 5
"""Groups without a message in doubt that are compared only to see whether producers repeat contents."""


@dataclass(slots=True)
class MatchGroup:
    """Offsets of messages and candidates of one partition that have the same match key or content, ascending."""

    known_sent: list[int] = field(default_factory=list)
    in_doubt: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)

    @property
    def spare(self) -> int:
        """Candidates beyond the copies of known-sent messages; if negative, copies are missing."""
        return len(self.candidates) - len(self.known_sent)

    @property
    def unexplained(self) -> int:
        """Candidates that are left if every message in doubt was sent; if negative, some were not."""
        return self.spare - len(self.in_doubt)


@dataclass(slots=True)
class Matching:
    """What became of the messages of one partition, by offset."""

    sent: list[int] = field(default_factory=list)  # in doubt, and sent
    unsent: list[int] = field(default_factory=list)  # in doubt, and without a copy as far as can be seen
    unknown: list[int] = field(default_factory=list)  # in doubt, and not even contents can tell
    copies: list[int] = field(default_factory=list)  # candidates that are copies
    missing: list[int] = field(default_factory=list)  # known-sent messages without a copy
    unclear: list[MatchGroup] = field(default_factory=list)  # counting cannot tell which candidates are copies

    def resolve(self, group: MatchGroup, sent: int) -> None:
        """Record that the first messages in doubt of a group were sent, and the others were not."""
        self.sent += group.in_doubt[:sent]
        self.unsent += group.in_doubt[sent:]


def group_by_key(known_sent: KeysByOffset, in_doubt: KeysByOffset, candidates: KeysByOffset) -> list[MatchGroup]:
    """Group the messages and candidates of one partition that have the same key."""
    groups: dict[Any, MatchGroup] = defaultdict(MatchGroup)
    for offset in sorted(known_sent):
        groups[known_sent[offset]].known_sent.append(offset)
    for offset in sorted(in_doubt):
        groups[in_doubt[offset]].in_doubt.append(offset)
    for offset in sorted(candidates):
        groups[candidates[offset]].candidates.append(offset)
    return list(groups.values())


def match_by_count(groups: Sequence[MatchGroup], *, ordered: bool, by_content: bool = False) -> Matching:
    """
    Match one partition by counting alone.

    ``ordered``: messages were sent one by one in the order of their offsets, so that of equal ones the first were sent.
    ``by_content``: contents will be compared, so that messages in doubt that have a candidate are left ``unclear``.
    """
    quiet = all(group.unexplained <= 0 for group in groups)
    matching = Matching()
    for group in groups:
        if by_content and group.in_doubt and group.candidates:
            matching.unclear.append(group)
            continue
        if group.spare <= 0:
            matching.resolve(group, 0)
            matching.missing += group.known_sent[len(group.candidates) :]
        elif group.unexplained <= 0 and quiet and (ordered or not group.unexplained):
            matching.resolve(group, group.spare)
        elif group.in_doubt or (group.known_sent and group.unexplained):
            matching.unclear.append(group)
            continue
        if group.known_sent or group.in_doubt:
            matching.copies += group.candidates
    return matching


def groups_to_compare(matching: Matching, *, everything: bool) -> list[MatchGroup]:
    """
    Return the unclear groups whose contents are worth one request for each message and candidate.

    With ``everything`` each copy is wanted; else only groups with messages in doubt, and a sample of the others.
    """
    in_doubt = [group for group in matching.unclear if group.in_doubt]
    others = [group for group in matching.unclear if not group.in_doubt]
    if everything:
        return in_doubt + others
    return in_doubt + others[:_REPEAT_SAMPLE] if in_doubt else []


def match_by_content(matching: Matching, groups: Sequence[MatchGroup]) -> Matching:
    """Complete a matching with the compared groups, split by content; ``unclear`` keeps what contents cannot tell."""
    repeated = any(group.unexplained > 0 for group in groups if group.known_sent or group.in_doubt)
    matching.unclear = []
    for group in groups:
        if group.spare <= 0:
            matching.resolve(group, 0)
            matching.missing += group.known_sent[len(group.candidates) :]
        elif group.in_doubt and (repeated or group.unexplained):
            matching.unknown += group.in_doubt
        elif group.in_doubt:
            matching.resolve(group, group.spare)
        if not (group.known_sent or group.in_doubt):
            continue
        if group.unexplained > 0:
            matching.unclear.append(group)
        else:
            matching.copies += group.candidates
    return matching
