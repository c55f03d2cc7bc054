"""
Which rows are copies, of which messages: by counting groups that look alike, then by contents. Pure decisions.

What is evidence for what
-------------------------
A *source* is a message that was posted: *known* if the service acknowledged it, *open* if no answer says whether it was
executed. Its *span* is the time in which its copy can have been appended. The sources of all executions whose sending
touches are matched together with all *rows* that came after the marks: a copy does not say who made it, so it proves
something only if nobody else can have made it.

A copy and its source have the same match key (``copy_traits``). In a group of equal keys, let *K* be the known and *O*
the open sources, and *R* the rows inside the span of any of them:

==============  =======================================================================================================
R = K, O = 0    Each known source has its copy, whoever made which, if each row can be given to a source in whose span
                it lies. So a row of a producer stands for a lost copy only if it has the same key *and* came just when
                the lost message was posted.
R < K, O = 0    Copies are missing: late, lost, or of another look.
all else        Counting cannot tell: contents must.
==============  =======================================================================================================

Counting is believed only in a quiet partition: if there is a row of unknown origin that has the look of a source,
producers write look-alikes, and each group of the partition is split by content. So are all groups if pairs disagree on
what a copy keeps, and all those of a partition in which one execution sent one by one and the rows do not have that
order; and, where there are few messages, all groups of all. In a part of equal key *and* content every row inside a
span is a copy, unless there are more rows than POSTs: then somebody else writes the same, and nothing tells which rows
are theirs; none of them is called a copy. A row outside every span is never one, whatever its content.

A message that was sent again without knowing what became of it (*spare*) may have more than one copy: its rows are told
by content alone, and all of them are its copies.

An open source was *sent* if its part holds exactly one row for each known and each open source. It has *no copy* if no
row has its content that is not outside its span. Everything else is unclear: a wrong answer would lose a message, or
send it twice.

What cannot be known
--------------------
* A producer's message that is equal in content to a copy that was lost. Nobody can tell it from the copy.
* In a group that was only counted: a producer's look-alike that came within the POST interval of a lost message, when
  no other row shows that producers write look-alikes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Shown

_FEW_ROWS = 64
"""So many rows are all compared with a message in doubt before it counts as not sent."""

Contents: TypeAlias = Mapping["MessageRef", Hashable]
"""The contents that were read; ``None`` for one that the service does not return."""


class Source(NamedTuple):
    """A message that was posted by one execution."""

    shown: Shown
    token: str
    """Of the execution."""
    known: bool
    """Whether it was acknowledged; otherwise nobody knows whether it was executed."""
    start_ms: int
    end_ms: int
    """When its copy may have been appended, both ends included."""
    spare: int = 0
    """How many copies more it may have, from earlier POSTs of the same message that nobody knows to be executed."""

    @property
    def ref(self) -> MessageRef:
        """Which message."""
        return self.shown.ref

    def covers(self, row: Shown) -> bool:
        """Return whether a row came in the span of this source."""
        return self.start_ms <= row.time_ms <= self.end_ms


@dataclass(slots=True)
class Group:
    """Sources and rows of equal match key, or of equal key and content."""

    sources: list[Source] = field(default_factory=list)
    rows: list[Shown] = field(default_factory=list)

    @property
    def known(self) -> list[Source]:
        """The sources that were acknowledged."""
        return [source for source in self.sources if source.known]

    @property
    def refs(self) -> list[MessageRef]:
        """Every message and row; each costs a request to read its content."""
        return list(dict.fromkeys([*(source.ref for source in self.sources), *(row.ref for row in self.rows)]))


@dataclass(slots=True)
class Matching:
    """What became of the sources, as far as the evidence goes."""

    copies: list[tuple[Source, Shown]] = field(default_factory=list)
    """Rows that surely are copies, shared out among sources that are equal to each other."""
    spare_copies: list[tuple[str, Shown]] = field(default_factory=list)
    """Rows that surely are copies, but nothing tells of which source; with the execution, if that is known."""
    missing: list[Source] = field(default_factory=list)
    """Known sources for which there is no row."""
    short: list[Source] = field(default_factory=list)
    """Known sources in groups with fewer rows than sources: some copies are late, lost, or look different."""
    unclear: list[Source] = field(default_factory=list)
    """Sources of which nothing can be said."""
    sent: list[Source] = field(default_factory=list)
    """Open sources that were sent."""
    absent: list[Source] = field(default_factory=list)
    """Open sources without a copy, as far as the rows go."""
    strays: list[Shown] = field(default_factory=list)
    """Rows that no source explains."""
    wanted: list[list[MessageRef]] = field(default_factory=list)
    """Of which messages and rows the contents would tell more, the most telling first."""


def group_by_key(sources: Iterable[Source], rows: Iterable[Shown], kept: KeptTraits) -> dict[Hashable, Group]:
    """Group sources and rows by match key."""
    groups: dict[Hashable, Group] = defaultdict(Group)
    for source in sources:
        groups[kept.key_of_source(source.shown)].sources.append(source)
    for row in rows:
        groups[kept.key_of_row(row)].rows.append(row)
    return groups


def pair_up(sources: Sequence[Source], rows: Sequence[Shown], *, spare: bool = True) -> list[tuple[Source, Shown]]:
    """Give each row a source of its own in whose span it lies, for as many rows as possible; ``spare`` allows more."""
    posts = (source for source in sources for _ in range(1 + (source.spare if spare else 0)))
    waiting = sorted(posts, key=lambda source: (source.start_ms, source.ref), reverse=True)
    started: list[tuple[int, int, Source]] = []
    pairs = []
    # of the spans that have begun, the one that ends first cannot wait for a later row
    for row in sorted(rows, key=lambda row: (row.time_ms, row.ref)):
        while waiting and waiting[-1].start_ms <= row.time_ms:
            source = waiting.pop()
            heappush(started, (source.end_ms, -len(waiting), source))
        while started and started[0][0] < row.time_ms:
            heappop(started)
        if started:
            pairs.append((heappop(started)[-1], row))
    return pairs


def match(
    sources: Iterable[Source],
    rows: Iterable[Shown],
    kept: KeptTraits,
    contents: Contents,
    mixed: Collection[Hashable] = (),
    *,
    ordered: Collection[str] = (),
    counts: bool = True,
    slack_ms: int = 0,
) -> Matching:
    """
    Match sources with rows, by the contents that are known, else by counting, if that ``counts``.

    ``mixed`` are match keys of rows that were left out as copies of others. Which of equal rows were given to them is
    arbitrary, so in groups of these keys contents do not count, and nothing is missing. ``ordered`` are the executions
    that send the messages of a partition one after the other. The time of a row of equal content may be off by
    ``slack_ms`` more.
    """
    groups = group_by_key(sources, rows, kept)
    matching = Matching()
    # partitions in which producers write look-alikes
    loud = {key[0] for key, group in groups.items() if group.sources and key not in mixed and not _is_quiet(group)}  # type: ignore[index]
    loud |= _out_of_order(groups, ordered, kept)
    counted = []
    for key, group in groups.items():
        believed = key in mixed or (counts and key[0] not in loud)  # type: ignore[index]
        if not group.sources:
            matching.strays += group.rows
        elif kept.steady and believed and _is_exact(group):
            matching.copies += pair_up(group.sources, group.rows)
        elif key in mixed:
            matching.unclear += group.sources
            matching.short += group.known if len(group.rows) < len(group.sources) else []
        elif all(contents.get(ref) is not None for ref in group.refs):
            for part in _split(group, contents):
                _match_by_content(part, matching, slack_ms)
        else:
            counted.append(group)
    for group in sorted(counted, key=_urgency):
        _count(group, matching)
        _want(group.refs, contents, matching)
    return matching


def settle(
    in_doubt: Sequence[Source],
    others: Iterable[Source],
    rows: Iterable[Shown],
    kept: KeptTraits,
    contents: Contents,
    *,
    thorough: bool,
) -> Matching:
    """
    Decide about some open sources, always by contents; fills ``sent``, ``absent``, ``unclear`` and ``wanted``.

    Less is read than to match whole groups: these, the rows in their spans, and what else may explain those rows. Only
    with ``thorough`` is a source really absent: then rows of another look are compared, too, all of them if they are
    few, else those of which there are more than sources of their look.
    """
    groups = group_by_key([*in_doubt, *others], rows, kept)
    mine = {id(source) for source in in_doubt}
    matching = Matching()
    strays = _strays(groups.values(), in_doubt, kept) if thorough else []
    for group in groups.values():
        open_here = [source for source in group.sources if id(source) in mine]
        if not open_here:
            continue
        near = list({row.ref: row for row in _covered([*group.rows, *strays], open_here)}.values())
        refs = [*(source.ref for source in open_here), *(row.ref for row in near)]
        if _want(refs, contents, matching):
            matching.unclear += open_here
            continue
        twins = [source for source in group.sources if id(source) not in mine]
        for part in _split(Group(open_here, near), contents):
            _settle_part(part, twins, group.rows, contents, matching)
    return matching


def _strays(groups: Iterable[Group], in_doubt: Sequence[Source], kept: KeptTraits) -> list[Shown]:
    """Return rows that may be copies of messages in doubt in another look than is expected."""
    groups = list(groups)
    near = _covered((row for group in groups for row in group.rows), in_doubt)
    if len(near) <= _FEW_ROWS or not kept.steady:
        return near
    start_ms, end_ms = min(one.start_ms for one in in_doubt), max(one.end_ms for one in in_doubt)
    strays = []
    for group in groups:
        found = _covered(group.rows, in_doubt)
        at_that_time = [one for one in group.sources if one.start_ms <= end_ms and start_ms <= one.end_ms]
        if len(found) > len(at_that_time):
            strays += found
    return strays


def _settle_part(
    part: Group, twins: Sequence[Source], rows: Sequence[Shown], contents: Contents, matching: Matching
) -> None:
    """
    Decide about open sources of equal key and content, ``part``; ``twins`` and ``rows`` are of equal key.

    Several sources may be POSTs of one message. Of the rows, each known twin has one, and others if it has spares.
    """
    if not part.sources:
        return
    posted = {source.ref for source in part.sources if _covered(part.rows, [source])}
    matching.absent += [source for source in part.sources if source.ref not in posted]
    left = [source for source in part.sources if source.ref in posted]
    if not left:
        return
    twins, together = _related(twins, part.rows, rows, contents[left[0].ref], contents, matching)
    expected = {row.ref for row in rows}
    known = [twin for twin in twins if twin.known]
    left_over = len(together) - _most_rows(known)
    only_posts = len(posted) == 1 and len(known) == len(twins) == _most_rows(known)
    pairs: list[tuple[Source, Shown]] = []
    if not together or any(row.ref not in expected for row in part.rows):
        pass
    elif (
        len(together) == len(known) == len(pair_up(known, together, spare=False))
        and {twin.ref for twin in twins} == posted
    ):
        # others have sent this very message, and need them all; of equal ones in one's own plan, one may be lost
        matching.absent += left
        return
    elif left_over == len(left) + len(twins) - len(known) or (only_posts and 0 < left_over < len(left)):
        pairs = pair_up([*left, *twins], together)
    mine = {id(source) for source in left}
    sent = [(source, row) for source, row in pairs if id(source) in mine]
    if len(pairs) == len(together) and {source.ref for source, _ in sent} == posted:
        matching.sent += [source for source, _ in sent]
        matching.copies += sent
    else:
        matching.unclear += left


def _related(
    twins: Sequence[Source],
    found: Sequence[Shown],
    rows: Sequence[Shown],
    content: Hashable,
    contents: Contents,
    matching: Matching,
) -> tuple[list[Source], list[Shown]]:
    """
    Return the sources of equal content that may have made some rows, and all rows that those may have made.

    Whoever may have made one of the rows may have made others, and those others again. Without all contents, nothing.
    """
    together = list(found)
    while True:
        related = _covering(twins, together)
        if _want([twin.ref for twin in related], contents, matching):
            return [], []
        related = [twin for twin in related if contents[twin.ref] == content]
        near = _covered(rows, related)
        if _want([row.ref for row in near], contents, matching):
            return [], []
        before = len(together)
        together = list({row.ref: row for row in [*together, *near] if contents[row.ref] == content}.values())
        if len(together) == before:
            return related, together


def _covering(sources: Iterable[Source], rows: Sequence[Shown]) -> list[Source]:
    return [source for source in sources if _covered(rows, [source])]


def _covered(rows: Iterable[Shown], sources: Sequence[Source]) -> list[Shown]:
    return [row for row in rows if any(source.covers(row) for source in sources)]


def _want(refs: list[MessageRef], contents: Contents, matching: Matching) -> bool:
    """Ask for the contents of some messages; return whether any of them is not known."""
    if any(ref not in contents for ref in refs):
        matching.wanted.append(refs)
    return any(contents.get(ref) is None for ref in refs)


def _is_quiet(group: Group) -> bool:
    """Return whether every row may be a copy, so that nothing shows that producers write look-alikes."""
    return len(group.rows) <= _most_rows(group.sources) and len(pair_up(group.sources, group.rows)) == len(group.rows)


def _is_exact(group: Group) -> bool:
    """Return whether counting shows that each source has its own row."""
    sources, rows = group.sources, group.rows
    known = all(source.known and not source.spare for source in sources)
    return known and len(rows) == len(sources) == len(pair_up(sources, rows))


def _out_of_order(groups: Mapping[Hashable, Group], ordered: Collection[str], kept: KeptTraits) -> set[Hashable]:
    """Return partitions whose rows do not look like the messages that one execution sent there one by one."""
    if not ordered or not kept.same_partition or kept.same_time:
        return set()
    sources: dict[Hashable, list[tuple[int, Hashable, str]]] = defaultdict(list)
    rows: dict[Hashable, list[tuple[int, Hashable]]] = defaultdict(list)
    for key, group in groups.items():
        if group.sources:
            partition = group.sources[0].ref[0]
            sources[partition] += [(source.ref[1], key, source.token) for source in group.sources]
            rows[partition] += [(row.ref[1], key) for row in group.rows]
    return {
        partition
        for partition, posted in sources.items()
        if posted[0][2] in ordered
        and len({token for _, _, token in posted}) == 1
        and len(posted) == len(rows[partition])
        and [key for _, key, _ in sorted(posted, key=lambda one: one[0])]
        != [key for _, key in sorted(rows[partition], key=lambda one: one[0])]
    }


def _most_rows(sources: Iterable[Source]) -> int:
    return sum(1 + source.spare for source in sources)


def _urgency(group: Group) -> tuple[bool, int]:
    # what is in doubt, or has rows too many, cannot be told without contents; the small groups first
    return _is_quiet(group) and all(source.known for source in group.sources), len(group.refs)


def _count(group: Group, matching: Matching) -> None:
    """Say what counting can say: without a row there is no copy."""
    if not group.rows:
        matching.missing += group.known
        matching.short += group.known
        matching.absent += [source for source in group.sources if not source.known]
        return
    short = len(group.sources) - len(group.rows)
    if short > 0 and len({source.token for source in group.sources}) == 1 and len(group.known) == len(group.sources):
        # which of them are missing is a guess by time, that so many are is none
        paired = {source.ref for source, _ in pair_up(group.sources, group.rows)}
        missing = [source for source in group.sources if source.ref not in paired][:short]
        matching.missing += missing
        matching.unclear += [source for source in group.sources if source not in missing]
    else:
        matching.unclear += group.sources
    # for a message that is in doubt for good nobody waits
    if len(group.rows) < len(group.known):
        matching.short += group.known


def _split(group: Group, contents: Contents) -> Iterable[Group]:
    parts: dict[Hashable, Group] = defaultdict(Group)
    for source in group.sources:
        parts[contents[source.ref]].sources.append(source)
    for row in group.rows:
        parts[contents[row.ref]].rows.append(row)
    return parts.values()


def _match_by_content(part: Group, matching: Matching, slack_ms: int) -> None:
    """Match sources and rows of equal key and content."""
    sources = part.sources
    if slack_ms:
        sources = [one._replace(start_ms=one.start_ms - slack_ms, end_ms=one.end_ms + slack_ms) for one in sources]
    # what came in no span is somebody else's
    rows = _covered(part.rows, sources)
    matching.strays += [row for row in part.rows if row not in rows]
    # what has no row in its span has none
    without = [source for source in sources if not _covered(rows, [source])]
    lost = [source for source in without if source.known]
    matching.absent += [source for source in without if not source.known]
    matching.missing += lost
    matching.short += lost
    sources = [source for source in sources if source not in without]
    if not sources:
        return
    alone = len({source.token for source in sources}) == 1 and all(source.known for source in sources)
    shared = pair_up(sources, rows)
    if len(shared) < len(rows):
        matching.unclear += sources
    elif len(rows) == _most_rows(sources) or (len(sources) == 1 and sources[0].known):
        matching.copies += shared
        matching.sent += [source for source in sources if not source.known]
    elif alone and all(not source.spare for source in sources):
        # they are equal to each other, and all of one execution: it does not matter which of them has no copy
        matching.copies += shared
        given = {id(source) for source, _ in shared}
        matching.missing += [source for source in sources if id(source) not in given]
        matching.short += sources
    else:
        matching.unclear += sources
        known = [source for source in sources if source.known]
        matching.short += known if len(rows) < len(known) else []
        matching.spare_copies += [(sources[0].token if alone else "", row) for row in rows]
