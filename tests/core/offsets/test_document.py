"""The XCom of a query: comes back equal, is refused when anything in it was changed, and cuts into exact batches."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.offsets.document import SCHEMA, Batch, Offsets, PartitionOffsets, digest_of, each_once
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.exceptions import ConfigurationError

START_MS = 1_700_000_000_000
WINDOW = TimeWindow(START_MS, START_MS + 3_600_000, "data_interval")
PLAIN = Offsets(
    endpoint="mqs.example.com",
    instance_id="i-1",
    topic="orders",
    window=WINDOW,
    partitions={
        0: PartitionOffsets(((0, 99),), START_MS, START_MS + 10),
        2: PartitionOffsets(((5, 5), (7, 9)), START_MS, START_MS),
    },
    filters={"key": "ключ"},
)

sets = st.dictionaries(st.integers(0, 4), st.sets(st.integers(0, 300), min_size=1, max_size=40), max_size=4)


def offsets_of(sets: dict[int, set[int]], **changes: Any) -> Offsets:
    partitions = {
        number: PartitionOffsets(offset_ranges.from_offsets(one), START_MS, START_MS + number)
        for number, one in sets.items()
    }
    return replace(PLAIN, partitions=partitions, **changes)


def through_xcom(document: dict[str, Any]) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(json.dumps(document))
    return stored


def signed(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "digest": digest_of(document)}


def test_document_is_the_promised_one() -> None:
    """Names and shapes are those that users read in their XComs."""
    document = PLAIN.to_xcom()

    assert document == {
        "schema": "mqs.offsets/1",
        "endpoint": "mqs.example.com",
        "instance_id": "i-1",
        "topic": "orders",
        "window": {
            "start": "2023-11-14T22:13:20.000+00:00",
            "end": "2023-11-14T23:13:20.000+00:00",
            "source": "data_interval",
        },
        "filters": {"key": "ключ"},
        "count": 104,
        "complete": True,
        "on_incomplete": "fail",
        "excluded_copies": 0,
        "batch": None,
        "partitions": {
            "0": {
                "count": 100,
                "ranges": [[0, 99]],
                "first_timestamp": START_MS,
                "last_timestamp": START_MS + 10,
            },
            "2": {"count": 4, "ranges": [[5, 5], [7, 9]], "first_timestamp": START_MS, "last_timestamp": START_MS},
        },
        "digest": document["digest"],
    }


def test_digest_is_that_of_the_contract() -> None:
    """SHA-256 over the rest as JSON with sorted keys, no spaces, UTF-8: anybody can check it."""
    assert digest_of({"b": [1, "é"], "a": None, "digest": "x"}) == (
        # printf '%s' '{"a":null,"b":[1,"é"]}' | sha256sum
        "sha256:f8f17faab95c024891d173fa43442b0e52007736a1f36715ac721ab22deeefc5"
    )


@given(sets, st.booleans(), st.integers(0, 9))
def test_offsets_survive_xcom(sets: dict[int, set[int]], complete: bool, copies: int) -> None:
    """What the query pushed, the resend reads, on another worker."""
    offsets = offsets_of(sets, complete=complete, on_incomplete="warn", excluded_copies=copies, batch=Batch(1, 3, 999))

    assert Offsets.from_xcom(through_xcom(offsets.to_xcom())) == offsets


def test_many_gaps_are_packed() -> None:
    """Above 16 KiB the ranges are packed, and come back the same."""
    offsets = offsets_of({0: set(range(0, 20_000, 2)), 1: {7}})

    document = offsets.to_xcom()

    assert all("packed" in part and "ranges" not in part for part in document["partitions"].values())
    assert len(json.dumps(document)) < 2048
    assert Offsets.from_xcom(through_xcom(document)) == offsets


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List where a document has a value."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [path for key, child in children for path in [(*at, key), *_paths(child, (*at, key))]]


@given(st.data())
def test_any_single_edit_is_refused(data: st.DataObject) -> None:
    """Whatever field is changed or taken away, the document is not taken."""
    document = through_xcom(replace(PLAIN, batch=Batch(0, 2, 150)).to_xcom())
    *way, last = data.draw(st.sampled_from(_paths(document)))
    holder = document
    for key in way:
        holder = holder[key]
    if data.draw(st.booleans()):
        del holder[last]
    else:
        before = holder[last]
        holder[last] = data.draw(
            (st.none() | st.booleans() | st.integers() | st.text(max_size=5)).filter(
                lambda value: json.dumps(value) != json.dumps(before)
            )
        )

    with pytest.raises(ConfigurationError, match=r"^messages .*[.]$"):
        Offsets.from_xcom(document)


@pytest.mark.parametrize("schema", [None, "mqs.offsets/2", 1, ["mqs.offsets/1"]])
def test_another_schema_is_named(schema: Any) -> None:
    """A document of a later version says which one this package reads."""
    with pytest.raises(ConfigurationError, match=r"this version reads 'mqs\.offsets/1'"):
        Offsets.from_xcom(signed({**PLAIN.to_xcom(), "schema": schema}))


@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in PLAIN.to_xcom() if name not in {"schema", "digest"}),
        {"window": "today"},
        {"window": {"start": "x", "end": "y"}},
        {"window": {"start": 2_000_000_000_000, "end": 1_900_000_000_000}},
        {"partitions": [1]},
        {"partitions": {"a": {}}},
        {"partitions": {"0": 5}},
        {"partitions": {"0": {"first_timestamp": 1, "last_timestamp": 2}}},
        {"partitions": {"0": {"ranges": [[2, 1]], "first_timestamp": 1, "last_timestamp": 2}}},
        {"partitions": {"0": {"ranges": [[1, 2]], "first_timestamp": None, "last_timestamp": 2}}},
        {"filters": 5},
        {"excluded_copies": "many"},
        {"batch": {"index": 0}},
        {"batch": [0, 1, 2]},
        {"count": 105},
        {1: 2},
    ],
)
def test_document_that_somebody_made_is_checked_all_the_same(changes: dict[Any, Any]) -> None:
    """A digest that fits does not make a document whole."""
    made = {name: value for name, value in {**PLAIN.to_xcom(), **changes}.items() if value is not ...}
    try:
        made = signed(made)
    except TypeError:
        made["digest"] = "sha256:0"

    with pytest.raises(ConfigurationError, match=r"[.]$"):
        Offsets.from_xcom(made)


@given(sets, st.integers(1, 50))
def test_batches_partition_the_set(sets: dict[int, set[int]], size: int) -> None:
    """Each offset is in exactly one batch, each batch but the last is full, and each says which part it is."""
    offsets = offsets_of(sets)

    batches = offsets.batches(size)

    held = [
        (number, offset)
        for batch in batches
        for number, part in batch.partitions.items()
        for offset in offset_ranges.expand(part.ranges)
    ]
    assert held == [(number, offset) for number in sorted(sets) for offset in sorted(sets[number])]
    assert [batch.count for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert all(0 < batch.count <= size for batch in batches)
    assert [batch.batch for batch in batches] == [
        Batch(index, len(batches), len(held)) for index in range(len(batches))
    ]
    assert all(Offsets.from_xcom(through_xcom(batch.to_xcom())) == batch for batch in batches)


def test_empty_window_has_no_batches() -> None:
    """There is nothing to map over, and the document still says for which window."""
    empty = offsets_of({})

    assert empty.count == 0
    assert empty.batches(10) == []
    assert Offsets.from_xcom(through_xcom(empty.to_xcom())) == empty
    assert empty.to_xcom()["schema"] == SCHEMA


def ranges_of(offsets: Offsets) -> partition_offsets.OffsetsByPartition:
    return {number: part.ranges for number, part in offsets.partitions.items()}


@given(st.lists(sets, max_size=5), st.data())
def test_each_message_of_several_documents_counts_once(several: list[dict[int, set[int]]], data: st.DataObject) -> None:
    """Documents that come twice, or overlap in part, hold together what they held, and no message twice."""
    documents = [offsets_of(one, excluded_copies=number) for number, one in enumerate(several)]
    given_ones = [
        *documents,
        *data.draw(st.lists(st.sampled_from(documents), max_size=3) if documents else st.just([])),
    ]

    kept = each_once(given_ones)

    assert partition_offsets.union(*map(ranges_of, kept)) == partition_offsets.union(*map(ranges_of, given_ones))
    assert sum(one.count for one in kept) == partition_offsets.count(
        partition_offsets.union(*map(ranges_of, given_ones))
    )
    assert len(kept) == len(documents)
    assert [Offsets.from_xcom(one.to_xcom()) for one in kept] == kept
    for one, document in zip(kept, documents, strict=True):
        assert replace(one, partitions=document.partitions) == document
        assert all(replace(document.partitions[n], ranges=part.ranges) == part for n, part in one.partitions.items())


def test_documents_that_share_nothing_stay_as_they_are() -> None:
    """Their digests stay those that the query wrote."""
    documents = [PLAIN, offsets_of({0: {100, 102}, 7: {1}})]

    assert [one.to_xcom() for one in each_once(documents)] == [one.to_xcom() for one in documents]


def test_a_document_of_which_nothing_is_left_still_says_that_it_is_not_complete() -> None:
    """Else an event that the resend must refuse would be hidden by another."""
    kept = each_once([PLAIN, replace(PLAIN, complete=False)])

    assert [(one.count, one.complete) for one in kept] == [(PLAIN.count, True), (0, False)]
