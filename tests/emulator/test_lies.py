"""Answers of a window query that are wrong on purpose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.conftest import NOW_MS, START_MS

if TYPE_CHECKING:
    from tests.emulator.conftest import World


def _fill(world: World, count: int) -> None:
    world.topic(*({} for _ in range(count)))


@pytest.mark.parametrize(
    ("faults", "total"),
    [
        ({}, 10),
        ({"total_added": -3}, 7),
        ({"total_added": -30}, 0),
        ({"total_added": 1}, 11),
        ({"total_factor": 0.9}, 9),
        ({"total_factor": 0.5, "total_added": 1}, 6),
        ({"total_factor": 2}, 20),
        ({"total_says": "page"}, 4),
        ({"total_says": 0}, 0),
        ({"total_says": -1}, -1),
        ({"total_says": 2**63}, 2**63),
        ({"total_says": "10"}, "10"),
        ({"total_says": "null"}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("floats", [True, False])
def test_total_can_be_wrong(world: World, faults: dict[str, Any], total: object, floats: bool) -> None:
    """The rows stay right."""
    _fill(world, 10)
    world.behave(float_totals=floats)
    world.state.faults.update(faults)
    answer = world.query(limit=4).json()
    assert answer["total"] == total
    assert len(answer["messages"]) == 4


def test_total_can_be_absent_or_no_number(world: World) -> None:
    """As a careless service may answer."""
    _fill(world, 1)
    world.state.faults.total_says = "absent"
    assert "total" not in world.query().json()
    world.state.faults.total_says = math.nan
    assert math.isnan(world.query().json()["total"])


def test_total_can_be_wrong_on_one_page_only(world: World) -> None:
    """Pages are counted from 0, whatever the meaning of offset is."""
    _fill(world, 6)
    world.behave(paging="row")
    world.state.faults.update({"total_says": 10**12, "total_pages": [1]})
    assert [world.query(limit=2, offset=offset).json()["total"] for offset in (0, 2, 4)] == [6, 10**12, 6]


@pytest.mark.parametrize(
    ("every", "topics"), [(1, ["other"] * 3), (2, ["orders", "other", "orders"]), (0, ["orders"] * 3)]
)
def test_rows_can_be_those_of_another_question(world: World, every: int, topics: list[str]) -> None:
    """All of them, or every n-th; content queries are left alone."""
    _fill(world, 3)
    world.state.faults.update({"row_changes": {"topic": "other"}, "row_changes_every": every})
    assert [row["topic"] for row in world.query().json()["messages"]] == topics
    assert world.content().json()["messages"][0]["topic"] == "orders"


@pytest.mark.parametrize("value", [-1, 2**63, 4.5, "1_0", "٣", None, math.inf], ids=str)
def test_an_offset_can_be_nonsense(world: World, value: object) -> None:
    """Any value that JSON can hold."""
    _fill(world, 1)
    world.state.faults.row_changes = {"message_offset": value}
    assert world.offsets() == [value]


def test_a_content_query_can_answer_another_message(world: World) -> None:
    """Window queries are left alone."""
    _fill(world, 1)
    world.state.faults.content_changes = {"message_offset": 7}
    assert world.content().json()["messages"][0]["message_offset"] == 7
    assert world.offsets() == [0]


def test_rows_can_come_twice_with_another_content(world: World) -> None:
    """The second one has the same offset."""
    _fill(world, 3)
    world.state.faults.update({"repeat_every": 2, "repeat_changes": {"size": 99}})
    rows = [(row["message_offset"], row["size"]) for row in world.query().json()["messages"]]
    assert rows == [(0, 12), (1, 12), (1, 99), (2, 12)]


def test_rows_outside_the_time_can_be_answered_and_counted(world: World) -> None:
    """As by a service that widens the window."""
    _fill(world, 5)
    world.state.faults.slack_ms = 1
    answer = world.query(start_time=START_MS + 2, end_time=START_MS + 2).json()
    assert [row["timestamp"] - START_MS for row in answer["messages"]] == [1, 2, 3]
    assert answer["total"] == 3


def test_the_list_can_be_null(world: World) -> None:
    """The total stays."""
    _fill(world, 1)
    world.state.faults.null_rows = True
    assert world.query().json() == {"messages": None, "total": 1, "size": 1}


def test_times_can_be_in_seconds(world: World) -> None:
    """Those of the rows only."""
    _fill(world, 1)
    world.behave(timestamp_unit="s")
    assert world.query(end_time=NOW_MS).json()["messages"][0]["timestamp"] == START_MS // 1000
