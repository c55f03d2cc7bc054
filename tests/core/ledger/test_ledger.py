"""The ledger: what a store returns, who owns it, and until when it may grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.ledger import (
    COMPLETE,
    LATE_MS,
    OPENING,
    OWN_LEASE_MS,
    SENDING,
    WAITING,
    Ledger,
    Owner,
)
from airflow_provider_mqs.core.ledger.process_identity import ProcessIdentity
from airflow_provider_mqs.core.offsets.partition_offsets import from_refs
from airflow_provider_mqs.exceptions import StoreError

SCOPE = {"endpoint": "mqs.example", "instance_id": "i", "topic": "orders", "consumer_key": None}
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1, "conn_id": "c"}
OWNER = Owner("token", RUN, 2, "host", ProcessIdentity("boot/ns/host", 7, 11))
LEDGER = Ledger("id", SCOPE, "digest", OWNER, {0: ((0, 9),)}, state=SENDING, seq=3, last_offsets={0: 12})
OFFSETS = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 20))).map(from_refs)


@given(OFFSETS, OFFSETS, OFFSETS, st.booleans(), st.sampled_from([None, True, False]))
def test_json_brings_a_ledger_back(done: Any, claimed: Any, copies: Any, known: bool, keep: Any) -> None:
    """Every field survives a store."""
    ledger = replace(
        LEDGER,
        done=done,
        claimed=claimed,
        copies=copies,
        copies_known=known,
        copies_keep_time=keep,
        possible_doubles=claimed,
        settled=done,
        missing=claimed,
        other_copies=copies,
        after=("other",),
        span_ms=(1, 2) if known else None,
        clock_known=known,
        first_ms=1,
        until_ms=2,
        renewed_ms=3,
    )

    assert Ledger.from_json(ledger.to_json(), "a store", LEDGER.planned, {}) == ledger


def test_segments_are_joined_with_the_head() -> None:
    """The head has only what is in none of them."""
    head = replace(LEDGER, done={0: ((5, 5),)}).to_json(segments=1)

    assert head["segments"] == 1
    assert Ledger.from_json(head, "a store", LEDGER.planned, {0: ((0, 4),)}).done == {0: ((0, 5),)}


@pytest.mark.parametrize("value", [None, [], {}, {"schema": "mqs.ledger/1"}])
def test_a_foreign_schema_is_refused(value: Any) -> None:
    """A newer version may know of sends that this one cannot read."""
    with pytest.raises(StoreError, match="upgrade the provider"):
        Ledger.from_json(value, "a store", {}, {})


@pytest.mark.parametrize(
    "change",
    [{"done": 3}, {"owner": None}, {"last_offsets": []}, {"renewed_ms": "x"}, {"span_ms": [1]}, {"settled": 1}],
)
def test_a_broken_ledger_is_refused(change: dict[str, Any]) -> None:
    """Nothing is sent on a guess."""
    with pytest.raises(StoreError, match="nothing is sent on a guess"):
        Ledger.from_json({**LEDGER.to_json(), **change}, "a store", {}, {})


def test_only_a_closed_ledger_is_not_open() -> None:
    """Whatever its owner waits for."""
    assert [replace(LEDGER, state=state).is_open for state in (OPENING, WAITING, SENDING, COMPLETE)] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("state", "claimed", "posts_until_ms", "until_ms"),
    [
        (SENDING, {}, 500 + OWN_LEASE_MS, 500 + OWN_LEASE_MS + LATE_MS),
        (COMPLETE, {}, 300, 300),
        (COMPLETE, {0: ((0, 0),)}, 300, 300 + LATE_MS),
    ],
)
def test_copies_may_come_until_the_own_lease_ends(state: str, claimed: Any, posts_until_ms: int, until_ms: int) -> None:
    """A message in doubt may be appended late; of a closed ledger, every other copy was there at its end."""
    ledger = replace(LEDGER, state=state, done={0: ((1, 1),)}, claimed=claimed, renewed_ms=500, until_ms=300)

    assert (ledger.posts_until_ms, ledger.until()) == (posts_until_ms, until_ms)


def test_tries_of_one_task_instance_follow_each_other() -> None:
    """Another mapped index is another task, and commands have none."""
    second = replace(OWNER, token="other", run={**RUN, "try_number": 2})
    assert OWNER.is_earlier_try_of(second)
    assert not second.is_earlier_try_of(OWNER)
    assert OWNER.is_retried_by(second)
    assert not OWNER.is_retried_by(replace(second, max_tries=3))
    assert not OWNER.is_earlier_try_of(replace(second, run={**second.run, "map_index": 1}))
    assert not Owner("a").is_earlier_try_of(Owner("b"))


def test_an_owner_says_who_it_is() -> None:
    """A task by its names, a command by its process."""
    assert str(OWNER) == "dag_id d, run_id r, task_id t, try_number 1"
    assert str(Owner("a", process=ProcessIdentity("", 5))) == "a process (5) on an unknown host"
