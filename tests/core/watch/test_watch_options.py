"""What a watcher is asked for is checked once, and none of it is lost on its way to a triggerer."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.core.watch.watch_options import NOW, WatchOptions
from airflow_provider_mqs.exceptions import ConfigurationError


def options(**changes: Any) -> WatchOptions:
    """Every argument as somebody might write it, none of them a default of the trigger."""
    given = {
        "topic": "orders",
        "poll_interval_s": timedelta(minutes=2),
        "settle_s": "1.5",
        "overlap_s": 2,
        "max_messages": "7",
        "start": "2023-11-14T22:13:20Z",
        "exclude_copies": "no",
    }
    return WatchOptions.read(**{**given, **changes})


def test_the_arguments_of_a_watcher_survive_as_json() -> None:
    """All of them; one that is lost changes what is published."""
    read = options()

    assert read == WatchOptions("orders", 120.0, 1.5, 2.0, 7, 1_700_000_000_000, exclude_copies=False)
    assert read.to_json().keys() == {one.name for one in fields(WatchOptions)}
    assert WatchOptions.read(**json.loads(json.dumps(read.to_json()))) == read


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic": ""},
        {"poll_interval_s": -1},
        {"settle_s": ""},
        {"overlap_s": None},
        {"max_messages": 0},
        {"start": "soon"},
        {"start": None},
        {"exclude_copies": "maybe"},
    ],
)
def test_a_wrong_argument_of_a_watcher_is_named(wrong: dict[str, Any]) -> None:
    """With what it must be."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        options(**wrong)


def test_a_watcher_polls_once_a_second_at_most() -> None:
    """Nobody spins by mistake."""
    assert options(poll_interval_s=0).poll_interval_s == 1.0


def test_a_stored_cursor_is_found_under_the_name_that_it_always_had() -> None:
    """Another name would make each watcher start anew, and publish again what it has published."""
    ref = TopicRef("roma.example.com", "i", "orders")

    assert options(start=NOW, exclude_copies=True).cursor_key(ref) == "cursor-299f8da8e98048232181fc14f1f69d77"
    assert options().cursor_key(ref) == "cursor-46630bbfd72d763c8b846acb29a3d977"
