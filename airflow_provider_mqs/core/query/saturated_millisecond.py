"""
Read a single millisecond that holds more rows than a query shows.

Time cannot be cut further, so it is cut by partition, if the service honours that parameter. What is still too much is
walked: from the rows that are known, offset by offset, with one content query each, until another millisecond begins. A
partition of which no row is known is searched for the millisecond first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.exceptions import BadRequestError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.core.query.slices import Slice, SlicePages, SliceReader
    from airflow_provider_mqs.core.values.message import Message

_STRIDE = 100
"""Offsets walked at a time; a walk ends after as many without a row of the millisecond."""
_SHORT_STRIDE = 16
"""The same, where nothing but a number of rows that may be a cap asks for a walk."""
_MAX_WALKED = 100_000
_GAP = 16
"""Offsets tried in order to find a message near the first, since offsets have gaps."""
_MAX_DOUBLINGS = 48
_PARTITIONS_UNKNOWN = "holds more rows than are shown, and the topic's partitions are not known."


def read_millisecond(reader: SliceReader, part: Slice, reason: str) -> Flow[list[Slice]]:
    """
    Read a slice of one millisecond in every possible way; return slices of single partitions that remain to be read.

    ``reason`` says why its pages alone did not do.
    """
    if part.end_inclusive:
        pages = yield from reader.read_pages(part, up_to_cap=True)
    else:
        # if the service includes the end of a range, the next millisecond may have filled it
        pages = yield from reader.read_pages(replace(part, end_inclusive=True), up_to_cap=True)
        if pages.offsets.unique():
            part = replace(part, end_inclusive=True)
        else:
            pages = yield from reader.read_pages(part, up_to_cap=True)
            if len(part.inside(pages.kept or ())) < len(pages.kept or ()):
                return []  # it does include the end, so the first answer was right: the millisecond is empty
    if pages.complete and not reader.may_be_cut_off(pages.offsets.unique()):
        reader.note_whole(part, pages)
        return []
    if part.partition is None and (yield from _honours_partition(reader, part, pages)):
        numbers = reader.partitions or {row.partition for row in pages.kept or ()}
        if not reader.partitions:
            reader.why_incomplete.append(f"{part} {_PARTITIONS_UNKNOWN}")
        return [replace(part, partition=number) for number in numbers]
    yield from _Walk(reader, part).run(pages, reason)
    return []


def _honours_partition(reader: SliceReader, part: Slice, pages: SlicePages) -> Flow[bool]:
    """Ask for one partition; a service that ignores the parameter shows others, or other rows than that one's."""
    seen = {row.partition for row in pages.kept or ()}
    if len(seen) == 1 and len(reader.partitions or ()) == 1:
        return False
    unseen = set(reader.partitions or ()) - seen
    number = min(unseen) if unseen and len(seen) == 1 else max(seen, default=0)
    other = yield from reader.read_pages(replace(part, partition=number), up_to_cap=True)
    if any(row.partition != number for row in other.kept or ()):
        return False
    return len(seen) != 1 or number not in seen or other.total < pages.total


