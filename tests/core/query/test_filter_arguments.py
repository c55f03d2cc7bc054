"""Filters as templates and people write them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mqs.core.query.filter_arguments import filters_of
from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.exceptions import ConfigurationError


@pytest.mark.parametrize("value", [None, "", "None", " none "])
def test_what_is_left_out_filters_nothing(value: Any) -> None:
    """A template that renders to nothing is no filter."""
    assert filters_of(partitions=value, key=None, tag="") == Filters()


@pytest.mark.parametrize("value", [[0, 2], (0, 2), {0, 2}, "0,2", "[0, 2]", " 0, 2 ", [2, 0, 0]])
def test_partitions_are_read_from_lists_and_text(value: Any) -> None:
    """Numbers, text with commas and JSON are the same set."""
    assert filters_of(partitions=value).partitions == {0, 2}


@pytest.mark.parametrize("value", [3, "3"])
def test_one_partition_needs_no_list(value: Any) -> None:
    """A single number is a set of one."""
    assert filters_of(partitions=value).partitions == {3}


def test_digits_of_native_templates_are_text() -> None:
    """Native rendering turns a key of digits into a number; it is compared as text."""
    assert filters_of(key=4711).key == "4711"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"partitions": "a"}, "partitions"),
        ({"partitions": 1.5}, "partitions"),
        ({"partitions": []}, "partitions"),
        ({"partitions": [True]}, "partitions"),
        ({"key": 1.5}, "key"),
        ({"app_id": True}, "app_id"),
        ({"message_filter": "lambda message: True"}, "message_filter"),
        ({"fetch_values": True}, "fetch_values"),
    ],
)
def test_other_kinds_are_refused_by_name(arguments: dict[str, Any], name: str) -> None:
    """The error is one sentence that names the argument."""
    with pytest.raises(ConfigurationError, match=name):
        filters_of(**arguments)
