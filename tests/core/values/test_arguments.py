"""Single arguments: what is taken, and one sentence for what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.values.arguments import (
    choice,
    flag,
    is_absent,
    number_above_0,
    partition_number,
    topic_name,
    whole_number,
)
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", ["orders", "O", "a-b_c-9"])
def test_topic_names_of_the_document_are_taken(name: str) -> None:
    """A letter first, then letters, digits, hyphens and underscores."""
    assert topic_name(name) == name


@pytest.mark.parametrize("partition", [0, 7, 2**31 - 1])
def test_partitions_are_whole_numbers_from_0(partition: int) -> None:
    """Partition numbers of Kafka are taken as they are."""
    assert partition_number(partition) == partition


@pytest.mark.parametrize(("value", "absent"), [(None, True), ("", True), (" None ", True), ("null", True), (0, False)])
def test_what_jinja_makes_of_none_is_absent(value: Any, absent: bool) -> None:
    """A template that rendered nothing is a left-out argument; a zero is not."""
    assert is_absent(value) is absent


@pytest.mark.parametrize(("value", "number"), [(5, 5), ("5", 5), (" 5 ", 5), (1, 1), (9, 9)])
def test_whole_numbers_come_as_numbers_or_digits(value: Any, number: int) -> None:
    """Templates give text; both ends of the range belong to it."""
    assert whole_number(value, "max_messages", minimum=1, maximum=9) == number


@pytest.mark.parametrize(("value", "number"), [(2, 2.0), ("0.5", 0.5), (1e-3, 0.001)])
def test_rates_come_as_numbers_or_digits(value: Any, number: float) -> None:
    """Templates give text; fractions are fine."""
    assert number_above_0(value, "max_rate") == number


@pytest.mark.parametrize(
    ("value", "meant"), [(True, True), (False, False), ("True", True), ("no", False), (1, True), ("off", False)]
)
def test_flags_come_as_bools_or_words(value: Any, meant: bool) -> None:
    """Templates give words."""
    assert flag(value, "dry_run") is meant


def test_choice_is_one_of_the_words() -> None:
    """A word of the list is given back."""
    assert choice("skip", "on_empty", ("skip", "fail")) == "skip"


@pytest.mark.parametrize(
    ("check", "name"),
    [
        *((lambda bad=bad: topic_name(bad), "topic") for bad in ("", "9a", "a.b", "a b", "a\n", "é", None, 5, "../x")),
        *((lambda bad=bad: partition_number(bad), "partition") for bad in (-1, 2**31, True, "0", 1.0, None)),
        *(
            (lambda bad=bad: whole_number(bad, "limit", minimum=1, maximum=9), "limit must .* from 1 to 9")
            for bad in (0, 10, True, "x", "1.5", 1.5, None, "9" * 5000)
        ),
        (lambda: whole_number(0, "limit", minimum=1), "limit must .* from 1;"),
        *(
            (lambda bad=bad: number_above_0(bad, "max_rate"), "max_rate")
            for bad in (0, -1, "x", None, True, float("nan"), float("inf"), 10**400)
        ),
        *((lambda bad=bad: flag(bad, "dry_run"), "dry_run") for bad in ("maybe", None, 2, "")),
        *((lambda bad=bad: choice(bad, "on_empty", ("skip", "fail")), "on_empty .* skip, fail") for bad in ("SKIP", 1)),
    ],
)
def test_anything_else_is_one_sentence_that_names_the_argument(check: Callable[[], Any], name: str) -> None:
    """A wrong argument is named, with what it may be."""
    with pytest.raises(ConfigurationError, match=rf"^{name}.*[.]$"):
        check()
