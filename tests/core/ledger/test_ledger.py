"""The ledger: what a store returns, who owns it, and how two stores are joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.ledger import COMPLETE, LEASE_MS, SENDING, Ledger, Owner, merged
from airflow_provider_mqs.core.offsets.partition_offsets import from_refs
from airflow_provider_mqs.exceptions import StoreError

SCOPE = {"endpoint": "mqs.example", "instance_id": "i", "topic": "orders", "consumer_key": None}
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1, "conn_id": "c"}
OWNER = Owner("token", RUN, 2, "host", 7)
LEDGER = Ledger("id", SCOPE, "digest", OWNER, {0: ((0, 9),)}, SENDING, last_offsets={0: 12}, updated_ms=1_000)
OFFSETS = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 20))).map(from_refs)


@given(OFFSETS, OFFSETS, OFFSETS, st.booleans())
def test_json_brings_a_ledger_back(done: Any, claimed: Any, copies: Any, known: bool) -> None:
    """Every field survives a store."""
    ledger = replace(LEDGER, done=done, claimed=claimed, copies=copies, copies_known=known, possible_doubles=claimed)

    assert Ledger.from_json(ledger.to_json(), "a store") == ledger


@pytest.mark.parametrize("value", [None, [], {}, {"schema": "mqs.ledger/2"}])
def test_a_foreign_schema_is_refused(value: Any) -> None:
    """A newer version may know of sends that this one cannot read."""
    with pytest.raises(StoreError, match="upgrade the provider"):
        Ledger.from_json(value, "a store")


@pytest.mark.parametrize(
    "change", [{"done": 3}, {"owner": None}, {"marks": []}, {"updated_ms": "x"}, {"planned": None}]
)
def test_a_broken_ledger_is_refused(change: dict[str, Any]) -> None:
    """Nothing is sent on a guess."""
    with pytest.raises(StoreError, match="nothing is sent on a guess"):
        Ledger.from_json({**LEDGER.to_json(), **change}, "a store")


@pytest.mark.parametrize(
    ("state", "age_ms", "alive"),
    [(SENDING, LEASE_MS - 1, True), (SENDING, LEASE_MS, False), (COMPLETE, 0, False)],
)
def test_an_owner_is_alive_for_a_minute_after_its_last_write(state: str, age_ms: int, *, alive: bool) -> None:
    """One that ended is not."""
    assert replace(LEDGER, state=state).alive(1_000 + age_ms) is alive


def test_tries_of_one_task_instance_are_the_same_task() -> None:
    """Another mapped index is another task, and commands have none."""
    assert OWNER.same_task(replace(OWNER, token="other", run={**RUN, "try_number": 2}))
    assert not OWNER.same_task(replace(OWNER, run={**RUN, "map_index": 1}))
    assert not Owner("a").same_task(Owner("b"))


def test_an_owner_says_who_it_is() -> None:
    """A task by its names, a command by its process."""
    assert str(OWNER) == "dag_id d, run_id r, task_id t, try_number 1"
    assert str(Owner("a", pid=5)) == "a process (5) on an unknown host"


def test_two_stores_are_joined() -> None:
    """What either knows to be sent is sent, and no longer in doubt."""
    older = replace(LEDGER, done={0: ((0, 4),)}, claimed={0: ((5, 6),)})
    newer = replace(LEDGER, done={0: ((5, 5),)}, claimed={0: ((0, 1), (7, 7))}, updated_ms=2_000)

    joined = merged(older, newer)

    assert joined is not None
    assert (joined.done, joined.claimed, joined.updated_ms) == ({0: ((0, 5),)}, {0: ((7, 7),)}, 2_000)


def test_claims_of_another_owner_stay_in_doubt() -> None:
    """A try that reached only one store has not resolved what the other one holds."""
    older = replace(LEDGER, claimed={0: ((5, 6),)})
    newer = replace(LEDGER, owner=replace(OWNER, token="next"), claimed={0: ((7, 7),)}, updated_ms=2_000)

    joined = merged(newer, older)

    assert joined is not None
    assert joined.claimed == {0: ((5, 7),)}
    assert merged(None, older) == merged(older, None) == older
