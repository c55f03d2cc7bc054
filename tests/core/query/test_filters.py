"""Which rows count: exact, on our side, and never by accident."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import fields
from typing import Any

import pytest

from airflow_provider_mqs.core.query.filters import FUNCTIONS, FilterArguments, Filters, RowFilter
from airflow_provider_mqs.core.values.message import Message
from airflow_provider_mqs.exceptions import ConfigurationError
from tests.support import example_of

NAMES = [one.name for one in fields(Filters)]


def message(**fields: Any) -> Message:
    return Message(**{"topic": "orders", "partition": 0, "message_offset": 4, "timestamp": 1, **fields})


@pytest.mark.parametrize("name", ["key", "tag", "message_id", "app_id"])
@pytest.mark.parametrize(
    ("value", "matches"), [("A-1", True), ("A-10", False), ("a-1", False), ("A-1 ", False), ("", False), (None, False)]
)
def test_fields_compare_exactly(name: str, value: str | None, matches: bool) -> None:
    """Neither parts nor other letters match, unlike the service's own search; what is absent does not, either."""
    filters = Filters.read(**{name: "A-1"})  # type: ignore[arg-type]  # one of the texts

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


def keyless(offset: int, key: str | None = None) -> Message:
    return message(message_offset=offset, key=key)


def tallied(filters: Filters, *rows: Message) -> list[str]:
    tally = RowFilter(filters)
    for row in rows:
        tally.matching([row])
    return tally.notes()


@pytest.mark.parametrize("absent", ["", None])
def test_field_that_no_row_carries_is_refused(absent: str | None) -> None:
    """A filter on it would find nothing and look like success."""
    with pytest.raises(ConfigurationError, match="filter on tag can match nothing"):
        tallied(Filters(key="k", tag="t"), message(key="k", tag=absent), message(key="k", tag=absent))


def test_rows_that_lack_a_field_are_counted() -> None:
    """Where others carry it, they are no match, and the log says how many."""
    notes = tallied(Filters(key="k"), message(key="k"), keyless(7), keyless(8, ""))

    assert notes == ["2 rows have no key and do not match the filter on it."]
    assert tallied(Filters(key="k"), message(key="k"), keyless(7)) == [
        "1 row has no key and does not match the filter on it."
    ]


def test_a_row_that_is_read_again_counts_once() -> None:
    """Wherever its offset lies, and whatever partition has the same one."""
    row_filter = RowFilter(Filters(partitions=frozenset({0, 1})))
    rows = [message(message_offset=offset) for offset in (0, 1, 63, 64, 65, 2**62)]
    rows += [message(partition=1, message_offset=63)]

    assert row_filter.matching(rows) == rows
    assert row_filter.matching(list(reversed(rows))) == []


