"""The ledgers of a topic, for those who send nothing themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.index import ReplayIndex, read_indexes
from airflow_provider_mqs.core.ledger.ledger_reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.ledger.index import IndexEntry
    from airflow_provider_mqs.core.ledger.ledger import Ledger
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.values.topic_ref import TopicRef


def ledgers_of(stores: Sequence[Store], ref: TopicRef, matches: Callable[[IndexEntry], bool]) -> Flow[list[Ledger]]:
    """Return the ledgers of all executions of a topic whose index entry matches."""
    entries = yield from read_indexes([ReplayIndex(store, ref) for store in stores])
    return (yield from LedgerReader(stores).load_all(entry.token for entry in entries if matches(entry)))


def executions_of(stores: Sequence[Store], ref: TopicRef, start_ms: int, end_ms: int) -> Flow[list[Ledger]]:
    """Return the ledgers of all executions of a topic whose copies may be from within an interval."""
    ledgers = yield from ledgers_of(stores, ref, lambda entry: entry.may_have_sent_within(start_ms, end_ms))
    return [ledger for ledger in ledgers if ledger.may_have_sent_within(start_ms, end_ms)]
