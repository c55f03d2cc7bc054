"""Counting a window: right whatever the service does at its edges, and with one request if that is enough."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.watch.condition import Condition
from airflow_provider_mqs.core.watch.window_count import WindowCounter
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.emulator.seeds import seed
from airflow_provider_mqs.exceptions import BadRequestError, ConfigurationError, IncompleteWindowError
from tests.support import END_MS, NOW_MS, START_MS, Local, local

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.core.client.flow import Response
    from airflow_provider_mqs.core.watch.condition import WindowCount
    from airflow_provider_mqs.emulator.store import Store

SIZES = (0, 1, 49, 50, 51, 300, 500, 501, 700)
WINDOW = TimeWindow(START_MS, END_MS)


@cache
def stored(count: int, behind: int, last: int = 0) -> Store:
    """A store whose window holds ``count`` messages, ``last`` of them in its last ms; ``behind`` are at its end."""
    client = local()
    seed(client.state, "orders", 20, START_MS - 1000, START_MS, partitions=3)
    seed(client.state, "orders", count - last, START_MS, END_MS - 1, partitions=3)
    seed(client.state, "orders", last, END_MS - 1, END_MS, partitions=3)
    seed(client.state, "orders", behind, END_MS, END_MS + 1, partitions=3)
    return client.state.store


def condition(required: int, **more: Any) -> Condition:
    return Condition("orders", WINDOW, min_messages=required, **more)


def count(client: Local, required: int = 1, **filters: Any) -> WindowCount:
    counter = WindowCounter(condition(required, filters=Filters(**filters)))
    return client.run(counter.count(client.api, NOW_MS))


def queries(client: Local) -> int:
    return sum("/messages?" in request.url for request in client.requests)


def cases() -> Iterator[tuple[int, int, int]]:
    for size, behind in product(SIZES, (0, 1, 60)):
        for required in sorted({1, 40, 60, 499, 600, size, size + 1}):
            yield size, behind, required


@pytest.mark.parametrize("hides_total", [False, True])
@pytest.mark.parametrize("limit", [10, 50])
@pytest.mark.parametrize("inclusive", [False, True])
def test_the_comparison_is_right_for_every_edge(limit: int, inclusive: bool, hides_total: bool) -> None:
    """It is enough exactly if the window itself holds enough, whether the service includes the end moment or not."""
    behaviour = Behaviour(page_size_limit=limit, end_inclusive=inclusive, cap_hides_total=hides_total)

    for size, behind, required in cases():
        found = count(local(behaviour, stored(size, behind)), max(required, 1))

        assert (found.count >= max(required, 1)) == (size >= max(required, 1)), (size, behind, required)
        assert found.count == size or not found.exact, (size, behind, required)


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("size", [0, 1, 49, 300, 501])
def test_one_request_is_enough_if_a_page_shows_enough_or_everything(size: int, inclusive: bool) -> None:
    """An empty window, a page, and a large window cost one request each."""
    for required in (1, 40):
        client = local(Behaviour(end_inclusive=inclusive), stored(size, behind=0))

        count(client, required)

        assert queries(client) == 1, required


@pytest.mark.parametrize("size", [50, 300])
def test_a_wait_that_goes_on_costs_two_requests(size: int) -> None:
    """The page that would hold the last of the required messages does not."""
    client = local(store=stored(size, behind=1))

    found = client.run(WindowCounter(condition(400, on_closed_empty="wait")).count(client.api, NOW_MS))

    assert found.count < 400
    assert queries(client) == 2


def test_a_total_alone_neither_satisfies_nor_ends_a_wait() -> None:
    """Both are decided by rows: 300 are 300, whatever the service says."""
    for total in (0, 299, 301, 10_000):
        client = local(store=stored(300, behind=0))
        exchange = client._exchange
        client._exchange = lambda request, told=total, ask=exchange: _with_total(ask(request), told)  # type: ignore[method-assign]

        for required in (300, 301):
            try:
                assert (count(client, required).count >= required) == (required == 300)
            except IncompleteWindowError:  # noqa: PERF203 - one of four
                assert total > 300


def _with_total(response: Response, total: int) -> Response:
    body = response.json()
    return replace(response, body=json.dumps({**body, "total": total}).encode()) if "messages" in body else response


def test_rows_of_a_page_are_counted_one_by_one_and_timed() -> None:
    """A page that shows everything gives the exact number and the first and last timestamp."""
    found = count(local(store=stored(48, behind=1)))

    assert (found.count, found.exact, found.at_least) == (48, True, False)
    assert found.first_timestamp == START_MS
    assert START_MS < (found.last_timestamp or 0) < END_MS


def test_a_total_of_the_cap_means_at_least() -> None:
    """Nobody can know whether the service holds back more than 500, and the count says so."""
    found = count(local(Behaviour(cap_hides_total=True), stored(700, behind=0)))

    assert (found.count, found.exact, found.at_least) == (500, False, True)


def test_more_than_the_cap_is_counted_row_by_row() -> None:
    """If 500 or more are required, the window is read in slices."""
    found = count(local(Behaviour(cap_hides_total=True), stored(700, behind=1)), required=600)

    assert (found.count, found.exact) == (700, True)
    assert found.first_timestamp == START_MS


def test_a_filter_is_exact() -> None:
    """With a filter every row is read, and those that match are counted."""
    found = count(local(store=stored(300, behind=1)), partitions=frozenset({0}))

    assert (found.count, found.exact) == (100, True)


def test_the_topic_list_is_read_once() -> None:
    """Later polls of the same counter cost one request."""
    client = local(store=stored(300, behind=0))
    counter = WindowCounter(condition(1))

    for _ in range(3):
        client.run(counter.count(client.api, NOW_MS))

    assert sum("/topics" in request.url for request in client.requests) == 1
    assert queries(client) == 3


def test_an_unknown_topic_fails_for_good() -> None:
    """A typing error does not wait until the timeout."""
    with pytest.raises(ConfigurationError, match="'orders' is not in the instance"):
        count(local())


def test_a_window_that_begins_before_what_is_kept_fails_for_good() -> None:
    """What may be gone can neither be counted nor waited for, even if it ages while somebody waits."""
    client = local(store=stored(49, behind=0))
    counter = WindowCounter(condition(1))

    assert client.run(counter.count(client.api, NOW_MS)).count == 49
    with pytest.raises(ConfigurationError, match=r"keeps .* hours of topic 'orders'"):
        client.run(counter.count(client.api, NOW_MS + 1_000_000_000))


def test_without_permission_to_list_topics_it_still_counts(caplog: pytest.LogCaptureFixture) -> None:
    """One warning says what is not known."""
    client = local(store=stored(49, behind=0))
    client.state.faults.error_403 = Rule(probability=1.0, operations=frozenset({"topics"}))

    assert count(client).count == 49
    assert "topic list cannot be read" in caplog.text


def test_a_window_that_is_too_much_for_the_service_is_read_in_slices() -> None:
    """The refusal that asks for a shorter time range is no reason to fail."""
    client = local(store=stored(300, behind=0))
    client.state.faults.query_max_rows = 100

    assert count(client).count == 300


def test_a_service_that_refuses_fifty_rows_is_asked_for_ten() -> None:
    """The same number, from a smaller page."""
    client = local(Behaviour(page_size_limit=10, refuse_large_pages=True), stored(51, behind=0))

    assert count(client, required=51).count == 51


def test_any_other_refusal_is_passed_on() -> None:
    """No other error makes it try a smaller page."""
    client = local(store=stored(51, behind=0))
    client.state.faults.error_400 = Rule(probability=1.0, operations=frozenset({"query"}))

    with pytest.raises(BadRequestError):
        count(client)
    assert queries(client) == 1


def test_rows_without_the_filtered_field_do_not_match_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A row that lacks the key is not counted, and the log says how many do."""
    client = local()
    seed(client.state, "orders", 30, START_MS, END_MS, partitions=3, missing_key_every=3)
    keys = [row.key for row in client.state.store.messages("orders")]
    key = next(key for key in keys if key)

    assert count(client, key=key).count == keys.count(key)
    assert "rows have no key" in caplog.text