def test_rows_that_were_seen_take_little_memory() -> None:
    """Less than four bytes an offset, as long as offsets lie side by side."""
    row_filter, count = RowFilter(Filters(partitions=frozenset(range(8)))), 50_000
    tracemalloc.start()
    try:
        for number in range(count):
            row_filter.matching([message(partition=number % 8, message_offset=number // 8)])
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert grown < 4 * count


def test_empty_window_says_nothing_about_fields() -> None:
    """Without rows there is nothing to judge by."""
    assert tallied(Filters(key="k")) == []


def test_fields_without_a_filter_do_not_matter() -> None:
    """Rows without key, tag and ids are usual."""
    assert tallied(Filters(), message()) == []


def test_every_filter_is_an_argument_of_the_reader() -> None:
    """The typed arguments of the hook, the reader and the class have the same names."""
    assert sorted(FilterArguments.__annotations__) == sorted(NAMES)
    assert sorted(Filters.read.__kwdefaults__) == sorted(NAMES)  # type: ignore[attr-defined]  # of the function


@pytest.mark.parametrize("name", NAMES)
def test_every_filter_is_read(name: str) -> None:
    """One that the reader dropped would let every message through."""
    assert Filters.read(**example_of(name)) != Filters.read(**example_of(name, leave_out=name))


@pytest.mark.parametrize("name", NAMES)
def test_every_filter_is_applied(name: str) -> None:
    """A message that has nothing in common with the example does not match it, once its content is known."""
    filters = Filters.read(**example_of(name))

    assert not (filters.match_row(message(partition=7)) and filters.match_value(message(partition=7)))


@pytest.mark.parametrize("name", NAMES)
def test_every_filter_survives_json(name: str) -> None:
    """What a trigger or an XCom says is what was asked for; a function is refused, since it cannot be restored."""
    filters = Filters.read(**example_of(name))
    document = json.loads(json.dumps(filters.to_xcom()))

    assert name in document
    if name in FUNCTIONS:
        with pytest.raises(ConfigurationError, match="message_filter"):
            Filters.from_xcom(document)
    else:
        assert Filters.from_xcom(document) == filters


@pytest.mark.parametrize("name", NAMES)
def test_every_filter_documents_itself(name: str) -> None:
    """Its text is the help of the commands and the documentation of operators and sensors."""
    (metadata,) = (one.metadata for one in fields(Filters) if one.name == name)

    assert metadata["help"]


def test_a_filter_of_another_version_is_refused_by_name() -> None:
    """A filter that is ignored widens what is counted and sent."""
    with pytest.raises(ConfigurationError, match="no filter 'min_age'"):
        Filters.from_xcom({"key": "k", "min_age": 4})


def test_an_unknown_argument_is_refused_by_name() -> None:
    """A misspelt filter is not no filter."""
    with pytest.raises(TypeError, match="'keys'"):
        Filters.read(keys="k")  # type: ignore[call-arg]  # that is the mistake


@pytest.mark.parametrize("value", [None, "", "None", " none "])
def test_partitions_that_are_left_out_mean_all(value: Any) -> None:
    """A template that renders to nothing is no filter."""
    assert Filters.read(partitions=value) == Filters()


@pytest.mark.parametrize("value", ["none", "null", "0"])
def test_a_key_may_look_like_nothing(value: str) -> None:
    """Only what Jinja makes of an empty Param is absent: anything else may be a key."""
    assert Filters.read(key=value).key == value


@pytest.mark.parametrize(
    "value",
    [[0, 2], (0, 2), {0, 2}, frozenset({0, 2}), "0,2", "[0, 2]", " 0, 2 ", [2, 0, 0], ["0", "2"], '["0", "2"]'],
)
def test_partitions_are_read_from_lists_and_text(value: Any) -> None:
    """Numbers, text with commas and JSON are the same set."""
    assert Filters.read(partitions=value).partitions == {0, 2}


@pytest.mark.parametrize("value", [3, "3", ["3"]])
def test_one_partition_needs_no_list(value: Any) -> None:
    """A single number is a set of one."""
    assert Filters.read(partitions=value).partitions == {3}


def test_digits_of_native_templates_are_text() -> None:
    """Native rendering turns a key of digits into a number; it is compared as text."""
    assert Filters.read(key=4711).key == "4711"  # type: ignore[arg-type]  # what a template makes


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"partitions": "a"}, "partitions"),
        ({"partitions": 1.5}, "partitions"),
        ({"partitions": []}, "partitions"),
        ({"partitions": [True]}, "partitions"),
        ({"partitions": ["0", "x"]}, "partitions"),
        ({"partitions": [-1]}, "partitions"),
        ({"partitions": 2**31}, "partitions"),
        ({"key": 1.5}, "key"),
        ({"app_id": True}, "app_id"),
        ({"message_filter": "lambda message: True"}, "message_filter"),
        ({"fetch_values": True}, "fetch_values"),
        ({"fetch_values": "perhaps", "message_filter": bool}, "fetch_values"),
    ],
)
def test_other_kinds_are_refused_by_name(arguments: dict[str, Any], name: str) -> None:
    """The error is one sentence that names the argument."""
    with pytest.raises(ConfigurationError, match=name):
        Filters.read(**arguments)
