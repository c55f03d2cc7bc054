"""Which rows count: exact, on our side, and never by accident."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mqs.core.query.filters import FILTER_FIELDS, Filters, Tally
from airflow_provider_mqs.core.values.message import Message
from airflow_provider_mqs.exceptions import ConfigurationError


def message(**fields: Any) -> Message:
    return Message(**{"topic": "orders", "partition": 0, "message_offset": 4, "timestamp": 1, **fields})


@pytest.mark.parametrize("name", FILTER_FIELDS)
@pytest.mark.parametrize(
    ("value", "matches"), [("A-1", True), ("A-10", False), ("a-1", False), ("A-1 ", False), ("", False), (None, False)]
)
def test_fields_compare_exactly(name: str, value: str | None, matches: bool) -> None:
    """Neither parts nor other letters match, unlike the service's own search; what is absent does not, either."""
    filters = Filters(**{name: "A-1"})  # type: ignore[arg-type]  # one of the texts

    assert filters.match_row(message(**{name: value})) is matches


@pytest.mark.parametrize(("partition", "matches"), [(0, True), (1, False), (2, True)])
def test_partitions_are_a_set(partition: int, matches: bool) -> None:
    """Only rows of the partitions that are wanted count."""
    assert Filters(partitions=frozenset({0, 2})).match_row(message(partition=partition)) is matches


def test_without_filters_every_row_counts() -> None:
    """What is not set does not matter."""
    assert Filters().match_row(message())
    assert Filters().match_value(message())


def test_all_filters_must_match() -> None:
    """They are joined by and."""
    filters = Filters(key="k", tag="t", message_filter=lambda row: row.message_offset > 3)

    assert filters.match_row(message(key="k", tag="t"))
    assert not filters.match_row(message(key="k", tag="other"))
    assert not filters.match_row(message(key="k", tag="t", message_offset=3))


def test_error_in_the_function_is_never_no_match() -> None:
    """A mistake in it must not look like an empty window."""
    filters = Filters(message_filter=lambda row: row.value["total"] > 9)  # type: ignore[index,operator]  # that is the mistake

    with pytest.raises(TypeError):
        filters.match_row(message())


def test_function_that_needs_contents_is_not_asked_about_rows() -> None:
    """Rows have no content; it is asked later, when there is one."""
    filters = Filters(message_filter=lambda row: row.value == "x", fetch_values=True)

    assert filters.match_row(message())
    assert filters.match_value(message(value="x"))
    assert not filters.match_value(message(value="y"))


def only_large(row: Message) -> bool:
    return bool(row.size)


def test_what_was_asked_for_is_written_down() -> None:
    """The XCom says which filters made its set; a function by its name."""
    filters = Filters(partitions=frozenset({2, 0}), key="k", app_id="a", message_filter=only_large)

    assert filters.to_xcom() == {
        "key": "k",
        "app_id": "a",
        "partitions": [0, 2],
        "message_filter": "only_large",
        "fetch_values": False,
    }
    assert Filters().to_xcom() == {}


def tallied(filters: Filters, *rows: Message) -> list[str]:
    tally = Tally(filters)
    for row in rows:
        tally.matching([row])
    return tally.check()


@pytest.mark.parametrize("absent", ["", None])
def test_field_that_no_row_carries_is_refused(absent: str | None) -> None:
    """A filter on it would find nothing and look like success."""
    with pytest.raises(ConfigurationError, match="filter on tag can match nothing"):
        tallied(Filters(key="k", tag="t"), message(key="k", tag=absent), message(key="k", tag=absent))


def test_rows_that_lack_a_field_are_counted() -> None:
    """Where others carry it, they are no match, and the log says how many."""
    notes = tallied(Filters(key="k"), message(key="k"), message(key=None), message(key=""))

    assert notes == ["2 rows have no key and do not match the filter on it."]


def test_empty_window_says_nothing_about_fields() -> None:
    """Without rows there is nothing to judge by."""
    assert tallied(Filters(key="k")) == []


def test_fields_without_a_filter_do_not_matter() -> None:
    """Rows without key, tag and ids are usual."""
    assert tallied(Filters(), message()) == []
