"""What a batch leaves in Airflow's database, written by the package itself."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.index import IndexEntry
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, Ledger, Owner
from airflow_provider_mqs.core.offsets.document import Offsets, PartitionOffsets
from airflow_provider_mqs.core.offsets.plan import plan_of, replay_id_of
from airflow_provider_mqs.core.values.time_window import TimeWindow
from benchmarks.plan import PARTITIONS
from benchmarks.shape import END_MS, START_MS, TOPIC, Shape

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges

_ENDPOINT, _INSTANCE = "roma.cn-north-4.myhuaweicloud.com", "640bb069-151e-4d5e-bd1b-000000000000"
_FIRST = 1_000_000_000
"""Offset of the first message: topics that are worth a thought have long ones."""
_RUN = {
    "dag_id": "replay_orders",
    "run_id": "scheduled__2026-11-22T00:00:00+00:00",
    "task_id": "resend",
    "map_index": 500,
    "try_number": 1,
    "conn_id": "mqs_default",
}


def batch_of(messages: int, size: int, *, scattered: bool = False) -> Offsets:
    """
    Make the document of one batch, from the middle of a window.

    :param messages: of the window
    :param size: ``batch_size``
    :param scattered: whether offsets are missing between the messages, as where others write, too
    :return: the batch; the whole window where it is one batch
    """
    counts = {number: Shape(messages, PARTITIONS).count(number) for number in range(PARTITIONS)}
    whole = Offsets(
        endpoint=_ENDPOINT,
        instance_id=_INSTANCE,
        topic=TOPIC,
        window=TimeWindow(START_MS, END_MS, "data_interval"),
        partitions={
            number: PartitionOffsets(((_FIRST, _FIRST + count - 1),), START_MS, END_MS - 1)
            for number, count in counts.items()
        },
    )
    batches = whole.batches(size)
    batch = batches[len(batches) // 2] if len(batches) > 1 else whole
    if not scattered:
        return batch
    gaps = {number: replace(part, ranges=scatter(part.count)) for number, part in batch.partitions.items()}
    return replace(batch, partitions=gaps)


def scatter(count: int) -> Ranges:
    """
    Give offsets of which each is followed by none to three that are missing; always the same ones.

    :param count: how many
    :return: the offsets
    """
    rng = Random(0)  # noqa: S311 - repeatable, nothing to guess
    ranges, last = [(_FIRST, _FIRST)], _FIRST
    for _ in range(count - 1):
        gap = rng.randrange(4)
        last += gap + 1
        ranges[-1:] = [(ranges[-1][0], last)] if not gap else [ranges[-1], (last, last)]
    return tuple(ranges)


def xcom_bytes(batch: Offsets) -> int:
    """
    Count the bytes of a batch as XCom.

    :param batch: the document
    :return: bytes of JSON
    """
    return _bytes(batch.to_xcom())


def ledger_bytes(batch: Offsets) -> int:
    """
    Count the bytes that the ledger and the entry in the index of replays take when a batch was sent.

    :param batch: what was sent; its copies have as many gaps
    :return: bytes of JSON: the ledger in the task's store, again in the record, and the entry
    """
    plan = plan_of(batch.to_xcom(), None, endpoint=_ENDPOINT, instance_id=_INSTANCE)
    places = plan.partitions
    scope = {"endpoint": _ENDPOINT, "instance_id": _INSTANCE, "topic": TOPIC, "consumer_key": None}
    ledger = Ledger(
        replay_id_of(_ENDPOINT, _INSTANCE, plan, None),
        scope,
        plan.digest,
        Owner("0" * 32, _RUN, 0, "airflow-worker-0", 10_000),
        places,
        state=COMPLETE,
        done=places,
        copies=places,
        marks={number: ranges[-1][1] for number, ranges in places.items()},
        first_ms=END_MS,
        since_ms=END_MS,
        until_ms=END_MS,
        updated_ms=END_MS,
    )
    spans = {number: (ranges[0][0], ranges[-1][1]) for number, ranges in places.items()}
    entry = IndexEntry(ledger.replay_id, None, START_MS, END_MS, spans)
    return 2 * _bytes(ledger.to_json()) + _bytes(entry.to_json())


def _bytes(document: Any) -> int:
    return len(json.dumps(document))
