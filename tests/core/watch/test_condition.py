"""The one decision of the sensor: pure, so a table and two properties say all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.watch.condition import Condition, Decision, PollPolicy, PollState, WindowCount, decide

FINAL_S = 1_700_003_660.0


def condition(**changes: Any) -> Condition:
    values = {"topic": "orders", "start_ms": 1_700_000_000_000, "end_ms": 1_700_003_600_000, "source": "explicit"}
    return Condition(**{**values, **changes})


@pytest.mark.parametrize(
    ("found", "now_s", "on_closed_empty", "status"),
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
def test_a_window_is_judged_only_when_it_is_final(
    found: WindowCount | None, now_s: float, on_closed_empty: str, status: str
) -> None:
    """Success needs both: ``settle`` after the end has passed, and the messages are there."""
    wanted = condition(min_messages=5, on_closed_empty=on_closed_empty)

    assert decide(wanted, found, now_s).status == status


@pytest.mark.parametrize(
    ("wanted", "found", "same", "status", "words"),
    [
        ({"min_per_partition": 2}, WindowCount(5, partitions={"0": 2, "1": 3}), 1, "satisfied", "holds 5"),
        (
            {"min_per_partition": 3},
            WindowCount(5, partitions={"0": 2, "1": 3}),
            1,
            "fail",
            "each partition (fewer in 0)",
        ),
        ({"min_per_partition": 1}, WindowCount(5, partitions={}), 1, "fail", "fewer in all"),
        ({"expected_keys": ["a"]}, WindowCount(5), 1, "satisfied", "holds 5"),
        ({"expected_keys": ["a", "b"]}, WindowCount(5, missing_keys=["b"]), 1, "fail", "expected_keys are missing (b)"),
        ({"stable_polls": 3}, WindowCount(5), 2, "wait", "2 of 3 looks"),
        ({"stable_polls": 3}, WindowCount(5), 3, "satisfied", "holds 5"),
        ({"stable_polls": 2}, WindowCount(0), 1, "wait", "1 of 2 looks"),
        ({"min_messages": 9, "min_per_partition": 8}, WindowCount(5, partitions={"0": 5}), 1, "fail", "needed; 8 are"),
    ],
)
def test_every_condition_has_to_hold(wanted: Any, found: WindowCount, same: int, status: str, words: str) -> None:
    """What is lacking is said; an unstable number ends nothing."""
    decision = decide(condition(on_closed_empty="fail", **wanted), found, FINAL_S, same)

    assert (decision.status, words in decision.message) == (status, True)


@given(st.lists(st.one_of(st.none(), st.integers(0, 2)), max_size=20))
def test_looks_count_what_is_in_a_row(outcomes: list[int | None]) -> None:
    """Errors since the last good look, and good looks that found the same as the last; an error breaks no row."""
    looks = PollState()
    for outcome in outcomes:
        looks = looks.failed() if outcome is None else looks.found(outcome)

    good = [outcome for outcome in outcomes if outcome is not None]
    errors = next((number for number, one in enumerate(reversed(outcomes)) if one is not None), len(outcomes))
    same = next((number for number, one in enumerate(reversed(good)) if one != good[-1]), len(good))
    assert (looks.errors, looks.count, looks.same) == (errors, good[-1] if good else None, same)
    assert PollState(**json.loads(json.dumps(looks.to_json()))) == looks


@given(count=st.integers(0, 1000), minimum=st.integers(0, 1000), late_s=st.integers(-10_000, 10_000))
def test_satisfied_means_final_and_enough(count: int, minimum: int, late_s: int) -> None:
    """There is no other way to succeed, and no result without success."""
    decision = decide(condition(min_messages=minimum), WindowCount(count), FINAL_S + late_s)

    assert (decision.status == "satisfied") == (late_s >= 0 and count >= minimum)
    assert (decision.result is not None) == (decision.status == "satisfied")


def test_the_result_is_plain_json_with_the_window() -> None:
    """What is pushed says which window, how many, and how sure that is."""
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
    ("found", "words"),
    [
        (WindowCount(3), "holds 3 messages"),
        (WindowCount(301, exact=False), "holds about 301 messages"),
        (WindowCount(500, exact=False, at_least=True), "holds at least 500 messages"),
    ],
)
def test_the_sentence_says_how_sure_the_number_is(found: WindowCount, words: str) -> None:
    """A total that the service may have cut off, or counted too high, is not sold as exact."""
    assert words in decide(condition(), found, FINAL_S).message


def test_only_waiting_times_out() -> None:
    """A verdict that ends the waiting holds also when it comes late."""
    waiting, done = decide(condition(), None, 0.0), decide(condition(), WindowCount(1), FINAL_S)

    assert waiting.by(10.0, 9.9) is waiting
    assert waiting.by(10.0, 10.0).status == "timeout"
    assert done.by(10.0, 11.0) is done


@pytest.mark.parametrize("found", [WindowCount(0), WindowCount(1)])
def test_a_verdict_survives_the_way_through_the_database(found: WindowCount) -> None:
    """An event that was written as JSON is read as the same verdict."""
    decision = decide(condition(), found, FINAL_S)

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
    ],
)
def test_an_event_that_is_not_understood_is_a_failure(event: Any) -> None:
    """Neither an unknown word nor half a result is ever taken for success."""
    assert Decision.from_event(event).status == "fail"


def test_what_travels_to_the_triggerer_is_plain_json() -> None:
    """Condition and poll policy are read back as they were."""
    wanted, poll_policy = condition(filters={"partitions": [0, 2], "key": "a"}), PollPolicy(5.0, max_wait_s=9.0)

    assert Condition(**json.loads(json.dumps(wanted.to_json()))) == wanted
    assert PollPolicy(**json.loads(json.dumps(poll_policy.to_json()))) == poll_policy


@pytest.mark.parametrize(
    ("poll_policy", "looks", "errors", "expected_s"),
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
def test_the_wait_grows_where_it_was_told_to_and_after_errors(
    poll_policy: PollPolicy, looks: int, errors: int, expected_s: float
) -> None:
    """Never under a second, so that nothing spins; ``jitter`` is a half here."""
    assert poll_policy.wait_s(looks, errors, jitter=0.5) == expected_s


def test_errors_are_tolerated_up_to_the_bound() -> None:
    """The tenth error in a row is one too many; without a bound none is."""
    error = RuntimeError("HTTP 503")

    assert PollPolicy(1.0, max_errors=10).judge(error, 9).status == "wait"
    assert PollPolicy(1.0, max_errors=10).judge(error, 10).status == "error"
    assert PollPolicy(1.0, max_errors=None).judge(error, 10_000).status == "wait"
    assert "HTTP 503" in PollPolicy(1.0, max_errors=1).judge(error, 1).message
