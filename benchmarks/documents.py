"""What a batch leaves in Airflow's database, as the package itself writes it."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.index import IndexEntry
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, Ledger, Owner
from airflow_provider_mqs.core.ledger.process_identity import ProcessIdentity
from airflow_provider_mqs.core.offsets import offset_ranges
from airflow_provider_mqs.core.offsets.document import Offsets, PartitionOffsets
from airflow_provider_mqs.core.offsets.plan import plan_of, replay_id_of
from airflow_provider_mqs.core.values.time_window import TimeWindow
from benchmarks.plan import PARTITIONS
from benchmarks.scenario import END_MS, START_MS, TOPIC, Scenario

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges

_ENDPOINT, _INSTANCE = "roma.cn-north-4.myhuaweicloud.com", "640bb069-151e-4d5e-bd1b-000000000000"
_FIRST = 1_000_000_000  # offset of the first message: topics with this many messages have offsets of ten digits
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
    Return the offsets document of a batch in the middle of a window, or of the whole window if that is one batch.

    ``scattered`` leaves gaps between the offsets, as in a topic to which others write, too.
    """
    counts = {number: Scenario(messages, PARTITIONS).count(number) for number in range(PARTITIONS)}
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
    """Return offsets with zero to three missing after each of them, the same ones every time."""
    rng = Random(0)  # noqa: S311 - repeatable, nothing to guess
    ranges, last = [(_FIRST, _FIRST)], _FIRST
    for _ in range(count - 1):
        gap = rng.randrange(4)
        last += gap + 1
        ranges[-1:] = [(ranges[-1][0], last)] if not gap else [ranges[-1], (last, last)]
    return tuple(ranges)


def xcom_bytes(batch: Offsets) -> int:
    """Return the bytes of a batch as XCom, in JSON."""
    return _bytes(batch.to_xcom())


def ledger_bytes(batch: Offsets) -> int:
    """
    Return the bytes that a batch leaves in the stores when it was resent, in JSON.

    They are those of its ledger and plan, of what it has done, and of its entry in the index, there and in the summary.
    The copies are taken to have as many gaps as their sources.
    """
    plan = plan_of(batch.to_xcom(), None, endpoint=_ENDPOINT, instance_id=_INSTANCE)
    offsets = plan.partitions
    scope = {"endpoint": _ENDPOINT, "instance_id": _INSTANCE, "topic": TOPIC, "consumer_key": None}
    ledger = Ledger(
        replay_id_of(_ENDPOINT, _INSTANCE, plan, None),
        scope,
        plan.digest,
        Owner("0" * 32, _RUN, 0, "airflow-worker-0", ProcessIdentity("0" * 80, 10_000, 10_000_000)),
        offsets,
        state=COMPLETE,
        done=offsets,
        copies=offsets,
        last_offsets={number: ranges[-1][1] for number, ranges in offsets.items()},
        copies_known=True,
        first_ms=END_MS,
        until_ms=END_MS,
        renewed_ms=END_MS,
    )
    spans = {number: (ranges[0][0], ranges[-1][1]) for number, ranges in offsets.items()}
    entry = IndexEntry(ledger.token, None, END_MS, spans, (START_MS, END_MS), END_MS)
    return _bytes(ledger.to_json()) + _bytes(offset_ranges.to_json(offsets)) + 2 * _bytes(entry.to_json())


def _bytes(document: Any) -> int:
    return len(json.dumps(document))
