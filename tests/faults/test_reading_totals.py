"""A window is whole when its rows show it; ``total`` and the cap of a service are never believed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException

from airflow_provider_mqs.emulator.faults import Turn
from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor
from tests.faults.actors import hours_ago

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_mqs.testing import MqsEmulator
    from tests.faults.clocks import Clock

BELOW = [
    {"total_added": -1},
    {"total_added": -50},
    {"total_added": -3, "total_wobble": 3},
    {"total_factor": 0.99},
    {"total_factor": 0.9},
    {"total_factor": 0.5},
    {"total_says": "page"},
    {"total_says": 0},
    {"total_says": -1},
    {"total_says": 30},
    {"total_says": "null"},
    {"total_says": "absent"},
]
ABOVE = [
    {"total_added": 1},
    {"total_added": 50},
    {"total_factor": 2},
    {"total_added": 3, "total_wobble": 3},
    {"total_says": 5000},
]


def result_of(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call returns, or the error of ours that it raises."""
    try:
        return call(*arguments)
    except MqsError as error:
        return error


class Window:
    """A window of ``orders`` in the service, and what a client finds there."""

    def __init__(self, mqs: MqsEmulator, count: int, **options: Any) -> None:
        self.mqs, self.start, self.end = mqs, hours_ago(2), hours_ago(1)
        mqs.seed("orders", count, self.start, self.end, **{"partitions": 3, **options})

    def query(self, **filters: Any) -> Any:
        with MqsHook() as hook:
            return hook.query("orders", self.start, self.end, on_incomplete="warn", **filters)

    def requests(self) -> int:
        return len(self.mqs.requests("query"))

    def sense(self, **arguments: Any) -> dict[str, Any]:
        sensor = MessagesInWindowSensor(
            task_id="wait", topic="orders", start=self.start, end=self.end, timeout=1, poke_interval=1, **arguments
        )
        return dict(sensor.execute({}))


@pytest.mark.parametrize("hides", [True, False])
@pytest.mark.parametrize("cap", [50, 200, 400, 499, 501, 1000])
def test_the_cap_of_a_service_is_found_out(mqs: MqsEmulator, cap: int, hides: bool) -> None:
    """Its answers may even hide that there is more."""
    window = Window(mqs, 1500)
    mqs.behave(cap=cap, cap_hides_total=hides)

    found = window.query()

    assert (found.complete, found.count) == (True, 1500)


@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
@pytest.mark.parametrize("spread", ["bursts", "equal"])
def test_the_cap_is_found_out_however_the_rows_lie(mqs: MqsEmulator, spread: str, paging: str) -> None:
    """All at one millisecond, or in few bursts: whatever cannot be read is not called whole."""
    window = Window(mqs, 700, spread=spread)
    mqs.behave(cap=200, cap_hides_total=True, paging=paging)

    found = window.query()

    assert found.count == 700 or not found.complete


@pytest.mark.parametrize("count", [49, 50, 51, 100, 240])
@pytest.mark.parametrize("lie", BELOW, ids=str)
def test_a_total_below_the_rows_hides_none(mqs: MqsEmulator, lie: dict[str, Any], count: int) -> None:
    """Read on until a page is short."""
    window = Window(mqs, count)
    mqs.faults.update(lie)

    found = window.query()

    assert (found.complete, found.count) == (True, count)


@pytest.mark.parametrize("paging", ["page1", "row"])
@pytest.mark.parametrize(
    ("lie", "page_size"),
    # a page that is cut to 20 rows and calls them all there are looks like an honest window of 20 rows
    [({"total_factor": 0.5}, 20), ({"total_says": "absent"}, 20), ({"total_says": "page"}, 50)],
    ids=str,
)
def test_a_total_below_the_rows_hides_none_whatever_offset_means(
    mqs: MqsEmulator, lie: dict[str, Any], page_size: int, paging: str
) -> None:
    """Pages from 1, or positions of rows, with smaller pages than were asked for."""
    window = Window(mqs, 240)
    mqs.behave(paging=paging, page_size_limit=page_size)
    mqs.faults.update(lie)

    found = window.query()

    assert (found.complete, found.count) == (True, 240)


@pytest.mark.parametrize("count", [0, 10, 50, 240])
@pytest.mark.parametrize("lie", ABOVE, ids=str)
def test_a_total_above_the_rows_costs_a_bounded_number_of_requests(
    mqs: MqsEmulator, lie: dict[str, Any], count: int
) -> None:
    """Then the result is not called complete, since something may be missing."""
    window = Window(mqs, count)
    mqs.faults.update(lie)
    before = window.requests()

    found = window.query()

    assert found.count == count
    assert window.requests() - before <= 150
    if "total_wobble" not in lie and (count or "total_factor" not in lie):
        assert found.complete is False


