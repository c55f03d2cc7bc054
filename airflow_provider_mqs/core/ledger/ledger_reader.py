"""
Reads ledgers and what lies beside them, from several stores; as flows, one step for each read or write of a store.

==============================  ==============================  ========================================================
key                             written by                      value
==============================  ==============================  ========================================================
``x-{token}``                   the execution itself, often     the head of its ledger
``x-{token}-plan``              the execution itself, once      the offsets that it plans to send
``x-{token}-{n}``               the execution itself, once      segment n of what it has done
``stop-{token}``                whoever takes over from it      the *fence*: who did; the execution posts nothing more
``found-{token}-{n}-…``         whoever finds something out     what its own ledger does not say; see ``findings``
==============================  ==============================  ========================================================

Several executions may raise a fence, and each of them is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.findings import findings_about
from airflow_provider_mqs.core.ledger.ledger import Ledger, broken, check_schema
from airflow_provider_mqs.core.ledger.store_steps import get, put
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition


def head_key(token: str) -> str:
    """Return the key of a ledger's head."""
    return f"x-{token}"


def plan_key(token: str) -> str:
    """Return the key of a ledger's plan."""
    return f"x-{token}-plan"


def segment_key(token: str, number: int) -> str:
    """Return the key of a segment."""
    return f"x-{token}-{number}"


def fence_key(token: str) -> str:
    """Return the key of the flag that stops an execution."""
    return f"stop-{token}"


class LedgerReader:
    """Reads ledgers from the stores that hold them, and remembers the parts that never change."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        self._unchanging: dict[str, OffsetsByPartition] = {}

    def load(self, token: str) -> Flow[Ledger | None]:
        """Return the ledger of an execution, with what others have found out; ``None`` if there is none."""
        found = yield from self._newest_head(token)
        if found is None:
            return None
        store, head = found
        planned = yield from self._part(store, plan_key(token))
        sealed = []
        for number in range(head["segments"]):
            sealed.append((yield from self._part(store, segment_key(token, number))))  # noqa: PERF401 - not with ``yield``
        ledger = Ledger.from_json(head, store.name, planned, partition_offsets.union(*sealed))
        if ledger.claimed or (ledger.has_copies and not ledger.copies_known):
            return ledger.with_finding((yield from findings_about(self.stores, token)))
        return ledger

    def load_all(self, tokens: Iterable[str]) -> Flow[list[Ledger]]:
        """Return the ledgers of several executions, without those that are gone."""
        ledgers = []
        for token in tokens:
            ledger = yield from self.load(token)
            if ledger is not None:
                ledgers.append(ledger)
        return ledgers

    def fenced_by(self, token: str) -> Flow[str]:
        """Return who took over from an execution; empty if nobody did."""
        for store in self.stores:
            flag = yield from get(store, fence_key(token))
            if flag is not None:
                return str(flag)
        return ""

    def fence(self, token: str, by: str) -> Flow[Ledger | None]:
        """Keep an execution from posting anything that it has not claimed yet, then read what it has claimed."""
        for store in self.stores:
            yield from put(store, fence_key(token), by)
        return (yield from self.load(token))

    def _newest_head(self, token: str) -> Flow[tuple[Store, dict[str, Any]] | None]:
        found: tuple[Store, dict[str, Any]] | None = None
        for store in self.stores:
            head = yield from get(store, head_key(token))
            if head is None:
                continue
            check_schema(head, store.name)
            if not all(isinstance(head.get(name), int) for name in ("seq", "segments")):
                raise broken(store.name, "seq, segments")
            if found is None or head["seq"] > found[1]["seq"]:
                found = store, head
        return found

    def _part(self, store: Store, key: str) -> Flow[OffsetsByPartition]:
        if key not in self._unchanging:
            value = yield from get(store, key)
            try:
                self._unchanging[key] = partition_offsets.from_json(value, key)
            except ConfigurationError as error:
                raise broken(store.name, error) from error
        return self._unchanging[key]
