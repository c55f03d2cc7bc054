"""
Which rows of a window are copies that earlier replays made: later queries leave them out, or they would be sent again.

A replay that touches the window and does not know all its copies makes the window incomplete; it is never ignored. Its
copies may lie up to ``MARGIN_MS`` outside the interval in which it sent. A replay that was killed and never retried
still says that it is sending, so its ledger's last write decides until when it was alive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.index import IndexEntry, ReplayIndex, load_ledgers, wall_clock_ms
from airflow_provider_mqs.core.ledger.ledger import MARGIN_MS, Ledger
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow, iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.message import Message, Row, Rows
    from airflow_provider_mqs.core.values.topic_ref import TopicRef


@dataclass(frozen=True, slots=True)
class KnownCopies:
    """The copies in a window, and a sentence for each replay whose copies are not known."""

    offsets: OffsetsByPartition = field(default_factory=dict)
    why_incomplete: tuple[str, ...] = ()

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


def known_copies_in(records: Iterable[Store], window: TimeWindow, ref: TopicRef) -> KnownCopies:
    """Find the copies that earlier replays put into a window of a topic. Read-only."""
    now_ms = wall_clock_ms()

    def may_touch(entry: IndexEntry) -> bool:
        until_ms = entry.until_ms or now_ms
        return entry.since_ms - MARGIN_MS < window.end_ms and until_ms + MARGIN_MS >= window.start_ms

    indexes = [ReplayIndex(record, *ref) for record in records]
    ledgers = [
        ledger
        for ledger in load_ledgers(indexes, may_touch)
        if ledger.alive(now_ms) or ledger.until_ms + MARGIN_MS >= window.start_ms
    ]
    return KnownCopies(
        partition_offsets.union(*(ledger.copies for ledger in ledgers)),
        tuple(_unknown_copies(ledger) for ledger in ledgers if ledger.has_copies and not ledger.copies_known),
    )


def _unknown_copies(ledger: Ledger) -> str:
    most = partition_offsets.count(partition_offsets.union(ledger.ever_sent, ledger.claimed))
    return (
        f"A replay ({ledger.owner}) has put up to {most} copies into the topic since {iso(ledger.first_ms)}, and which "
        "messages they are is not known (yet). Let its resend end with verify=True, or run it again: it sends nothing "
        "twice and finds its copies."
    )
