"""What is left out, and what is in doubt: the matrix of ``on_replayed``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING, Ledger, Owner
from airflow_provider_mqs.core.ledger.resume import opening_of, taken_over
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

SCOPE = {"endpoint": "h", "instance_id": "i", "topic": "orders", "consumer_key": None}
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 2}
ME = Owner("me", RUN, 1)
OTHER = Owner("other", {**RUN, "run_id": "other"}, 1)
FIRST = Ledger("id", SCOPE, None, ME, {0: ((0, 9),)}, marks={0: 30}, first_ms=50, since_ms=50)
PAST = replace(
    FIRST,
    owner=replace(ME, token="past", run={**RUN, "try_number": 1}),
    state=ENDED,
    done={0: ((0, 3),)},
    claimed={0: ((4, 4),)},
    marks={0: 20},
    first_ms=5,
    since_ms=5,
)
DONE, DOUBT, REST = {0: ((0, 3),)}, {0: ((4, 4),)}, {0: ((5, 9),)}


@pytest.mark.parametrize(
    ("past", "on_replayed", "resumed", "already", "doubts"),
    [
        pytest.param(PAST, "skip", DONE, {}, DOUBT, id="retry-skip"),
        pytest.param(PAST, "fail", DONE, {}, DOUBT, id="retry-fail"),
        pytest.param(PAST, "resend", DONE, {}, DOUBT, id="retry-resend"),
        pytest.param(replace(PAST, state=COMPLETE), "skip", DONE, {}, DOUBT, id="automatic-retry-skip"),
        pytest.param(
            replace(PAST, state=COMPLETE, owner=replace(ME, max_tries=0)), "skip", {}, DONE, DOUBT, id="cleared-skip"
        ),
        pytest.param(
            replace(PAST, state=COMPLETE, owner=replace(ME, max_tries=0)), "resend", {}, {}, {}, id="cleared-resend"
        ),
        pytest.param(
            replace(PAST, state=COMPLETE, owner=replace(ME, token="past")), "skip", {}, DONE, DOUBT, id="made-anew-skip"
        ),
        pytest.param(replace(PAST, owner=OTHER), "skip", {}, DONE, DOUBT, id="other-run-skip"),
        pytest.param(replace(PAST, owner=OTHER), "resend", {}, {}, {}, id="other-run-resend"),
        pytest.param(None, "skip", {}, {}, {}, id="nothing"),
        pytest.param(replace(PAST, earlier=REST), "skip", DONE, REST, DOUBT, id="retry-of-a-second-round-skip"),
        pytest.param(replace(PAST, earlier=REST), "resend", DONE, {}, DOUBT, id="retry-of-a-second-round-resend"),
    ],
)
def test_what_is_left_out(past: Ledger | None, on_replayed: str, resumed: Any, already: Any, doubts: Any) -> None:
    """Tries of one task resume; what others have sent depends on ``on_replayed``."""
    opening = opening_of(FIRST, past, [], on_replayed)

    assert (opening.resumed, opening.already, opening.doubts) == (resumed, already, doubts)


@pytest.mark.parametrize("on_replayed", ["skip", "resend"])
@pytest.mark.parametrize("state", [SENDING, ENDED, COMPLETE])
def test_a_call_goes_on_where_another_call_was_broken_off(state: str, on_replayed: str) -> None:
    """Outside Airflow nobody counts tries; what was complete is a replay of its own."""
    call = Owner("call", {"conn_id": "mqs_default"})
    past = replace(PAST, owner=replace(call, token="past"), state=state)

    opening = opening_of(replace(FIRST, owner=call), past, [], on_replayed)

    assert (opening.retried, opening.resumed) == ((True, DONE) if state != COMPLETE else (False, {}))


def test_a_task_does_not_go_on_with_a_call() -> None:
    """What somebody sent by hand is left out, or sent again."""
    past = replace(PAST, owner=Owner("call"))

    assert opening_of(FIRST, past, [], "skip").retried is False


def test_fail_is_refused_with_who_sent_it() -> None:
    """Before anything else happens."""
    with pytest.raises(ConfigurationError, match=r"4 of these messages were sent already .*run_id other"):
        opening_of(FIRST, replace(PAST, owner=OTHER), [], "fail")


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_a_record_never_leaves_out_what_it_does_not_contain(plan: set[int], done: set[int], claimed: set[int]) -> None:
    """Whatever the plans have in common."""
    planned, sent, open_ = (
        partition_offsets.from_refs((0, offset) for offset in one) for one in (plan, done, claimed - done)
    )
    first = replace(FIRST, planned=planned)
    other = replace(PAST, replay_id="x", owner=OTHER, done=sent, claimed=open_)

    opening = opening_of(first, None, [other], "skip")

    assert opening.already == partition_offsets.intersection(planned, sent)
    assert opening.doubts == partition_offsets.intersection(planned, open_)
    assert opening.by == (OTHER if other.has_copies else None)


def test_taking_over_goes_on_where_the_last_one_was() -> None:
    """Copies are looked for behind what was there before its first message."""
    opening = opening_of(FIRST, PAST, [], "skip")

    ledger = taken_over(FIRST, PAST, opening, "skip")

    assert (ledger.owner, ledger.done, ledger.claimed) == (ME, DONE, DOUBT)
    assert (ledger.marks, ledger.first_ms, ledger.since_ms) == ({0: 20}, 5, 5)


def test_sending_again_begins_anew_and_remembers() -> None:
    """The earlier sends have copies, too."""
    past = replace(PAST, owner=OTHER, state=SENDING)

    ledger = taken_over(FIRST, past, opening_of(FIRST, past, [], "resend"), "resend")

    assert (ledger.done, ledger.claimed, ledger.earlier) == ({}, {}, {0: ((0, 4),)})
    assert (ledger.marks, ledger.first_ms, ledger.since_ms) == ({0: 30}, 5, 50)


def test_a_ledger_of_nothing_is_taken_over_with_the_new_time() -> None:
    """Its own says nothing about copies."""
    past = replace(PAST, done={}, claimed={})

    assert taken_over(FIRST, past, opening_of(FIRST, past, [], "skip"), "skip") == FIRST
