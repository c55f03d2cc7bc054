"""What is left out, and what is in doubt: the matrix of ``on_replayed``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING, Ledger, Owner
from airflow_provider_mqs.core.ledger.resume import history_of, taken_over
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

SCOPE = {"endpoint": "h", "instance_id": "i", "topic": "orders", "consumer_key": None}
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 2}
ME = Owner("me", RUN, 1)
OTHER = Owner("other", {**RUN, "run_id": "other"}, 1)
FIRST = Ledger("id", SCOPE, None, ME, {0: ((0, 9),)}, last_offsets={0: 30}, first_ms=50, since_ms=50)
PAST = replace(
    FIRST,
    owner=replace(ME, token="past", run={**RUN, "try_number": 1}),
    state=ENDED,
    done={0: ((0, 3),)},
    claimed={0: ((4, 4),)},
    last_offsets={0: 20},
    first_ms=5,
    since_ms=5,
)
DONE, DOUBT, REST = {0: ((0, 3),)}, {0: ((4, 4),)}, {0: ((5, 9),)}


@pytest.mark.parametrize(
    ("past", "on_replayed", "sent", "already_sent", "in_doubt"),
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
            replace(PAST, state=COMPLETE, owner=replace(ME, token="past")), "skip", {}, DONE, DOUBT, id="recreated-skip"
        ),
        pytest.param(replace(PAST, owner=OTHER), "skip", {}, DONE, DOUBT, id="other-run-skip"),
        pytest.param(replace(PAST, owner=OTHER), "resend", {}, {}, {}, id="other-run-resend"),
        pytest.param(None, "skip", {}, {}, {}, id="nothing"),
        pytest.param(replace(PAST, sent_earlier=REST), "skip", DONE, REST, DOUBT, id="retry-of-a-second-round-skip"),
        pytest.param(replace(PAST, sent_earlier=REST), "resend", DONE, {}, DOUBT, id="retry-of-a-second-round-resend"),
    ],
)
def test_what_is_left_out(past: Ledger | None, on_replayed: str, sent: Any, already_sent: Any, in_doubt: Any) -> None:
    """Tries of one task resume; what others have sent depends on ``on_replayed``."""
    account = history_of(FIRST, past, [], on_replayed).account

    assert (account.sent, account.already_sent) == (sent, already_sent)
    assert account.maybe_sent == partition_offsets.from_refs(account.in_doubt) == in_doubt


@pytest.mark.parametrize("on_replayed", ["skip", "resend"])
@pytest.mark.parametrize("state", [SENDING, ENDED, COMPLETE])
def test_a_call_goes_on_where_another_call_was_broken_off(state: str, on_replayed: str) -> None:
    """Outside Airflow no tries are counted; what was complete is a replay of its own."""
    call = Owner("call", {"conn_id": "mqs_default"})
    past = replace(PAST, owner=replace(call, token="past"), state=state)

    history = history_of(replace(FIRST, owner=call), past, [], on_replayed)

    assert (history.is_retry, history.account.sent) == ((True, DONE) if state != COMPLETE else (False, {}))


def test_a_task_does_not_go_on_with_a_call() -> None:
    """What somebody sent by hand is left out, or sent again."""
    past = replace(PAST, owner=Owner("call"))

    assert history_of(FIRST, past, [], "skip").is_retry is False


def test_fail_is_refused_with_who_sent_it() -> None:
    """Before anything else happens."""
    with pytest.raises(ConfigurationError, match=r"4 of these messages were sent already .*run_id other"):
        history_of(FIRST, replace(PAST, owner=OTHER), [], "fail")


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_a_record_never_leaves_out_what_it_does_not_contain(plan: set[int], done: set[int], claimed: set[int]) -> None:
    """Whatever the plans have in common."""
    planned, sent, in_doubt = (
        partition_offsets.from_refs((0, offset) for offset in one) for one in (plan, done, claimed - done)
    )
    first = replace(FIRST, planned=planned)
    other = replace(PAST, replay_id="x", owner=OTHER, done=sent, claimed=in_doubt)

    history = history_of(first, None, [other], "skip")

    assert history.account.already_sent == partition_offsets.intersection(planned, sent)
    assert history.account.maybe_sent == partition_offsets.intersection(planned, in_doubt)
    assert history.sent_by == (OTHER if other.has_copies else None)


def test_taking_over_goes_on_where_the_last_one_was() -> None:
    """Copies are looked for after the last offsets before its first message."""
    history = history_of(FIRST, PAST, [], "skip")

    ledger = taken_over(FIRST, PAST, history, "skip")

    assert (ledger.owner, ledger.done, ledger.claimed) == (ME, DONE, DOUBT)
    assert (ledger.last_offsets, ledger.first_ms, ledger.since_ms) == ({0: 20}, 5, 5)


def test_sending_again_begins_anew_and_remembers() -> None:
    """The earlier sends have copies, too."""
    past = replace(PAST, owner=OTHER, state=SENDING)

    ledger = taken_over(FIRST, past, history_of(FIRST, past, [], "resend"), "resend")

    assert (ledger.done, ledger.claimed, ledger.sent_earlier) == ({}, {}, {0: ((0, 4),)})
    assert (ledger.last_offsets, ledger.first_ms, ledger.since_ms) == ({0: 30}, 5, 50)


def test_a_ledger_of_nothing_is_taken_over_with_the_new_time() -> None:
    """Its own says nothing about copies."""
    past = replace(PAST, done={}, claimed={})

    assert taken_over(FIRST, past, history_of(FIRST, past, [], "skip"), "skip") == FIRST
