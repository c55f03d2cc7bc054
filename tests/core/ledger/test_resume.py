"""What is left out, and what is in doubt: the matrix of ``on_replayed``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, OWN_LEASE_MS, SENDING, Ledger, Owner
from airflow_provider_mqs.core.ledger.resume import history_of, in_order, lineage_of
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

SCOPE = {"endpoint": "h", "instance_id": "i", "topic": "orders", "consumer_key": None}
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 3}
ME = Owner("me", RUN, 1)
OTHER = Owner("other", {**RUN, "run_id": "other"}, 1)
FIRST = Ledger("id", SCOPE, None, ME, {0: ((0, 9),)})
DONE, DOUBT, REST = {0: ((0, 3),)}, {0: ((4, 4),)}, {0: ((5, 9),)}


def a_try(number: int, **changes: Any) -> Ledger:
    """Return the ledger of an earlier try; the first of them has sent 0 to 3, and has 4 in doubt."""
    owner = replace(ME, token=f"try{number}", run={**RUN, "try_number": number})
    return replace(FIRST, **{"owner": owner, "state": ENDED, "done": DONE, "claimed": DOUBT, **changes})


PAST = a_try(1)
THEIRS = replace(PAST, owner=OTHER)


@pytest.mark.parametrize(
    ("past", "on_replayed", "sent", "already_sent", "in_doubt"),
    [
        pytest.param([PAST], "skip", DONE, {}, DOUBT, id="retry-skip"),
        pytest.param([PAST], "fail", DONE, {}, DOUBT, id="retry-fail"),
        pytest.param([PAST], "resend", DONE, {}, DOUBT, id="retry-resend"),
        pytest.param([a_try(1, state=SENDING)], "resend", DONE, {}, DOUBT, id="retry-of-a-crash"),
        pytest.param([a_try(1, state=COMPLETE)], "skip", DONE, {}, DOUBT, id="automatic-retry-skip"),
        pytest.param(
            [a_try(1, state=COMPLETE, owner=replace(PAST.owner, max_tries=0))], "skip", {}, DONE, DOUBT, id="cleared"
        ),
        pytest.param(
            [a_try(1, state=COMPLETE, owner=replace(PAST.owner, max_tries=0))],
            "resend",
            {},
            {},
            {},
            id="cleared-resend",
        ),
        pytest.param([a_try(3, state=COMPLETE)], "skip", {}, DONE, DOUBT, id="recreated-skip"),
        pytest.param([THEIRS], "skip", {}, DONE, DOUBT, id="other-run-skip"),
        pytest.param([THEIRS], "resend", {}, {}, {}, id="other-run-resend"),
        pytest.param([], "skip", {}, {}, {}, id="nothing"),
        pytest.param(
            [replace(THEIRS, done=REST, claimed={}), PAST], "skip", DONE, REST, DOUBT, id="retry-beside-another-run"
        ),
        pytest.param(
            [replace(THEIRS, done=REST, claimed={}), PAST], "resend", DONE, {}, DOUBT, id="retry-sends-the-rest-again"
        ),
        pytest.param(
            [PAST, a_try(2, done=DOUBT, claimed=REST, after=("try1",))],
            "skip",
            {0: ((0, 4),)},
            {},
            REST,
            id="two-tries",
        ),
        pytest.param(
            [a_try(1, state=COMPLETE, owner=replace(PAST.owner, max_tries=0)), a_try(2, done={}, after=("try1",))],
            "resend",
            {},
            {},
            DOUBT,
            id="retry-of-a-cleared-one",
        ),
        pytest.param([PAST, replace(THEIRS, done=DOUBT, claimed={})], "skip", DONE, DOUBT, {}, id="settled-by-another"),
        pytest.param([replace(THEIRS, done={}), PAST], "resend", DONE, {}, DOUBT, id="doubts-of-both"),
    ],
)
def test_what_is_left_out(past: list[Ledger], on_replayed: str, sent: Any, already_sent: Any, in_doubt: Any) -> None:
    """Tries of one task resume; what others have sent depends on ``on_replayed``."""
    account = history_of(FIRST, past, on_replayed).account

    assert (account.done, account.already_sent) == (sent, already_sent)
    assert account.maybe_sent == partition_offsets.from_refs(account.in_doubt) == in_doubt


@pytest.mark.parametrize("on_replayed", ["skip", "resend"])
@pytest.mark.parametrize("state", [SENDING, ENDED, COMPLETE])
def test_a_call_goes_on_where_another_call_was_broken_off(state: str, on_replayed: str) -> None:
    """Outside Airflow no tries are counted; what was complete is a replay of its own."""
    call = Owner("call", {"conn_id": "mqs_default"})
    past = replace(PAST, owner=replace(call, token="past"), state=state)

    history = history_of(replace(FIRST, owner=call), [past], on_replayed)

    assert (history.is_retry, history.account.done) == ((True, DONE) if state != COMPLETE else (False, {}))


def test_a_task_does_not_go_on_with_a_call() -> None:
    """What somebody sent by hand is left out, or sent again."""
    assert history_of(FIRST, [replace(PAST, owner=Owner("call"))], "skip").is_retry is False


def test_fail_is_refused_with_who_sent_it() -> None:
    """Before anything else happens."""
    with pytest.raises(ConfigurationError, match=r"4 of these messages were sent already .*run_id other"):
        history_of(FIRST, [THEIRS], "fail")


def test_possible_doubles_of_earlier_tries_are_reported_again() -> None:
    """The report is about the task, not about a try."""
    past = replace(PAST, possible_doubles=DOUBT)

    assert history_of(FIRST, [past, THEIRS], "skip").account.possible_doubles == DOUBT


def test_the_order_is_that_in_which_they_began() -> None:
    """Each names those that had stopped by then, so no clock is needed."""
    first, second, third = a_try(1), a_try(2, after=("try1",)), a_try(3, after=("try1", "try2"), first_ms=-5)

    assert in_order([third, first, second]) == [first, second, third]
    assert lineage_of(FIRST, [replace(third, replay_id="x"), first, second]) == [first, second]


def test_a_doubt_says_until_when_it_may_have_been_posted() -> None:
    """The owner of an open ledger may have posted until the end of its own lease."""
    crashed = replace(THEIRS, state=SENDING, renewed_ms=50, until_ms=9)
    closed = replace(PAST, until_ms=9, renewed_ms=50)

    history = history_of(FIRST, [crashed, closed, a_try(2, claimed={})], "skip")

    assert history.posts_until_ms == {"other": 50 + OWN_LEASE_MS, "try1": 9}


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_a_record_never_leaves_out_what_it_does_not_contain(plan: set[int], done: set[int], claimed: set[int]) -> None:
    """Whatever the plans have in common."""
    planned, sent, in_doubt = (
        partition_offsets.from_refs((0, offset) for offset in one) for one in (plan, done, claimed - done)
    )
    other = replace(THEIRS, replay_id="x", done=sent, claimed=in_doubt)

    history = history_of(replace(FIRST, planned=planned), [other], "skip")

    assert history.account.already_sent == partition_offsets.intersection(planned, sent)
    assert history.account.maybe_sent == partition_offsets.intersection(planned, in_doubt)
    assert history.sent_by == (OTHER if other.has_copies else None)
