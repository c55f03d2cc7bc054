"""Whether the messages of a plan still exist, and how many requests it takes to learn what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan, plan_of
from airflow_provider_mqs.core.query.query import Query, query_offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.seeds import seed
from airflow_provider_mqs.exceptions import ConfigurationError
from tests.support import END_MS, NOW_MS, START_MS, Local, local

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition


def seeded(count: int = 300, **behaviour: Any) -> Local:
    client = local(Behaviour(**behaviour))
    seed(client.state, "orders", count, START_MS, END_MS, partitions=3)
    return client


def queried(client: Local) -> Plan:
    """Plan everything that a query of the window finds."""
    query = Query("orders", TimeWindow(START_MS, END_MS))
    document = client.run(query_offsets(client.api, query, now_ms=NOW_MS)).offsets.to_xcom()
    client.requests.clear()
    return plan_of(document, None, endpoint=client.settings.host, instance_id=client.api.instance_id)


def loaded(client: Local, plan: Plan, offsets: OffsetsByPartition | None = None) -> SourceMessages:
    """Check the ends, then load, with only the requests of the load counted."""
    sources = SourceMessages(client.api, plan)
    client.run(sources.check_ends(plan.partitions))
    client.requests.clear()
    client.run(sources.load(plan.partitions if offsets is None else offsets))
    return sources


def kinds(client: Local) -> tuple[int, int]:
    """Count the requests by window and those by offset."""
    by_offset = sum("message_offset=" in request.url for request in client.requests)
    return len(client.requests) - by_offset, by_offset


def all_known(sources: SourceMessages, offsets: OffsetsByPartition) -> bool:
    return all(ref in sources.shown for ref in partition_offsets.expand(offsets))


def test_both_ends_of_each_partition_are_checked() -> None:
    """A partition of one message has one end."""
    client = seeded()
    sources = SourceMessages(client.api, Plan("orders", {0: ((0, 9), (20, 30)), 2: ((5, 5),)}))

    client.run(sources.check_ends({0: ((0, 9), (20, 30)), 2: ((5, 5),)}))

    assert kinds(client) == (0, 3)


@pytest.mark.parametrize("offsets", [{0: ((0, 100),)}, {1: ((50, 70),), 2: ((150, 150),)}], ids=str)
def test_an_end_that_no_longer_exists_refuses_the_plan(offsets: OffsetsByPartition) -> None:
    """The topic was recreated, or the message has aged out."""
    client = seeded()

    with pytest.raises(ConfigurationError, match=r"no longer exists.*Query the window again"):
        client.run(SourceMessages(client.api, Plan("orders", offsets)).check_ends(offsets))


def test_an_end_with_a_different_time_refuses_the_plan() -> None:
    """The topic was recreated, and its messages have the same offsets."""
    client = seeded()
    plan = queried(client)
    client.state.store.clear()
    seed(client.state, "orders", 300, END_MS, END_MS + 1000, partitions=3)

    with pytest.raises(ConfigurationError, match=r"different time now .* than when it was queried"):
        client.run(SourceMessages(client.api, plan).check_ends(plan.partitions))


def test_service_without_a_query_by_offset_checks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says so, and what messages look like is read with their window."""
    client = seeded()
    plan = queried(client)
    client.state.behaviour = Behaviour(content_by_offset=False)

    sources = loaded(client, plan)

    assert "the plan cannot be checked" in caplog.text
    assert all_known(sources, plan.partitions)
    assert kinds(client)[1] == 0


def test_many_messages_of_a_query_are_read_with_their_window() -> None:
    """That takes one request for fifty messages."""
    client = seeded()
    plan = queried(client)

    sources = loaded(client, plan)

    assert all_known(sources, plan.partitions)
    assert kinds(client) == (6, 0)


def test_few_messages_are_read_one_by_one() -> None:
    """Their window may hold a million others."""
    client = seeded()
    plan = queried(client)

    sources = loaded(client, plan, {1: ((10, 40),)})

    assert all_known(sources, {1: ((10, 40),)})
    assert kinds(client) == (0, 31)


def test_what_was_loaded_is_not_read_again() -> None:
    """Loading a part of it sends no request."""
    client = seeded()
    sources = loaded(client, queried(client))
    client.requests.clear()

    client.run(sources.load({0: ((0, 99),), 2: ((3, 7),)}))

    assert client.requests == []


def test_picked_messages_that_lie_close_are_read_with_their_window() -> None:
    """One request shows how many others lie between them."""
    client = seeded()
    picked = Plan("orders", {0: ((0, 99),), 1: ((10, 50),)})

    sources = loaded(client, picked)

    assert all_known(sources, picked.partitions)
    assert kinds(client) == (1 + 6, 0)


def test_picked_messages_that_lie_far_apart_are_read_one_by_one() -> None:
    """The window between them would take more requests."""
    client = seeded(18_000, cap=None)
    picked = Plan("orders", {0: tuple((offset, offset) for offset in range(0, 6000, 50))})

    sources = loaded(client, picked)

    assert all_known(sources, picked.partitions)
    assert kinds(client) == (1, 118)


@pytest.mark.parametrize("refusal", ["query_timeout", "query_too_large", "internal"])
def test_picked_messages_whose_range_is_refused_are_read_one_by_one(refusal: Any) -> None:
    """A range that is too much for the service does not prevent reading single messages."""
    client = seeded()
    client.state.faults.query_max_rows, client.state.faults.query_refusal = 100, refusal
    picked = Plan("orders", {0: ((0, 99),), 1: ((10, 50),)})

    sources = loaded(client, picked)

    assert all_known(sources, picked.partitions)
    assert kinds(client)[1] == 141 - 4


def test_a_total_at_the_cap_may_be_any_number() -> None:
    """So the window is not read for the few messages that are wanted from it."""
    client = seeded(600, cap=500, cap_hides_total=True)
    picked = Plan("orders", {0: ((0, 179),), 1: ((0, 0),)})

    loaded(client, picked)

    assert kinds(client) == (1, 181 - 3)


def test_a_message_that_no_longer_exists_is_not_shown() -> None:
    """The others are loaded all the same."""
    client = seeded()
    sources = SourceMessages(client.api, Plan("orders", {0: ((98, 101),)}))

    client.run(sources.load({0: ((98, 101),)}))

    assert sorted(sources.shown) == [(0, 98), (0, 99)]


def test_messages_of_other_plans_are_read_with_their_windows() -> None:
    """Windows that overlap are read as one, and each row once."""
    client = seeded(600, cap=None)
    sources = SourceMessages(client.api, Plan("orders", {}))
    middle_ms = (START_MS + END_MS) // 2
    wanted = {0: ((0, 199),), 1: ((0, 199),)}

    client.run(sources.load(wanted, [((START_MS, middle_ms + 1), wanted), ((middle_ms, END_MS), wanted)]))

    assert all_known(sources, wanted)
    assert kinds(client)[0] <= 16
    assert kinds(client)[1] == 0
