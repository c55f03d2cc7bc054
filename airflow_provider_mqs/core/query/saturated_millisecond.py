"""
Read a single millisecond that holds more rows than a query shows.

Time cannot be cut further, so it is cut by partition, where the service heeds that parameter. What is still too much is
walked: from the rows that are known, offset by offset, with one content query each, up to where another millisecond
begins. A partition of which no row is known is searched for the millisecond first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.offsets.accumulator import OffsetAccumulator
from airflow_provider_mqs.exceptions import BadRequestError, NotFoundError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.query.slices import Shown, Slice
    from airflow_provider_mqs.core.query.window_reader import WindowReader
    from airflow_provider_mqs.core.values.message import Message

_STRIDE = 100
"""Offsets walked at a time; a walk ends behind as many without a row of the millisecond."""
_MAX_WALKED = 100_000
_GAP = 16
"""Offsets looked at to find a message near a place, since offsets have gaps."""
_MAX_DOUBLINGS = 48


def read_millisecond(reader: WindowReader, part: Slice, reason: str) -> Flow[None]:
    """
    Read a slice of one millisecond by every way there is.

    :param reader: whose sink gets the rows, and whose ``doubts`` a sentence where some may be missing
    :param part: one millisecond, perhaps of one partition
    :param reason: why it could not simply be read
    """
    if part.counts_end:
        shown = yield from reader.look(part, up_to_cap=True)
    else:
        # the next millisecond may have filled the range, where the service counts its end in
        shown = yield from reader.look(replace(part, counts_end=True), up_to_cap=True)
        if shown.rows.unique():
            part = replace(part, counts_end=True)
        else:
            shown = yield from reader.look(part, up_to_cap=True)
            if len(part.inside(shown.kept or ())) < len(shown.kept or ()):
                return  # the service does count the end in, so the first look was right: nothing is in here
    if shown.whole:
        return
    if part.partition is None and (yield from _heeds_partition(reader, part, shown)):
        numbers = reader.partitions or {row.partition for row in shown.kept or ()}
        yield Parallel(reader.read(replace(part, partition=number)) for number in numbers)
        if not reader.partitions:
            reader.doubts.append(f"{part} holds more rows than are shown, and the topic's partitions are not known.")
        return
    yield from _walk_all(reader, part, shown, reason)


def _heeds_partition(reader: WindowReader, part: Slice, shown: Shown) -> Flow[bool]:
    """Ask for each partition that was seen; a service that ignores the parameter shows others, too."""
    seen = {row.partition for row in shown.kept or ()}
    if len(seen) == 1 and len(reader.partitions or ()) == 1:
        return False
    number = max(seen, default=0)
    other = yield from reader.look(replace(part, partition=number), up_to_cap=True)
    return all(row.partition == number for row in other.kept or ()) and other.total < shown.total


def _walk_all(reader: WindowReader, part: Slice, shown: Shown, reason: str) -> Flow[None]:
    known: dict[int, set[int]] = {}
    walk = _Walk(reader, part)
    inside = part.inside(shown.kept or ())
    walk.found.update(inside)
    for row in inside:
        known.setdefault(row.partition, set()).add(row.message_offset)
    numbers = [part.partition] if part.partition is not None else sorted({*known, *(reader.partitions or ())})
    if not known or not (yield from walk.answers(known)):
        reader.doubts.append(f"{part} could not be read whole: {reason}, and single messages cannot be asked for.")
        return
    for number in numbers:
        yield from walk.partition(number, known.get(number, set()))
    found = walk.found.unique()
    if found < shown.total:
        reader.doubts.append(f"{part} could not be read whole: {found} of {shown.total} rows were found.")
    elif found > shown.total and part.partition is None and not reader.partitions:
        reader.doubts.append(f"{part} holds more rows than are shown, and the topic's partitions are not known.")


class _Walk:
    """
    Content queries in one millisecond.

    :param reader: whose sink gets the rows
    :param part: the millisecond
    """

    def __init__(self, reader: WindowReader, part: Slice) -> None:
        self.found = OffsetAccumulator()
        self._reader = reader
        self._part = part
        self._asked = 0

    def answers(self, known: dict[int, set[int]]) -> Flow[bool]:
        """Try whether the service answers for a message that is surely there."""
        number, offsets = next(iter(known.items()))
        return (yield from self._at(number, min(offsets))) is not None

    def partition(self, number: int, known: set[int]) -> Flow[None]:
        """Walk a partition from its known rows, down, between and up."""
        if not known:
            start = yield from self._search(number)
            if start is None:
                self._doubt(number, "no message of it could be found")
                return
            known = {start}
        if max(known) - min(known) > _MAX_WALKED:
            self._too_far(number)
            return
        holes = [offset for offset in range(min(known), max(known) + 1) if offset not in known]
        for at in range(0, len(holes), _STRIDE):
            yield from self._stride(number, holes[at : at + _STRIDE])
        yield from self._run(number, max(known) + 1, 1)
        yield from self._run(number, min(known), -1)

    def _run(self, number: int, start: int, direction: int) -> Flow[None]:
        """Go on in one direction until a whole stride holds no row of the millisecond."""
        while start >= 0:
            places = range(start, start + direction * _STRIDE, direction)
            if self._asked > _MAX_WALKED:
                self._too_far(number)
                return
            if not (yield from self._stride(number, [place for place in places if place >= 0])):
                return
            start += direction * _STRIDE

    def _stride(self, number: int, places: list[int]) -> Flow[int]:
        rows = yield Parallel(self._at(number, place) for place in places)
        inside = self._part.inside([row for row in rows if row is not None])
        self._reader.take(inside)
        self.found.update(inside)
        return len(inside)

    def _search(self, number: int) -> Flow[int | None]:
        """
        Find the first offset whose message is not older than the millisecond, by doubling, then by halving.

        An offset without a message lies behind the end of the partition, as long as no later message was seen; after
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
            place = origin + 2**doubling - 1
            row = yield from self._near(number, place)
            if row is not None and row.timestamp >= self._part.start_ms:
                return low, row.message_offset, True
            if row is None and low >= 0:
                return low, place, False
            low = row.message_offset if row is not None else low
        return low, low, False

    def _near(self, number: int, offset: int) -> Flow[Message | None]:
        """Give the first message at an offset or in the few behind it."""
        rows = yield Parallel(self._at(number, offset + step) for step in range(_GAP))
        return next((row for row in rows if row is not None), None)

    def _at(self, number: int, offset: int) -> Flow[Message | None]:
        self._asked += 1
        try:
            return (yield from self._reader.api.get_message(self._reader.topic, number, offset))
        except (BadRequestError, NotFoundError):
            return None

    def _too_far(self, number: int) -> None:
        self._doubt(number, f"more than {_MAX_WALKED} offsets would have to be asked for")

    def _doubt(self, number: int, reason: str) -> None:
        self._reader.doubts.append(f"{self._part} could not be read whole in partition {number}: {reason}.")
