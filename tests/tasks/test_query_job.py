"""A query by operator, hook and command: the same window, the same rule about its end, the same words."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_mqs.__main__ import main
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.query.query import QueryArguments
from airflow_provider_mqs.core.values.time_window import TimeWindow, WindowArguments, to_ms
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.operators.mqs import QueryMessagesOperator
from airflow_provider_mqs.tasks import query_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator

NOW = datetime.now(timezone.utc)
FRESH = "The window ended less than 60 s ago; messages with its timestamps may still arrive."


@pytest.fixture(autouse=True)
def _seeded(mqs: MqsEmulator) -> None:
    mqs.seed("orders", 6, NOW - timedelta(hours=1), NOW - timedelta(minutes=1), partitions=3)


def by_operator(start: datetime, end: datetime) -> None:
    QueryMessagesOperator(task_id="query", topic="orders", start=start, end=end).execute({})


def by_hook(start: datetime, end: datetime) -> None:
    MqsHook().query("orders", start, end)


def by_command(start: datetime, end: datetime) -> None:
    assert main(["query", "--topic", "orders", "--start", start.isoformat(), "--end", end.isoformat()]) == 0


@pytest.mark.parametrize("ask", [by_operator, by_hook, by_command])
def test_a_window_that_has_just_ended_is_warned_about(
    ask: Callable[[datetime, datetime], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks: messages with its timestamps may still be on their way."""
    ask(NOW - timedelta(hours=1), datetime.now(timezone.utc) - timedelta(seconds=1))

    assert FRESH in caplog.messages


def test_a_window_that_ends_in_the_future_is_refused_in_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks, and before anything is sent."""
    window = (NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    with pytest.raises(AirflowFailException, match="end is in the future") as of_operator:
        by_operator(*window)
    with pytest.raises(ConfigurationError) as of_hook:
        by_hook(*window)
    capsys.readouterr()
    with pytest.raises(AssertionError):
        by_command(*window)

    of_command = capsys.readouterr().err.splitlines()[-1]
    assert str(of_operator.value) == str(of_hook.value) == of_command


def test_the_log_says_where_the_window_came_from(caplog: pytest.LogCaptureFixture) -> None:
    """In words that a reader of the log knows."""
    start, end = NOW - timedelta(hours=1), NOW - timedelta(minutes=2)
    with caplog.at_level("INFO"):
        by_operator(start, end)
        QueryMessagesOperator(task_id="query", topic="orders").execute(
            {"data_interval_start": start, "data_interval_end": end}
        )
        QueryMessagesOperator(task_id="query", topic="orders", lookback=60).execute({"data_interval_end": end})

    lines = [message for message in caplog.messages if "Querying topic 'orders'. Window [" in message]
    assert [line.partition(") from ")[2] for line in lines] == [
        "start and end.",
        "the data interval of the run.",
        "lookback.",
    ]


def test_every_argument_of_a_query_reaches_it_from_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """None keeps its default: one that the operator forgot would."""
    start, end = NOW - timedelta(hours=1), NOW - timedelta(minutes=2)
    asked: list[QueryArguments] = []

    def run_query(_hook: MqsHook, arguments: QueryArguments, window: TimeWindow, _records: object) -> Offsets:
        asked.append(arguments)
        return Offsets("host", "instance", arguments.topic, window, {})

    monkeypatch.setattr(query_job, "run_query", run_query)
    QueryMessagesOperator(
        task_id="query",
        topic="orders",
        start=start,
        end=end,
        key="k",
        on_incomplete="warn",
        max_messages=7,
        exclude_copies=False,
        clamp_to_now=True,
        concurrency=3,
    ).execute({})

    assert [one.name for one in fields(QueryArguments) if getattr(asked[0], one.name) == one.default] == []
    assert asked[0].filters == Filters(key="k")
    assert asked[0].window == WindowArguments(to_ms(start), to_ms(end))
