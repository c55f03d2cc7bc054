"""Rules, their counting, and the class of all faults."""

from __future__ import annotations

import random

import pytest

from airflow_provider_mqs.emulator.errors import ERRORS
from airflow_provider_mqs.emulator.faults import KINDS, NEVER, Counter, Faults, Rule, Turn


def _struck(rule: Rule, times: list[float]) -> list[bool]:
    counter, rng = Counter(rule), random.Random(1)  # noqa: S311  # repeatable, nothing to guess
    return [counter.strikes(rng, now_s) for now_s in times]


def test_the_next_n_after_a_skip_are_struck() -> None:
    """After that no request is struck."""
    assert _struck(Rule(skip=1, next=2), [0] * 5) == [False, True, True, False, False]


def test_a_rate_lets_that_many_requests_a_second_pass() -> None:
    """A burst of one second's requests passes, and then as many as the rate allows."""
    assert _struck(Rule(rate=2), [0.0, 0.0, 0.0, 0.1, 0.6, 0.6]) == [False, False, True, True, False, True]


def test_a_rate_below_one_lets_one_request_pass_at_a_time() -> None:
    """The first request passes at once."""
    assert _struck(Rule(rate=0.5), [0.0, 0.0, 2.0, 2.0]) == [False, True, False, True]


def test_probabilities_repeat_with_the_seed() -> None:
    """Two services with the same seed fail alike, and one with another seed differently."""

    def picks(seed: int) -> list[str | None]:
        faults = Faults(seed=seed)
        faults.update({"error_500": 0.5})
        return [faults.pick("query", lambda: None, 0) for _ in range(64)]

    assert picks(1) == picks(1) != picks(2)
    assert 16 < picks(1).count("error_500") < 48


def test_assigning_a_rule_again_restarts_its_count() -> None:
    """This holds for the same object, too."""
    faults, rule = Faults(), Rule(next=1)
    for _ in range(2):
        faults.throttle_404 = rule
        assert [faults.pick("topics", lambda: None, 0) for _ in range(2)] == ["throttle_404", None]


def test_a_rule_can_be_written_as_a_number_or_as_fields() -> None:
    """Lists will do, because JSON has no sets and no tuples."""
    assert Rule.of(1) == Rule(probability=1.0)
    assert Rule.of({"next": 2, "only": [[0, 7]], "operations": ["resend"]}) == Rule(
        next=2, only=frozenset({(0, 7)}), operations=frozenset({"resend"})
    )
    assert Rule(operations={"query"}, only={(0, 1)}).as_json() == {"operations": ["query"], "only": [(0, 1)]}  # type: ignore[arg-type]  # any set will do


@pytest.mark.parametrize(
    "changes",
    [{"throttle": 1}, {"error_500": {"nxt": 1}}, {"latency_s": "slow"}, {"rng": 1}, {"seed": True}, {"_counters": {}}],
    ids=str,
)
def test_a_wrong_name_or_value_changes_nothing(changes: dict[str, object]) -> None:
    """The error names it."""
    faults = Faults()
    with pytest.raises(ValueError, match=r"There is no switch|does not fit"):
        faults.update({"error_400": 1, **changes})
    assert faults.error_400 is NEVER


def test_a_rule_that_is_none_is_a_type_error() -> None:
    """A text is neither a probability nor a rule."""
    with pytest.raises(TypeError, match="is no rule"):
        Faults().update({"error_400": "often"})


def test_an_unknown_operation_or_fault_is_refused() -> None:
    """Otherwise a typo in a test would switch nothing on, in silence."""
    with pytest.raises(ValueError, match="There is no operation 'resned'"):
        Rule(operations=frozenset({"resned"}))
    with pytest.raises(AttributeError, match="There is no fault 'throtle'"):
        Faults().throtle = 1


def test_faults_are_shown_and_cleared() -> None:
    """Only rules that are on are shown; clearing restarts the random numbers."""
    faults = Faults()
    faults.update({"drop_after": {"next": 3}, "latency_s": 0.1, "latency_operations": ["query"]})
    shown = faults.as_json()
    assert (shown["drop_after"], shown["latency_s"], shown["latency_operations"]) == ({"next": 3}, 0.1, ["query"])
    assert "drop_before" not in shown
    faults.clear()
    assert faults.as_json() == Faults().as_json()
    assert faults.rng.random() == Faults().rng.random()


def test_every_fault_answers_something_that_exists() -> None:
    """The answers in the table of faults are those in the table of errors, or special ones, or the operation's own."""
    special = {"", "drop", "html", "redirect", "error_200", "other_echo"}
    assert {kind.answer for kind in KINDS.values()} <= {*ERRORS, *special}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency_s", "slow"),
        ("seed", True),
        ("row_changes", ["topic"]),
        ("visible_after_partitions", ["0"]),
        ("turns", [{"after": "3"}]),
        ("turns", [{"of": "copies"}]),
        ("turns", [{"faults": {"throtle": 1}}]),
        ("turns", [{"behaviour": {"cap": "many"}}]),
        ("turns", [{"append": [{"topic": "t", "partition": 0, "value": "", "offset": 3}]}]),
        ("turns", {"after": 3}),
    ],
    ids=str,
)
def test_a_value_of_a_wrong_type_cannot_be_assigned(name: str, value: object) -> None:
    """It would otherwise switch nothing on, or fail in the midst of a test."""
    faults = Faults()
    with pytest.raises(ValueError, match=r"There is no switch|does not fit"):
        setattr(faults, name, value)
    assert faults.as_json() == Faults().as_json()


def test_a_turn_that_is_none_is_a_type_error() -> None:
    """A number is no turn."""
    with pytest.raises(TypeError, match="is no turn"):
        Faults().turns = [3]


def test_turns_are_shown_as_they_were_written() -> None:
    """Only what is not at its default."""
    faults = Faults()
    faults.update({"turns": [{"after": 2, "faults": {"latency_s": 1}}, Turn(renew="orders")]})
    assert faults.as_json()["turns"] == [
        {"after": 2, "of": "copy", "faults": {"latency_s": 1}},
        {"after": 1, "of": "copy", "renew": "orders"},
    ]


def test_turns_count_anew_when_they_are_assigned() -> None:
    """Each comes once, at its own count of its own kind."""
    faults = Faults()
    for _ in range(2):
        faults.turns = [Turn(after=2), Turn(after=1, of="query")]
        found = [[turn.of for turn in faults.due(what)] for what in ("copy", "query", "copy", "copy", "query")]
        assert found == [[], ["query"], ["copy"], [], []]
