"""What a query must know of earlier replays: their copies are rows of later windows, and must not be sent again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.index import ReplayIndex, ledgers_of
from airflow_provider_mqs.core.ledger.ledger import MARGIN_MS
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.values.time_window import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_mqs.core.ledger.index import IndexEntry
    from airflow_provider_mqs.core.ledger.ledger import Ledger
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.values.message import Message, Row, Rows
    from airflow_provider_mqs.core.values.time_window import TimeWindow
    from airflow_provider_mqs.core.values.topic_ref import TopicRef


@dataclass(frozen=True, slots=True)
class KnownCopies:
    """
    What earlier replays have put into a window.

    :param places: offsets of copies
    :param doubts: a sentence for each replay whose copies are not known
    """

    places: OffsetsByPartition = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    def split(self, rows: Rows) -> tuple[Rows, Rows]:
        """
        Tell copies from originals.

        :param rows: of the window
        :return: the copies, and the others
        """
        if not self.places:
            return (), rows
        copies: list[Row | Message] = []
        others: list[Row | Message] = []
        for row in rows:
            is_copy = offset_ranges.contains(self.places.get(row.partition, ()), row.message_offset)
            (copies if is_copy else others).append(row)
        return copies, others


def known_copies_in(records: Iterable[Store], window: TimeWindow, ref: TopicRef) -> KnownCopies:
    """
    Find the copies that earlier replays have put into a window. Read-only.

    :param records: where replays are recorded
    :param window: the time window
    :param ref: the topic
    :return: the copies, and the replays that cannot be told from originals
    :raises StoreError: a record cannot be read
    """
    ledgers = _replays_in(window, [ReplayIndex(record, *ref) for record in records])
    return KnownCopies(
        partition_offsets.union(*(ledger.copies for ledger in ledgers)),
        tuple(_doubt(ledger) for ledger in ledgers if ledger.has_copies and not ledger.copies_known),
    )


def _replays_in(window: TimeWindow, indexes: Sequence[ReplayIndex]) -> list[Ledger]:
    now_ms = time.time_ns() // 1_000_000

    def touches(entry: IndexEntry) -> bool:
        until_ms = entry.until_ms or now_ms
        return entry.since_ms - MARGIN_MS < window.end_ms and until_ms + MARGIN_MS >= window.start_ms

    # one that was killed and never retried still says that it sends; its last write tells when it was alive
    return [
        ledger
        for ledger in ledgers_of(indexes, touches)
        if ledger.alive(now_ms) or ledger.until_ms + MARGIN_MS >= window.start_ms
    ]


def _doubt(ledger: Ledger) -> str:
    most = partition_offsets.count(partition_offsets.union(ledger.ever_sent, ledger.claimed))
    return (
        f"A replay ({ledger.owner}) put up to {most} copies into "
        f"the topic from {iso(ledger.first_ms)} on, and which messages they are is not known (yet). Let its resend end "
        "with verify=True, or run it again: it sends nothing twice, and finds its copies."
    )
