"""What the events that started a run carry: their window, and their messages, each once, whoever raised them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.document import Offsets, PartitionOffsets, digest_of
from airflow_provider_mqs.core.offsets.plan import plan_of
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.tasks.dag_run import events_of, messages_of_events, window_of_events
from tests.support import START_MS, settings_for, started_by

if TYPE_CHECKING:
    from collections.abc import Iterator

REF = TopicRef("127.0.0.1:1", settings_for().instance_id or "", "orders")
PLAIN = Offsets(**REF._asdict(), window=TimeWindow(START_MS, START_MS + 1000, "event"), partitions={})

batches = st.builds(
    lambda begin, length_ms, held: batch(*held, first_ms=START_MS + begin, length_ms=length_ms),
    st.integers(0, 5000),
    st.integers(1, 5000),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 9)), max_size=5),
)


def batch(*held: tuple[int, int, int], first_ms: int = START_MS, length_ms: int = 1000, **changes: Any) -> Offsets:
    """Give the offsets of an event: partition, first offset, and how many more."""
    ranges = partition_offsets.union(*({number: ((first, first + more),)} for number, first, more in held))
    partitions = {number: PartitionOffsets(some, first_ms, first_ms) for number, some in ranges.items()}
    return replace(PLAIN, window=TimeWindow(first_ms, first_ms + length_ms, "event"), partitions=partitions, **changes)


def ranges_of(offsets: Offsets) -> partition_offsets.OffsetsByPartition:
    return {number: part.ranges for number, part in offsets.partitions.items()}


def started(*several: Offsets) -> dict[str, Any]:
    return started_by(*(offsets.to_xcom() for offsets in several))


@pytest.fixture(scope="module", autouse=True)
def _connection() -> Iterator[None]:
    """Nothing is asked here, so that no service is needed."""
    connection = {"conn_type": "mqs", "host": "http://127.0.0.1:1", "login": "user", "password": "password"}
    extra = {"instance_id": REF.instance_id, "domain_name": "domain", "project_id": "project"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_MQS_DEFAULT", json.dumps({**connection, "extra": extra}))
        yield


def messages(context: dict[str, Any], topic: str | None = None) -> list[dict[str, Any]]:
    with MqsHook() as hook:
        return messages_of_events(context, hook, topic)


def planned(documents: list[dict[str, Any]], topic: str | None = None) -> partition_offsets.OffsetsByPartition:
    return plan_of(documents, topic, endpoint=REF.endpoint, instance_id=REF.instance_id).partitions


@given(st.lists(batches, min_size=1, max_size=5), st.data())
def test_whatever_events_joined_each_message_is_planned_once(several: list[Offsets], data: st.DataObject) -> None:
    """Events that come twice, in any order, or overlap in part, are a plan of what they hold together."""
    repeated = data.draw(st.permutations([*several, *data.draw(st.lists(st.sampled_from(several), max_size=3))]))

    assert planned(messages(started(*repeated))) == partition_offsets.union(*map(ranges_of, several))


@given(st.lists(batches, min_size=1, max_size=5))
def test_the_window_holds_those_of_all_events_and_no_more(several: list[Offsets]) -> None:
    """It goes from the earliest start to the latest end, whatever the order of the events."""
    window = window_of_events(events_of(started(*several)), REF)

    starts, ends = ({getattr(one.window, name) for one in several} for name in ("start_ms", "end_ms"))
    assert window == TimeWindow(min(starts), max(ends), "event")


def test_one_event_is_taken_as_it_is() -> None:
    """So the report of a resend names the digest that the event has, also where that came twice."""
    offsets = batch((0, 0, 9))

    assert messages(started(offsets)) == messages(started(offsets, offsets)) == [offsets.to_xcom()]


def test_an_event_that_a_task_raised_carries_its_offsets_itself() -> None:
    """A task of another DAG gives the query's output to the event of its outlet, on Airflow 2 as well."""
    event = SimpleNamespace(extra=batch((1, 2, 1)).to_xcom())

    for name in ("triggering_asset_events", "triggering_dataset_events"):
        assert planned(messages({name: {"any": [event]}})) == {1: ((2, 3),)}


@pytest.mark.parametrize("different", ["endpoint", "instance_id", "topic"])
def test_events_of_something_else_do_not_count(different: str) -> None:
    """Another topic, the same name in another instance, the same id at another host."""
    other = replace(batch((0, 0, 9), first_ms=START_MS - 9000), **{different: "other"})
    context = started(other, batch((0, 4, 0)))

    assert planned(messages(context, "orders")) == {0: ((4, 4),)}
    assert window_of_events(events_of(context), REF) == batch().window
    assert window_of_events(events_of(started(other)), REF) is None
    with pytest.raises(ConfigurationError, match="none carries offsets of topic 'orders' of instance"):
        messages(started(other), "orders")


@pytest.mark.parametrize(
    "payload", [None, "text", [], {"schema": "mqs.replay/1", **REF._asdict()}, {**REF._asdict(), "schema": None}]
)
def test_events_that_carry_no_offsets_do_not_count(payload: Any) -> None:
    """The report of a resend, and what other people's events carry."""
    with pytest.raises(ConfigurationError, match=r"none carries offsets of instance .* pass the query's"):
        messages(started_by(payload))


def test_without_a_topic_all_must_be_of_one() -> None:
    """Two topics in one run are no accident to guess about."""
    context = started(batch((0, 0, 9)), batch((0, 0, 9), topic="payments"))

    with pytest.raises(ConfigurationError, match=r"several topics \(orders, payments\): set topic"):
        messages(context)
    assert planned(messages(context, "payments"), "payments") == {0: ((0, 9),)}


@pytest.mark.parametrize("run_type", [None, "manual", "scheduled"])
def test_a_run_that_no_event_started_has_no_such_messages(run_type: str | None) -> None:
    """The error names what to give instead."""
    context = {} if run_type is None else {**started(batch()), "dag_run": SimpleNamespace(run_type=run_type)}

    with pytest.raises(ConfigurationError, match=r"no event started this one: pass the query's output"):
        messages(context)


def written(**changes: Any) -> dict[str, Any]:
    document = {**batch((0, 0, 9)).to_xcom(), **changes}
    return {**document, "digest": digest_of(document)}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (written(count=99), "count"),
        (written(schema="mqs.offsets/2"), "this version reads"),
        (written(window=None), "window"),
        ({**written(), "count": 11}, "digest"),
    ],
)
def test_offsets_that_cannot_be_read_are_refused(document: dict[str, Any], sentence: str) -> None:
    """Neither window nor messages are taken from a document that is edited, broken, or of another version."""
    context = started_by(document)

    for take in (messages, lambda context: window_of_events(events_of(context), REF)):
        with pytest.raises(ConfigurationError, match=f"event that started this run cannot be read: .*{sentence}"):
            take(context)
