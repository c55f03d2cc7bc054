"""When a wait is over: the decision is pure, so a table and two properties say all of it."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.watch.condition import Condition, Decision, PollPolicy, PollState, WindowCount, decide
from airflow_provider_mqs.exceptions import ConfigurationError

WINDOW = TimeWindow(1_700_000_000_000, 1_700_003_600_000)
FINAL_S = 1_700_003_660.0


def condition(**changes: Any) -> Condition:
    return Condition("orders", WINDOW, **changes)


@pytest.mark.parametrize(
    ("counted", "now_s", "on_closed_empty", "status"),
    [
        (None, FINAL_S - 1, "skip", "wait"),
        (None, FINAL_S + 1, "skip", "wait"),
        (WindowCount(5), FINAL_S - 1, "skip", "wait"),
        (WindowCount(5), FINAL_S, "skip", "satisfied"),
        (WindowCount(9), FINAL_S, "wait", "satisfied"),
        (WindowCount(4), FINAL_S, "skip", "skip"),
        (WindowCount(4), FINAL_S, "fail", "fail"),
        (WindowCount(4), FINAL_S, "wait", "wait"),
    ],
)
def test_only_a_final_window_ends_a_wait(
    counted: WindowCount | None, now_s: float, on_closed_empty: str, status: str
) -> None:
    """Success needs both: ``settle`` after the end has passed, and the messages are there."""
    required = condition(min_messages=5, on_closed_empty=on_closed_empty)

    assert decide(required, counted, now_s).status == status


@pytest.mark.parametrize(
    ("required", "counted", "same", "status", "words"),
    [
        ({"min_per_partition": 2}, WindowCount(5, partitions={"0": 2, "1": 3}), 1, "satisfied", "holds 5"),
        (
            {"min_per_partition": 3},
            WindowCount(5, partitions={"0": 2, "1": 3}),
            1,
            "fail",
            "but min_per_partition requires 3 in each partition (fewer in 0).",
        ),
        ({"min_per_partition": 1}, WindowCount(5, partitions={}), 1, "fail", "fewer in all"),
        ({"expected_keys": ("a",)}, WindowCount(5), 1, "satisfied", "holds 5"),
        ({"expected_keys": ("a", "b")}, WindowCount(5, missing_keys=["b"]), 1, "fail", "expected_keys are missing (b)"),
        ({"stable_polls": 3}, WindowCount(5), 2, "wait", "2 of 3 polls in a row agree"),
        ({"stable_polls": 3}, WindowCount(5), 3, "satisfied", "holds 5"),
        ({"stable_polls": 2}, WindowCount(0), 1, "wait", "1 of 2 polls in a row agree"),
        (
            {"min_messages": 9, "min_per_partition": 8},
            WindowCount(5, partitions={"0": 5}),
            1,
            "fail",
            "is final, but min_messages requires 9; min_per_partition requires 8 in each",
        ),
    ],
)
def test_every_requirement_has_to_be_met(
    required: Any, counted: WindowCount, same: int, status: str, words: str
) -> None:
    """The message says what is lacking; an unstable number ends nothing."""
    decision = decide(condition(on_closed_empty="fail", **required), counted, FINAL_S, same)

    assert decision.status == status
    assert words in decision.message


@given(st.lists(st.one_of(st.none(), st.integers(0, 2)), max_size=20))
def test_the_state_counts_polls_in_a_row(outcomes: list[int | None]) -> None:
    """Errors since the last success, and successes that found the same as the last; an error breaks no row of those."""
    state = PollState()
    for outcome in outcomes:
        state = state.after_error() if outcome is None else state.after_count(outcome)

    good = [outcome for outcome in outcomes if outcome is not None]
    errors = next((number for number, one in enumerate(reversed(outcomes)) if one is not None), len(outcomes))
    same = next((number for number, one in enumerate(reversed(good)) if one != good[-1]), len(good))
    assert (state.errors, state.count, state.same) == (errors, good[-1] if good else None, same)
    assert PollState(**json.loads(json.dumps(state.to_json()))) == state


@given(count=st.integers(0, 1000), minimum=st.integers(0, 1000), late_s=st.integers(-10_000, 10_000))
def test_satisfied_means_final_and_enough(count: int, minimum: int, late_s: int) -> None:
    """There is no other way to succeed, and no result without success."""
    decision = decide(condition(min_messages=minimum), WindowCount(count), FINAL_S + late_s)

    assert (decision.status == "satisfied") == (late_s >= 0 and count >= minimum)
    assert (decision.result is not None) == (decision.status == "satisfied")


def test_the_result_is_plain_json_with_the_window() -> None:
    """What is pushed says which window, how many messages, and how sure that number is."""
    result = decide(condition(), WindowCount(3, first_timestamp=1, last_timestamp=2), FINAL_S).result

    assert json.loads(json.dumps(result)) == {
        "topic": "orders",
        "window": {
            "start": "2023-11-14T22:13:20.000+00:00",
            "end": "2023-11-14T23:13:20.000+00:00",
            "source": "explicit",
        },
        "count": 3,
        "exact": True,
        "at_least": False,
        "first_timestamp": 1,
        "last_timestamp": 2,
    }


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        (WindowCount(3), "holds 3 messages and"),
        (WindowCount(1), "holds 1 message and"),
        (WindowCount(301, exact=False), "holds about 301 messages"),
        (WindowCount(500, exact=False, at_least=True), "holds at least 500 messages"),
    ],
)
def test_the_message_says_how_sure_the_number_is(counted: WindowCount, words: str) -> None:
    """A total that the service may have capped, or counted too high, is not presented as exact."""
    assert words in decide(condition(), counted, FINAL_S).message


def test_only_waiting_times_out() -> None:
    """A decision that ends the wait holds even if it comes late."""
    waiting, done = decide(condition(), None, 0.0), decide(condition(), WindowCount(1), FINAL_S)

    assert waiting.expire(10.0, 9.9) is waiting
    assert waiting.expire(10.0, 10.0).status == "timeout"
    assert done.expire(10.0, 11.0) is done


@pytest.mark.parametrize("counted", [WindowCount(0), WindowCount(1)])
def test_a_decision_survives_the_way_through_the_database(counted: WindowCount) -> None:
    """An event that was written as JSON is read as the same decision."""
    decision = decide(condition(), counted, FINAL_S)

    assert Decision.from_event(json.loads(json.dumps(decision.to_event()))) == decision


@pytest.mark.parametrize(
    "event",
    [
        None,
        "satisfied",
        [],
        {},
        {"status": "satisfied"},
        {"status": "satisfied", "message": "yes"},
        {"status": "satisfied", "message": "yes", "result": {}},
        {"status": "satisfied", "message": "yes", "result": {"count": True, "window": {}}},
        {"status": "satisfied", "message": "yes", "result": {"count": 1}},
        {"status": "wait", "message": "not yet"},
        {"status": "success", "message": "yes", "result": {"count": 1, "window": {}}},
        {"status": ["satisfied"], "message": "yes"},
        {"status": "skip", "message": 7},
        {"status": "skip", "message": "no", "result": {"count": 1, "window": {}}},
        {"status": "error", "message": "no", "result": {}},
    ],
)
def test_an_event_that_is_not_understood_is_a_failure(event: Any) -> None:
    """Neither an unknown status nor half a result is ever taken for success."""
    assert Decision.from_event(event).status == "fail"


FULL_CONDITION = Condition(
    topic="orders",
    window=TimeWindow(1, 2, "lookback"),
    min_messages=3,
    settle_s=4.5,
    on_closed_empty="fail",
    filters=Filters(partitions=frozenset({0, 2}), key="a"),
    min_per_partition=6,
    expected_keys=("a", "b"),
    stable_polls=7,
)
FULL_POLICY = PollPolicy(poke_interval_s=8.5, exponential_backoff=True, max_wait_s=9.5, max_errors=11)
FULL_STATE = PollState(errors=12, count=13, same=14)
FULL: tuple[Any, ...] = (FULL_CONDITION, FULL_POLICY, FULL_STATE)


def defaults() -> tuple[Condition, PollPolicy, PollState]:
    return Condition("x", WINDOW), PollPolicy(0.0), PollState()


@pytest.mark.parametrize(("full", "default"), [*zip(FULL, defaults(), strict=True)])
def test_the_examples_leave_no_field_at_its_default(full: Any, default: Any) -> None:
    """A new field fails here until it is in an example, and so in the tests below."""
    assert [one.name for one in fields(full) if getattr(full, one.name) == getattr(default, one.name)] == []


def test_every_field_reaches_the_triggerer_as_plain_json() -> None:
    """Condition, policy and state are read back as they were; a field that is lost changes what is waited for."""
    condition, policy, state = (json.loads(json.dumps(full.to_json())) for full in FULL)

    assert Condition.from_json(condition) == FULL_CONDITION
    assert PollPolicy(**policy) == FULL_POLICY
    assert PollState(**state) == FULL_STATE


def arguments(**changes: Any) -> dict[str, Any]:
    """Every argument as a template might render it."""
    rendered = {
        "topic": "orders",
        "min_messages": "3",
        "min_per_partition": "6",
        "expected_keys": "a, b, a",
        "settle": "4.5",
        "stable_polls": "7",
        "on_closed_empty": "fail",
    }
    return {**rendered, "window": FULL_CONDITION.window, "filters": FULL_CONDITION.filters, **changes}


def test_the_arguments_of_a_condition_are_read_as_templates_write_them() -> None:
    """Text becomes what it says."""
    assert Condition.read(**arguments()) == FULL_CONDITION


@pytest.mark.parametrize("absent", [None, "", "None"])
def test_an_argument_of_a_condition_that_is_not_given_requires_nothing(absent: str | None) -> None:
    """An empty Param of a DAG is rendered as one of these."""
    required = Condition.read(**arguments(min_per_partition=absent, expected_keys=absent, settle=absent))

    assert (required.min_per_partition, required.expected_keys, required.settle_s) == (None, (), 60.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic": "1orders"},
        {"min_messages": -1},
        {"min_per_partition": "few"},
        {"expected_keys": [1]},
        {"settle": "soon"},
        {"stable_polls": 0},
        {"on_closed_empty": "succeed"},
    ],
)
def test_a_wrong_argument_of_a_condition_is_named(wrong: dict[str, Any]) -> None:
    """With what it must be."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Condition.read(**arguments(**wrong))