@pytest.mark.parametrize("page", [0, 1, 4])
@pytest.mark.parametrize("total", [2**31, 10**12, 9.2e18, 2**63, 1e300], ids=str)
def test_no_work_grows_with_a_number_in_an_answer(mqs: MqsEmulator, total: float, page: int) -> None:
    """One page has a total without reason."""
    window = Window(mqs, 240)
    mqs.faults.update({"total_says": total, "total_pages": [page]})
    before = window.requests()

    found = result_of(window.query)

    if isinstance(found, MqsError):
        assert "total" in str(found)
    else:
        assert found.count == 240
    assert window.requests() - before <= 150


@pytest.mark.parametrize("total", ["240", "many", math.nan, math.inf, 240.5, [], {}, True], ids=str)
def test_a_total_of_any_type_is_no_traceback(mqs: MqsEmulator, total: Any) -> None:
    """All rows, or one clear error."""
    window = Window(mqs, 240)
    if isinstance(total, (str, float)):
        mqs.faults.total_says = total
    else:
        object.__setattr__(mqs.faults, "total_says", total)

    found = result_of(window.query)

    if isinstance(found, MqsError):
        assert "total" in str(found)
    else:
        assert found.count == 240


@pytest.mark.parametrize("count", [20, 50, 120])
@pytest.mark.parametrize("lie", [*BELOW[:1], *BELOW[4:]], ids=str)
def test_a_sensor_is_not_fooled_by_a_total_below_the_rows(mqs: MqsEmulator, lie: dict[str, Any], count: int) -> None:
    """The window is final and holds enough, so the sensor neither skips nor waits."""
    window = Window(mqs, count)
    mqs.faults.update(lie)

    assert window.sense(min_messages=count)["count"] >= count


@pytest.mark.parametrize("arguments", [{}, {"min_per_partition": 7}, {"expected_keys": ["key-1"]}], ids=str)
@pytest.mark.parametrize("lie", [{"total_factor": 2}, {"total_says": 500}, {"total_added": 1}], ids=str)
def test_a_sensor_is_not_fooled_by_a_total_above_the_rows(
    mqs: MqsEmulator, hurry: Callable[[float], Clock], lie: dict[str, Any], arguments: dict[str, Any]
) -> None:
    """The window holds too little, so the sensor skips, or waits until it may be sure; each poke is bounded."""
    hurry(20)
    window = Window(mqs, 20)
    mqs.faults.update(lie)
    before = window.requests()

    with pytest.raises((AirflowSkipException, AirflowSensorTimeout, MqsError)):
        window.sense(min_messages=21, **arguments)
    assert window.requests() - before <= 300


@pytest.mark.parametrize("lie", [{"total_says": 0}, {"total_factor": 0.5}, {"total_says": "absent"}], ids=str)
def test_a_filter_finds_what_it_must_whatever_the_total_is(mqs: MqsEmulator, lie: dict[str, Any]) -> None:
    """The same reading serves filters."""
    window = Window(mqs, 240)
    mqs.faults.update(lie)

    assert window.query(key="key-5").count == 3


@pytest.mark.parametrize("paging", ["page0", "row"])
@pytest.mark.parametrize("moments", [(1,), (2, 4), (1, 2, 3, 4, 5, 6)])
def test_rows_that_arrive_while_one_reads_are_in_it_or_the_window_is_not_whole(
    mqs: MqsEmulator, moments: tuple[int, ...], paging: str
) -> None:
    """No offset is left out although a later one of its partition is in."""
    window = Window(mqs, 240)
    middle = round((window.start.timestamp() + 1800) * 1000)
    rows = [
        {"topic": "orders", "partition": number % 3, "value": "late", "timestamp_ms": middle + 1000 * (number - 3)}
        for number in range(6)
    ]
    mqs.behave(paging=paging)
    mqs.faults.turns = [Turn(after=moment, of="query", append=tuple(rows[:4])) for moment in moments]

    found = window.query()

    if found.complete:
        assert_no_gaps(mqs, found, window.start, window.end)


@pytest.mark.parametrize("rate", [2, 5])
def test_an_open_window_has_no_gaps(mqs: MqsEmulator, rate: int) -> None:
    """Producers write while it is read, each after what is there."""
    start = hours_ago(1)
    mqs.seed("orders", 240, start, hours_ago(0), partitions=3)
    live = tuple({"topic": "orders", "partition": number % 3, "value": "live"} for number in range(rate))
    mqs.faults.turns = [Turn(after=moment, of="query", append=live) for moment in range(1, 30)]

    with MqsHook() as hook:
        end = hours_ago(0)
        found = hook.query("orders", start, end, on_incomplete="warn")

    if found.complete:
        assert_no_gaps(mqs, found, start, end)


def assert_no_gaps(mqs: MqsEmulator, found: Any, start: datetime, end: datetime) -> None:
    """Check that each offset of the window up to the last one that was found is in it."""
    got = {
        (int(partition), offset)
        for partition, part in found.to_xcom()["partitions"].items()
        for first, last in part["ranges"]
        for offset in range(first, last + 1)
    }
    last = {partition: max(offset for one, offset in got if one == partition) for partition, _ in got}
    wanted = {ref for ref in mqs.offsets("orders", start, end) if ref[1] <= last.get(ref[0], -1)}
    assert wanted <= got