def test_rows_that_do_not_add_up_are_no_count() -> None:
    """If every row is needed and the service shows fewer than its total, there is no answer."""
    client = local(Behaviour(content_by_offset=False, partition_narrows=False), stored(501, behind=0, last=501))

    with pytest.raises(IncompleteWindowError):
        count(client, partitions=frozenset({0}))


def counted(store: Store, **more: Any) -> WindowCount:
    client = local(store=store)
    return client.run(WindowCounter(condition(1, **more)).count(client.api, NOW_MS))


def test_each_partition_of_the_topic_is_counted_on_request() -> None:
    """One without a message counts, too; a filter says which ones matter."""
    store = local().state.store
    state = local(store=store).state
    seed(state, "orders", 0, START_MS, END_MS, partitions=3)
    for partition, number in ((0, 2), (2, 1)):
        for _ in range(number):
            state.append("orders", partition, "x", timestamp_ms=START_MS)

    assert counted(store, min_per_partition=1).partitions == {"0": 2, "1": 0, "2": 1}
    assert counted(store, filters=Filters(partitions=frozenset({2})), min_per_partition=1).partitions == {"2": 1}
    assert counted(store).partitions is None


def test_partitions_that_cannot_be_listed_are_not_guessed() -> None:
    """The sentence names the argument and the reason."""
    client = local(store=stored(49, behind=0))
    client.state.faults.error_403 = Rule(probability=1.0, operations=frozenset({"topics"}))

    with pytest.raises(ConfigurationError, match="min_per_partition needs the topic's number of partitions"):
        client.run(WindowCounter(condition(1, min_per_partition=1)).count(client.api, NOW_MS))


def test_expected_keys_that_no_message_has_are_missing() -> None:
    """Only rows that the filters let through count."""
    store = local().state.store
    state = local(store=store).state
    seed(state, "orders", 0, START_MS, END_MS, partitions=3)
    for partition, key in ((0, "a"), (1, "b"), (2, None)):
        state.append("orders", partition, "x", timestamp_ms=START_MS, key=key)

    assert counted(store, expected_keys=("c", "a", "b")).missing_keys == ["c"]
    assert counted(store, filters=Filters(partitions=frozenset({0})), expected_keys=("a", "b")).missing_keys == ["b"]
