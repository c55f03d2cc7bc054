"""Window and content queries, with every switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.emulator.state import HOUR_MS
from tests.emulator.conftest import NOW_MS, START_MS

if TYPE_CHECKING:
    from tests.emulator.conftest import World


def _fill(world: World, count: int, **fields: object) -> None:
    world.topic(*({"timestamp_ms": START_MS + number, **fields} for number in range(count)))


def test_a_window_row_has_the_documented_fields_and_no_content(world: World) -> None:
    """A row has the fields of the API document, except the value."""
    world.topic({"key": "k", "value": "hello world", "tag": "t"})
    answer = world.query().json()
    assert answer == {
        "messages": [
            {
                "topic": "orders",
                "partition": 0,
                "key": "k",
                "size": 22,
                "timestamp": START_MS,
                "huge_message": False,
                "message_offset": 0,
                "message_id": "",
                "app_id": "",
                "tag": "t",
            }
        ],
        "total": 1.0,
        "size": 1.0,
    }
    assert isinstance(answer["total"], float)


def test_totals_can_be_whole_numbers(world: World) -> None:
    """A deployment may count in integers."""
    world.topic({})
    world.behave(float_totals=False)
    assert isinstance(world.query().json()["total"], int)


def test_a_missing_key_is_left_out_or_empty(world: World) -> None:
    """A message without key has no field, or an empty one."""
    world.topic({})
    assert "key" not in world.query().json()["messages"][0]
    world.behave(omit_missing_keys=False)
    assert world.query().json()["messages"][0]["key"] == ""


def test_window_rows_can_carry_an_empty_value_and_the_other_offset_name(world: World) -> None:
    """Rows can look as those of a keyword search do."""
    world.topic({})
    world.behave(window_value="empty", offset_field="offset")
    row = world.query().json()["messages"][0]
    assert row["value"] == ""
    assert row["offset"] == 0
    assert "message_offset" not in row


@pytest.mark.parametrize(
    ("paging", "offsets"), [("page0", [0, 1, 2]), ("page1", [1, 2, 3]), ("row", [0, 2, 4])], ids=str
)
def test_each_meaning_of_offset_walks_the_whole_window(world: World, paging: str, offsets: list[int]) -> None:
    """Three pages of two are reached by page number or by row position."""
    _fill(world, 5)
    world.behave(paging=paging)
    pages = [world.offsets(limit=2, offset=offset, asc="true") for offset in offsets]
    assert pages == [[0, 1], [2, 3], [4]]


def test_the_first_two_pages_of_one_based_paging_are_equal(world: World) -> None:
    """Page 0 is page 1, which is how a client recognises this meaning."""
    _fill(world, 3)
    world.behave(paging="page1")
    assert world.offsets(limit=2, offset=0) == world.offsets(limit=2, offset=1) == [0, 1]


def test_limit_is_clamped_and_defaults_to_ten(world: World) -> None:
    """A limit above the largest page returns the largest page."""
    _fill(world, 60)
    assert len(world.offsets(limit=100)) == 50
    assert len(world.offsets(limit=None)) == 10
    world.behave(page_size_limit=10)
    assert world.offsets(limit=50, offset=1) == list(range(10, 20))


def test_too_large_pages_and_skips_can_be_refused(world: World) -> None:
    """The error numbers are those of the engine below."""
    _fill(world, 1)
    world.behave(refuse_large_pages=True, max_skip=100)
    assert world.query(limit=51).json()["error_code"] == "DMS.10240042"
    assert world.query(offset=2).status == 200
    assert world.query(offset=3).json()["error_code"] == "DMS.10240043"


@pytest.mark.parametrize(("hides", "total"), [(False, 7), (True, 4)])
def test_the_cap_ends_the_pages_and_may_end_the_total(world: World, hides: bool, total: int) -> None:
    """Pages after the cap are empty, whatever total says."""
    _fill(world, 7)
    world.behave(cap=4, cap_hides_total=hides)
    assert world.offsets(limit=3, offset=1) == [3]
    assert world.offsets(limit=3, offset=2) == []
    assert world.query().json()["total"] == total
    world.behave(cap=None)
    assert len(world.offsets()) == 7


@pytest.mark.parametrize(("inclusive", "found"), [(True, [0, 1, 2]), (False, [0, 1])])
def test_the_end_is_inclusive_or_not(world: World, inclusive: bool, found: list[int]) -> None:
    """A message at exactly end_time makes the difference."""
    _fill(world, 4)
    world.behave(end_inclusive=inclusive)
    assert world.offsets(start_time=START_MS, end_time=START_MS + 2) == found


def test_partition_narrows_a_window_or_is_ignored(world: World) -> None:
    """The documents say that it is ignored; the newer console narrows by it."""
    world.topic({"partition": 0}, {"partition": 1})
    assert world.query(partition=1).json()["total"] == 1
    world.behave(partition_narrows=False)
    assert world.query(partition=1).json()["total"] == 2


def test_rows_are_ordered_by_time_only_on_request(world: World) -> None:
    """Without asc they are ordered by partition."""
    world.topic({"partition": 1, "timestamp_ms": START_MS}, {"partition": 0, "timestamp_ms": START_MS + 1})
    assert [row["partition"] for row in world.query(asc="true").json()["messages"]] == [1, 0]
    assert [row["partition"] for row in world.query(asc="false").json()["messages"]] == [0, 1]
    world.behave(default_asc=True)
    assert [row["partition"] for row in world.query().json()["messages"]] == [1, 0]


def test_a_search_returns_ten_rows_with_another_name_of_the_offset(world: World) -> None:
    """The key must contain the text; tag and message id must equal it."""
    _fill(world, 12, key="key-a", tag="t", message_id="m")
    rows = world.query(key="y-a", tag="t", message_id="m").json()["messages"]
    assert len(rows) == 10
    assert rows[0]["offset"] == 0
    assert world.query(tag="x").json()["messages"] == []


def test_expired_messages_are_invisible_to_both_queries(world: World) -> None:
    """Retention hides messages by time, whatever their offset."""
    world.topic({"timestamp_ms": NOW_MS - 2 * HOUR_MS}, {"timestamp_ms": NOW_MS}, retention_hours=1)
    assert world.offsets(start_time=0) == [1]
    assert world.content(message_offset=0).json()["messages"] == []
    world.now_s += 2 * 3600
    assert world.offsets(start_time=0) == []


def test_content_is_cut_unless_downloaded(world: World) -> None:
    """Four kilobytes are returned, never half a character, and huge_message says that there is more."""
    world.topic({"value": "x" * 4095 + "ü"}, {"value": "ü" * 2048})
    row = world.content().json()["messages"][0]
    assert (row["value"], row["huge_message"]) == ("x" * 4095, True)
    assert world.content(download="true").json()["messages"][0]["value"].endswith("ü")
    assert world.content(message_offset=1).json()["messages"][0]["huge_message"] is False


def test_a_download_can_be_a_file(world: World) -> None:
    """The form of the response is not documented, so both exist."""
    world.topic({"value": "hello"})
    world.behave(download_form="file")
    assert world.content(download="true").body == b"hello"
    assert world.content(download="true", message_offset=9).json()["messages"] == []


def test_content_queries_can_be_missing(world: World) -> None:
    """A deployment may refuse them."""
    world.topic({})
    world.behave(content_by_offset=False)
    assert world.content().status == 400


@pytest.mark.parametrize(
    ("params", "number"),
    [
        ({"topic": None}, "00400062"),
        ({"topic": "Orders"}, "00400975"),
        ({"start_time": "soon"}, "00400142"),
        ({"end_time": None}, "00400142"),
        ({"start_time": None}, "00400142"),
        ({"end_time": START_MS - 1}, "00400142"),
        ({"limit": "-1"}, "00400062"),
        ({"limit": "1.0"}, "00400062"),
        ({"offset": "x"}, "00400062"),
        ({"asc": "yes"}, "00400062"),
        ({"partition": "one"}, "00400062"),
        ({"start_time": None, "end_time": None}, "00400062"),
        ({"start_time": None, "end_time": None, "partition": 0}, "00400062"),
    ],
    ids=str,
)
def test_wrong_parameters_get_their_number(world: World, params: dict[str, object], number: str) -> None:
    """Topic names must match exactly, and numbers must be whole."""
    world.topic({})
    answer = world.query(**params)
    assert (answer.status, answer.json()["error_code"]) == (400, f"MQS.{number}")


def test_a_page_of_no_rows_still_counts(world: World) -> None:
    """The document allows limit 0."""
    _fill(world, 3)
    assert world.query(limit=0).json() == {"messages": [], "total": 3.0, "size": 0.0}


def test_windows_that_are_too_large_are_refused_on_request(world: World) -> None:
    """By length or by rows, with an error number that asks for a shorter range."""
    _fill(world, 5)
    world.state.faults.query_max_rows = 4
    assert (world.query().status, world.query().json()["error_code"]) == (501, "DMS.111501026")
    world.state.faults.update({"query_max_rows": None, "query_max_ms": 1000, "query_refusal": "query_timeout"})
    assert (world.query().status, world.query().json()["error_code"]) == (408, "DMS.111501024")
    assert world.query(end_time=START_MS + 1000).status == 200


def test_total_can_move(world: World) -> None:
    """It stays within the bounds and never falls below 0."""
    _fill(world, 1)
    world.state.faults.total_wobble = 3
    totals = {world.query().json()["total"] for _ in range(50)}
    assert totals == {0, 1, 2, 3, 4}


def test_messages_can_arrive_between_pages(world: World) -> None:
    """They are inside the window, so the next page counts them."""
    _fill(world, 1)
    world.state.faults.rows_between_pages = 2
    assert [world.query().json()["total"] for _ in range(3)] == [1, 3, 5]


def test_windows_are_cached_but_not_for_ever(world: World) -> None:
    """The cache of row ids is bounded and never stale."""
    _fill(world, 40)
    for end in range(40):
        assert len(world.offsets(end_time=START_MS + end)) == end + 1
    _fill(world, 1)
    assert len(world.offsets(end_time=START_MS)) == 2
