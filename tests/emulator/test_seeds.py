"""The messages that a service starts with."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.emulator.seeds import DAY_MS, seed, seed_demo
from airflow_provider_mqs.emulator.state import HOUR_MS
from airflow_provider_mqs.emulator.store import Topic
from tests.emulator.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.emulator.conftest import World

DAY_START_MS = NOW_MS // DAY_MS * DAY_MS - DAY_MS


def test_the_demo_is_a_full_day_of_orders(world: World) -> None:
    """Each partition has 100 messages an hour, with gaps and tags, and some have no key."""
    seed_demo(world.state)
    orders = world.state.store.messages("orders")
    hours = Counter(((one.timestamp_ms - DAY_START_MS) // HOUR_MS, one.partition) for one in orders)
    assert hours == {(hour, partition): 100 for hour in range(24) for partition in range(3)}
    assert world.state.store.topic("orders") == Topic("orders", 3, 168)
    assert max(one.message_offset for one in orders) > 2400
    assert {one.tag for one in orders} == {"web", "shop", "app", ""}
    assert 0 < sum(one.key is None for one in orders) < 2000
    assert len(world.state.store.messages("payments")) == 480


def test_the_demo_is_written_once_a_day(world: World) -> None:
    """A restart adds nothing; the next day adds the messages of its own yesterday."""
    for _ in range(2):
        seed_demo(world.state)
    assert len(world.state.store.messages("orders")) == 7200
    world.now_s += 24 * 3600
    seed_demo(world.state)
    assert len(world.state.store.messages("orders")) == 14400


@pytest.mark.parametrize(
    ("spread", "times"),
    [("even", list(range(0, 1000, 50))), ("equal", [0]), ("bursts", list(range(0, 1000, 100)))],
    ids=str,
)
def test_each_spread_stays_in_its_window(world: World, spread: str, times: list[int]) -> None:
    """No message is at the end of the window or after it."""
    seed(world.state, "t", 20, NOW_MS, NOW_MS + 1000, spread=spread)  # type: ignore[arg-type]  # from the parameters
    found = world.state.store.messages("t")
    assert sorted({one.timestamp_ms - NOW_MS for one in found}) == times
    assert len(found) == 20


@pytest.mark.parametrize("spread", ["even", "equal", "bursts"])
def test_a_seed_may_have_no_messages(world: World, spread: str) -> None:
    """Only the topic is created."""
    seed(world.state, "t", 0, 0, 1, spread=spread)  # type: ignore[arg-type]  # from the parameters
    assert world.state.store.topic("t") is not None
    assert world.state.store.messages("t") == []


def test_gaps_keys_sizes_and_continuation(world: World) -> None:
    """A second seed continues after the first one."""
    options = {"gap_every": 2, "missing_key_every": 3, "value_bytes": 100}
    for _ in range(2):
        seed(world.state, "t", 4, NOW_MS, NOW_MS + 4, **options)  # type: ignore[arg-type]  # one dict for all
    found = world.state.store.messages("t")
    assert [one.message_offset for one in found] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert [one.key is None for one in found[:4]] == [True, False, False, True]
    assert {len(one.value) for one in found} == {100}


def test_old_windows_stay_visible_unless_retention_is_given(world: World) -> None:
    """Tests may therefore use any date."""
    seed(world.state, "old", 1, 0, 1)
    seed(world.state, "aged", 1, 0, 1, retention_hours=72)
    visible = {name: world.query(topic=name, start_time=0).json()["total"] for name in ("old", "aged")}
    assert visible == {"old": 1, "aged": 0}
