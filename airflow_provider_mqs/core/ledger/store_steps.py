"""Reads and writes of a store, each as one step of a flow."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.client.flow import Call, Flow

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.stores import Store


def get(store: Store, key: str) -> Flow[Any | None]:
    """Read a value."""
    return (yield Call(partial(store.get, key)))


def put(store: Store, key: str, value: Any) -> Flow[None]:
    """Write a value."""
    yield Call(partial(store.set, key, value))