def policy(**changes: Any) -> PollPolicy:
    given = {
        "poke_interval_s": 8.5,
        "exponential_backoff": True,
        "max_wait": timedelta(seconds=9.5),
        "silent_fail": False,
        "max_consecutive_errors": "11",
    }
    return PollPolicy.read(**{**given, **changes})


def test_the_arguments_of_a_poll_policy_are_read() -> None:
    """``silent_fail`` tolerates any number of errors; no ``max_wait`` is no limit."""
    assert policy() == FULL_POLICY
    assert policy(silent_fail=True).max_errors is None
    assert policy(max_wait=None).max_wait_s is None
    with pytest.raises(ConfigurationError, match="max_consecutive_errors"):
        policy(max_consecutive_errors=0)


@pytest.mark.parametrize(
    ("poll_policy", "polls", "errors", "expected_s"),
    [
        (PollPolicy(60.0), 1, 0, 60.0),
        (PollPolicy(60.0), 9, 0, 60.0),
        (PollPolicy(0.0), 1, 0, 1.0),
        (PollPolicy(60.0, max_wait_s=20.0), 1, 0, 20.0),
        (PollPolicy(60.0, exponential_backoff=True), 1, 0, 45.0),
        (PollPolicy(60.0, exponential_backoff=True), 3, 0, 180.0),
        (PollPolicy(60.0, exponential_backoff=True, max_wait_s=100.0), 3, 0, 100.0),
        (PollPolicy(60.0, exponential_backoff=True, max_wait_s=100.0), 10_000, 0, 100.0),
        (PollPolicy(1.0), 1, 1, 2.0),
        (PollPolicy(1.0), 1, 3, 8.0),
        (PollPolicy(1.0), 1, 10_000, 60.0),
        (PollPolicy(90.0), 1, 3, 90.0),
    ],
)
def test_the_wait_grows_on_request_and_after_errors(
    poll_policy: PollPolicy, polls: int, errors: int, expected_s: float
) -> None:
    """It is never below a second, so that nothing spins; ``jitter`` is a half here."""
    assert poll_policy.wait_s(polls, errors, jitter=0.5) == expected_s


def test_errors_are_tolerated_up_to_the_bound() -> None:
    """The tenth error in a row is one too many; without a bound none is."""
    error = RuntimeError("HTTP 503")

    assert PollPolicy(1.0, max_errors=10).decide_on_error(error, 9).status == "wait"
    assert PollPolicy(1.0, max_errors=10).decide_on_error(error, 10).status == "error"
    assert PollPolicy(1.0, max_errors=None).decide_on_error(error, 10_000).status == "wait"
    assert "HTTP 503" in PollPolicy(1.0, max_errors=1).decide_on_error(error, 1).message