class _Walk:
    """Content queries in one millisecond."""

    def __init__(self, reader: SliceReader, part: Slice) -> None:
        self.found = OffsetAccumulator()
        self._reader = reader
        self._part = part
        self._asked = 0
        self._step = _STRIDE

    def run(self, pages: SlicePages, reason: str) -> Flow[None]:
        """Walk every partition from the rows that the pages showed; ``reason`` says why the pages did not do."""
        reader, part = self._reader, self._part
        known: dict[int, set[int]] = {}
        inside = part.inside(pages.kept or ())
        self._step = _SHORT_STRIDE if pages.complete else _STRIDE
        self.found.update(inside)
        for row in inside:
            known.setdefault(row.partition, set()).add(row.message_offset)
        numbers = [part.partition] if part.partition is not None else sorted({*known, *(reader.partitions or ())})
        # does the service answer for a message that certainly exists?
        sample = next(((number, min(offsets)) for number, offsets in known.items()), None)
        if sample is None or (yield from self.message_at(*sample)) is None:
            reader.why_incomplete.append(
                f"{part} could not be read completely: {reason}, and single messages cannot be read."
            )
            return
        for number in numbers:
            yield from self.partition(number, known.get(number, set()))
        found = self.found.unique()
        if found < pages.total and not pages.complete:
            reader.why_incomplete.append(
                f"{part} could not be read completely: {found} of {pages.total} rows were found."
            )
        elif found > pages.total and part.partition is None and not reader.partitions:
            reader.why_incomplete.append(f"{part} {_PARTITIONS_UNKNOWN}")

    def partition(self, number: int, known: set[int]) -> Flow[None]:
        """Walk a partition from its known rows, down, between and up."""
        if not known:
            start = yield from self._search(number)
            if start is None:
                self._give_up(number, "no message of it could be found")
                return
            known = {start}
        if max(known) - min(known) > _MAX_WALKED:
            self._too_far(number)
            return
        holes = [offset for offset in range(min(known), max(known) + 1) if offset not in known]
        for at in range(0, len(holes), _STRIDE):
            yield from self._stride(number, holes[at : at + _STRIDE])
        yield from self._onward(number, max(known) + 1, 1)
        yield from self._onward(number, min(known), -1)

    def message_at(self, number: int, offset: int) -> Flow[Message | None]:
        """Ask for one message."""
        self._asked += 1
        self._reader.check_single_messages()
        try:
            return (yield from self._reader.api.get_message(self._reader.topic, number, offset))
        except (BadRequestError, NotFoundError):
            return None

    def _onward(self, number: int, start: int, direction: int) -> Flow[None]:
        """Walk on in one direction until a full stride holds no row of the millisecond."""
        while start >= 0:
            if self._asked > _MAX_WALKED:
                self._too_far(number)
                return
            offsets = range(start, start + direction * self._step, direction)
            if not (yield from self._stride(number, [offset for offset in offsets if offset >= 0])):
                return
            start += direction * self._step

    def _stride(self, number: int, offsets: Iterable[int]) -> Flow[int]:
        rows = yield Parallel(self.message_at(number, offset) for offset in offsets)
        inside = self._part.inside([row for row in rows if row is not None])
        self._reader.deliver(inside)
        self.found.update(inside)
        return len(inside)

    def _search(self, number: int) -> Flow[int | None]:
        """
        Find the first offset whose message is not older than the millisecond, by doubling, then by halving.

        An offset without a message lies past the end of the partition, as long as no later message was seen; after
        that, it lies before its beginning (aged out).
        """
        low, high, seen_later = yield from self._bracket(number)
        if not seen_later and low < 0:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            row = yield from self._near(number, middle)
            if row is None and seen_later:
                low = middle
            elif row is None or row.message_offset >= high or row.timestamp >= self._part.start_ms:
                high = middle
            else:
                low = row.message_offset
        return high

    def _bracket(self, number: int) -> Flow[tuple[int, int, bool]]:
        """Return an offset before the millisecond (or -1), one not before it, and whether the latter was seen."""
        landmark = self._reader.landmarks.get(number)
        origin = landmark.message_offset if landmark else 0
        low = -1
        for doubling in range(_MAX_DOUBLINGS):
            offset = origin + 2**doubling - 1
            row = yield from self._near(number, offset)
            if row is not None and row.timestamp >= self._part.start_ms:
                return low, row.message_offset, True
            if row is None and low >= 0:
                return low, offset, False
            low = row.message_offset if row is not None else low
        return low, low, False

    def _near(self, number: int, offset: int) -> Flow[Message | None]:
        """Return the first message at an offset or in the few after it."""
        rows = yield Parallel(self.message_at(number, offset + step) for step in range(_GAP))
        return next((row for row in rows if row is not None), None)

    def _too_far(self, number: int) -> None:
        self._give_up(number, f"more than {_MAX_WALKED} offsets would have to be read")

    def _give_up(self, number: int, reason: str) -> None:
        self._reader.why_incomplete.append(
            f"{self._part} could not be read completely: {reason} in partition {number}."
        )
