"""
What was read of a topic to find copies in it: rows, messages, contents, and what a copy keeps. Flows.

Everything is read once and kept, as long as a replay lasts; only rows that may have changed are read again. Two bounds
keep a busy topic from costing more than the sending did: rows are read on at most ``most_pages`` pages, and contents,
which take a request each, for at most ``most_contents`` messages. What they do not reach stays unclear.

*Calibration.* What a copy looks like is learned from up to three known sources, each in another partition if possible:
of the rows that came when the source was posted, most similar first, the one with its content is its copy. If no row
came at that time, the offsets after the mark are asked for one by one, since copies may keep the time of their source.
A row of any other time is an older message of equal content, or the copy of another POST. If sources are missing later
on while there are rows that nothing explains, some of them are compared in the same way: copies may have changed their
look.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.query.slices import Slice, query_page
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.verify.copy_traits import KeptTraits, Shown, learn, shown
from airflow_provider_mqs.exceptions import BadRequestError, MqsError, NotFoundError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.values.message import Rows
    from airflow_provider_mqs.core.verify.copy_matching import Source
    from airflow_provider_mqs.core.verify.source_messages import SourceMessages

_MOST_PAIRS = 3
_MOST_COMPARED = 16
"""Rows whose contents are compared with that of one source."""
_FEW = 4
"""Offsets after the mark that are asked for while copies may still be late."""

_ALWAYS = (-(2**63), 2**63)
_SHORT_MS = 60_000
"""A span that is shorter is that of one POST."""


class _TooManyRowsError(MqsError):
    """There are more rows than may be read."""


@dataclass(slots=True)
class Evidence:
    """What is known of the copies in a topic."""

    api: MqsApi
    topic: str
    sources: SourceMessages
    most_pages: int
    most_contents: int
    rows: dict[MessageRef, Shown] = field(default_factory=dict)
    """Rows that may be copies, because they came after the marks."""
    seen_s: dict[MessageRef, float] = field(default_factory=dict)
    """When each row was first seen, by ``api.monotonic``."""
    contents: dict[MessageRef, Hashable] = field(default_factory=dict)
    pairs: list[tuple[Shown, Shown]] = field(default_factory=list)
    """Known sources and rows of the same content."""
    why_incomplete: list[str] = field(default_factory=list)
    """Why rows may be missing in the last reading."""
    too_many: bool = False
    """Whether it broke off, because there are more rows than may be read; waiting does not help."""
    _compared: set[tuple[MessageRef, MessageRef]] = field(default_factory=set)

    @property
    def kept(self) -> KeptTraits | None:
        """What a copy keeps; ``None`` if no copy is known yet."""
        return learn(self.pairs)

    def read_rows(
        self, edges_ms: Sequence[int], marks: Mapping[int, int], partitions: set[int] | None = None
    ) -> Flow[None]:
        """Read the rows of a time that came after the marks, of some partitions or of all; in one part or several."""
        most_rows, count, calls = self.most_pages * self.api.settings.page_size, 0, 0
        found: list[Shown] = []
        self.too_many = False
        # what the service did not return may be there by now
        self.contents = {ref: content for ref, content in self.contents.items() if content is not None}

        def note(rows: Rows) -> None:
            nonlocal count, calls
            count, calls = count + len(rows), calls + 1
            # pages may be small, and in a crowded millisecond each row takes a request
            if count > most_rows or calls > 4 * self.most_pages:
                raise _TooManyRowsError
            for row in rows:
                if row.message_offset > marks.get(row.partition, -1):
                    ref = (row.partition, row.message_offset)
                    if ref not in self.rows:
                        found.append(shown(row.message))

        only = next(iter(partitions)) if partitions and len(partitions) == 1 else None
        reader = WindowReader(self.api, self.topic, note, partitions)
        try:
            for start_ms, end_ms in pairwise(edges_ms):
                yield from reader.read(Slice(start_ms, end_ms, only))
            self.why_incomplete = reader.why_incomplete
        except _TooManyRowsError:
            self.too_many = True
            page = yield from self.api.query_page(self.topic, edges_ms[0], edges_ms[-1], limit=1, offset=0)
            pages = page.total // self.api.settings.page_size + 1 if page.total else "too many"
            sentence = (
                f"So many messages came into the topic meanwhile that reading them takes {pages} requests; this search "
                f"may take {self.most_pages}."
            )
            self.why_incomplete = [sentence]
        for row in found:
            self._note(row)

    def read_page(self, start_ms: int, end_ms: int, marks: Mapping[int, int]) -> Flow[None]:
        """Read the first rows of a time that came after the marks, which is enough to find one that is known."""
        part = Slice(start_ms, end_ms)
        page, _ = yield from query_page(self.api, self.topic, part, limit=self.api.settings.page_size)
        for row in page.rows:
            if row.message_offset > marks.get(row.partition, -1):
                self._note(shown(row.message))

    def read_contents(self, refs: Iterable[MessageRef]) -> Flow[bool]:
        """Read contents, and return whether all could be afforded; if not, none is read."""
        unread = [ref for ref in dict.fromkeys(refs) if ref not in self.contents]
        if len(unread) > self.most_contents:
            return False
        self.most_contents -= len(unread)
        yield Parallel(self._read_content(ref) for ref in unread)
        return True

    def calibrate(
        self,
        known: Sequence[Source],
        marks: Mapping[int, int],
        taken: Collection[MessageRef],
        *,
        final: bool,
        most: int = _MOST_COMPARED,
    ) -> Flow[None]:
        """
        Learn what a copy keeps, from some known sources whose copies are in sight; ``final`` tries hardest.

        Rows that are ``taken`` are known to be copies of others.
        """
        for source in _some_of_each_partition(known):
            if len(self.pairs) >= _MOST_PAIRS:
                return
            near = [row for row in self.rows.values() if source.covers(row) and row.ref not in taken]
            if near:
                yield from self.find_copy(source, near, most)
            elif not self.pairs:
                after = max(marks.get(source.ref[0], -1), source.ref[1])
                near = yield from self._read_after(source.ref[0], after, _MOST_COMPARED if final else _FEW)
                near = [
                    row
                    for row in near
                    if row.ref not in taken and (source.covers(row) or row.time_ms == source.shown.time_ms)
                ]
                yield from self.find_copy(source._replace(start_ms=_ALWAYS[0], end_ms=_ALWAYS[1]), near)

    def recheck(self, missing: Sequence[Source], strays: Sequence[Shown]) -> Flow[bool]:
        """Compare missing sources with rows that nothing explains; return whether anything was learned."""
        before = len(self.pairs)
        for source in _some_of_each_partition(missing):
            yield from self.find_copy(source, strays)
        return len(self.pairs) > before

    def find_copy(self, source: Source, rows: Iterable[Shown], most: int = _MOST_COMPARED) -> Flow[Shown | None]:
        """Return the row in the span of a source that has its content, and learn from it; most similar rows first."""
        for pair in self.pairs:
            if pair[0].ref == source.ref:
                return pair[1]
        middle_ms = (source.start_ms + source.end_ms) // 2

        def unlikely(row: Shown) -> tuple[int, int, int]:
            # of an interval that is not known, the middle says nothing
            far_ms = abs(row.time_ms - middle_ms) if source.end_ms - source.start_ms < _SHORT_MS else 0
            return -_similarity(source.shown, row), far_ms, row.ref[1]

        near = [row for row in rows if source.covers(row) and (source.ref, row.ref) not in self._compared]
        for row in sorted(near, key=unlikely)[:most]:
            if not (yield from self.read_contents([source.ref, row.ref])):
                return None
            self._compared.add((source.ref, row.ref))
            if self.contents[source.ref] == self.contents[row.ref] is not None:
                self.pairs.append((source.shown, row))
                return row
        return None

    def _read_after(self, partition: int, offset: int, most: int) -> Flow[list[Shown]]:
        """Ask for the first messages after an offset, whatever their time."""
        refs = [(partition, offset + step) for step in range(1, most + 1)]
        if not (yield from self.read_contents(refs)):
            return []
        known = {**self.sources.shown, **self.rows}
        return [known[ref] for ref in refs if ref in known]

    def _read_content(self, ref: MessageRef) -> Flow[None]:
        try:
            message = yield from self.api.get_message(self.topic, *ref, download=True)
        except (BadRequestError, NotFoundError):
            # the documents do not say how the service answers for an offset that does not exist
            message = None
        self.contents[ref] = None if message is None else _digest(message.value or "")
        if message is not None and ref not in self.rows and ref not in self.sources.shown:
            self._note(shown(message))

    def _note(self, row: Shown) -> None:
        if row.ref not in self.rows:
            self.rows[row.ref] = row
            self.seen_s[row.ref] = self.api.monotonic()


def _digest(text: str) -> bytes:
    """Stand for a content, which may have ten megabytes."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _some_of_each_partition(sources: Sequence[Source]) -> list[Source]:
    """Return the first source of each partition, then the last of each."""
    first: dict[int, Source] = {}
    last: dict[int, Source] = {}
    for source in sources:
        first.setdefault(source.ref[0], source)
        last[source.ref[0]] = source
    chosen = [*first.values(), *(source for source in last.values() if source not in first.values())]
    return chosen[: 2 * _MOST_PAIRS]


def _similarity(source: Shown, row: Shown) -> int:
    same = sum(before == after for before, after in zip(source.traits, row.traits, strict=True))
    return same + 2 * (source.ref[0] == row.ref[0])
