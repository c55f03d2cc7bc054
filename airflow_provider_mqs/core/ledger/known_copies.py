"""
Which rows of a window are copies that earlier replays made: later queries leave them out, or they would be sent again.

An execution touches the window if it may have been sending within it, in the service's time; a window that ended before
its first POST is not touched. If its copies may keep the time of their sources, it also touches a window that its plan
touches, but only with rows that came after it began: the last offsets before its first POST tell which these are.

An execution that touches the window and whose copies nobody knows makes the window incomplete; it is never ignored. Its
copies may be known to others only (see ``findings``). A message that was acknowledged and surely has no copy leaves no
gap: all copies that exist are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Call, drive
from airflow_provider_mqs.core.ledger.topic_ledgers import ledgers_of
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow, iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_mqs.core.client.flow import Flow, Step
    from airflow_provider_mqs.core.ledger.index import IndexEntry
    from airflow_provider_mqs.core.ledger.ledger import Ledger
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.message import Message, Row, Rows
    from airflow_provider_mqs.core.values.topic_ref import TopicRef

MARGIN_MS = 2_000
"""How far the timestamp of a copy may lie from the service's clock: gateway and broker have clocks of their own."""


@dataclass(frozen=True, slots=True)
class KnownCopies:
    """The copies in a window, and a sentence for each replay whose copies are not known."""

    offsets: OffsetsByPartition = field(default_factory=dict)
    why_incomplete: tuple[str, ...] = ()
    suspects: tuple[tuple[Mapping[int, int], str], ...] = ()
    """Last offsets before a replay whose copies may have the time of their sources, and the sentence for it."""

    def unknown_among(self, originals: Rows) -> set[str]:
        """Return a sentence for each replay that may have made one of the rows, going by their offsets."""
        return {
            sentence
            for last_offsets, sentence in self.suspects
            if any(row.message_offset > last_offsets.get(row.partition, -1) for row in originals)
        }

    def split(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the copies among the rows, and the originals."""
        if not self.offsets:
            return (), rows
        copies: list[Row | Message] = []
        originals: list[Row | Message] = []
        for row in rows:
            is_copy = offset_ranges.contains(self.offsets.get(row.partition, ()), row.message_offset)
            (copies if is_copy else originals).append(row)
        return copies, originals


def known_copies(stores: Sequence[Store], window: TimeWindow, ref: TopicRef) -> Flow[KnownCopies]:
    """Find the copies that earlier replays put into a window of a topic. Read-only."""
    start_ms, end_ms = window.start_ms - MARGIN_MS, window.end_ms + MARGIN_MS

    def may_touch(entry: IndexEntry) -> bool:
        return entry.may_have_sent_within(start_ms, end_ms) or _touches(entry.span_ms, window)

    known, why_incomplete, suspects = [], [], []
    for ledger in (yield from ledgers_of(stores, ref, may_touch)):
        sent_within = ledger.may_have_sent_within(start_ms, end_ms)
        keeps_time = ledger.has_copies and ledger.copies_keep_time is not False and _touches(ledger.span_ms, window)
        if sent_within or keeps_time:
            known += [ledger.copies, ledger.other_copies]
        if ledger.copies_known:
            continue
        if sent_within:
            why_incomplete.append(_unknown_copies(ledger))
        elif keeps_time:
            suspects.append((ledger.last_offsets, _unknown_copies(ledger)))
    return KnownCopies(partition_offsets.union(*known), tuple(why_incomplete), tuple(suspects))


def known_copies_in(stores: Sequence[Store], window: TimeWindow, ref: TopicRef) -> KnownCopies:
    """Find the copies that earlier replays put into a window of a topic, in a thread that may block."""
    return drive(known_copies(stores, window, ref), _perform)


def _perform(step: Step) -> object:
    assert isinstance(step, Call)  # noqa: S101 - the flow only reads stores
    return step.call()


def _touches(span_ms: tuple[int, int] | None, window: TimeWindow) -> bool:
    return span_ms is not None and span_ms[0] < window.end_ms and span_ms[1] > window.start_ms


def _unknown_copies(ledger: Ledger) -> str:
    most = partition_offsets.count(ledger.maybe_sent)
    return (
        f"A replay ({ledger.owner}) has put up to {most} copies into the topic since {iso(ledger.first_ms)}, and which "
        "messages they are is not known (yet). Let its resend end with verify=True, run it again, or run "
        "VerifyReplayOperator: none of them sends anything twice, and they find its copies."
    )
