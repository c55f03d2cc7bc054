"""Several replays of one topic at the same time: each is proven, and reading the topic once is enough for all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.core.ledger.known_copies import known_copies_in
from airflow_provider_mqs.core.ledger.ledger import Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import plan_of
from airflow_provider_mqs.core.query.query import Query, query_offsets
from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

HOUR_MS = 3_600_000


def settings_of(emulator: MqsEmulator) -> ConnectionSettings:
    connection = emulator.connection()
    connection.pop("conn_type")
    return ConnectionSettings.parse(**connection)


async def replay(
    settings: ConnectionSettings, client: AsyncMqsClient, store: MemoryStore, plan: Any, name: str, **options: Any
) -> Replay:
    session = session_for(
        plan,
        endpoint=settings.host,
        instance_id=str(settings.instance_id),
        consumer_key=options.get("consumer_key"),
        owner=Owner(name, {"dag_id": "d", "run_id": "r", "task_id": name, "map_index": -1, "try_number": 1}),
        stores=(store,),
    )
    with AirflowThread() as airflow:
        one = Replay(client, plan, ResendOptions(verify_wait_s=20, **options), session, airflow)
        await one.run()
    return one


async def side_by_side(
    emulator: MqsEmulator, store: MemoryStore, count: int, *, windows: int, batch_size: int | None = None, most: int = 4
) -> tuple[list[Replay], int]:
    """Query windows of an hour, and send all batches, so many at a time; return how many requests that took, too."""
    settings = settings_of(emulator)
    start_ms = (time.time_ns() // 1_000_000 // HOUR_MS - windows - 1) * HOUR_MS
    emulator.seed("orders", count, start_ms, start_ms + windows * HOUR_MS, partitions=3)
    plans = []
    async with AsyncMqsClient(settings, concurrency=16) as client:
        for number in range(windows):
            window = TimeWindow(start_ms + number * HOUR_MS, start_ms + (number + 1) * HOUR_MS)
            found = await client.run(query_offsets(client.api, Query("orders", window), now_ms=client.api.now_ms()))
            documents = found.offsets.batches(batch_size) if batch_size else [found.offsets]
            plans += [
                plan_of(one.to_xcom(), None, endpoint=settings.host, instance_id=client.api.instance_id)
                for one in documents
            ]
        before, free = len(emulator.requests()), asyncio.Semaphore(most)

        async def run(number: int) -> Replay:
            async with free:
                return await replay(settings, client, store, plans[number], f"run {number}")

        replays = await asyncio.gather(*map(run, range(len(plans))))
    return list(replays), len(emulator.requests()) - before


@pytest.mark.parametrize(
    ("count", "windows", "batch_size"),
    [(300, 1, None), (1000, 1, None), (900, 3, None), (1200, 1, 300)],
    ids=["alone", "alone and larger", "three windows", "four batches"],
)
async def test_all_are_proven_with_few_requests(
    mqs_emulator: MqsEmulator, count: int, windows: int, batch_size: int | None
) -> None:
    """At most 1.1 a message, for everything that a replay does."""
    store = MemoryStore()

    replays, requests = await side_by_side(mqs_emulator, store, count, windows=windows, batch_size=batch_size)

    assert [one.report.verified for one in replays] == [True] * len(replays)
    assert sum(partition_offsets.count(one.report.copies) for one in replays) == count
    copies = {(one.partition, one.copy_offset) for one in mqs_emulator.resends("orders")}
    assert {ref for one in replays for ref in partition_offsets.expand(one.report.copies)} == copies
    assert requests <= 1.1 * count
    settings, now_ms = settings_of(mqs_emulator), time.time_ns() // 1_000_000
    ref = TopicRef(settings.host, str(settings.instance_id), "orders")
    known = known_copies_in((store,), TimeWindow(now_ms - HOUR_MS, now_ms), ref)
    assert (set(partition_offsets.expand(known.offsets)), known.why_incomplete) == (copies, ())
