"""
The only file that knows how the engine is put together: a query, a resend and a proof inside a simulated process.

Each does what the operator of the same name does, less what is Airflow's.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.flow import Call, Flow, Step, adrive
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.core.ledger import session as session_module
from airflow_provider_mqs.core.ledger.known_copies import known_copies
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, Ledger, Owner
from airflow_provider_mqs.core.ledger.process_identity import ProcessIdentity
from airflow_provider_mqs.core.ledger.session import LedgerSession
from airflow_provider_mqs.core.ledger.topic_ledgers import executions_of
from airflow_provider_mqs.core.offsets.plan import plan_of, replay_id_of
from airflow_provider_mqs.core.query.query import Query, closed_window, query_offsets
from airflow_provider_mqs.core.resend import claims
from airflow_provider_mqs.core.resend import replay as replay_module
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.core.verify import prove as verify
from airflow_provider_mqs.core.verify.executions import Execution, execution_of
from airflow_provider_mqs.core.watch.condition import Condition, decide
from airflow_provider_mqs.core.watch.cursor import Cursor, EventBatch
from airflow_provider_mqs.core.watch.new_messages import PollResult, find_new_messages, read_topic
from airflow_provider_mqs.core.watch.watch_options import WatchOptions
from airflow_provider_mqs.core.watch.window_count import WindowCounter
from airflow_provider_mqs.emulator.identity import Identity
from airflow_provider_mqs.exceptions import IncompleteWindowError, ResendError
from simulation.network import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Network
from simulation.oracle import OVERLAP_S
from simulation.service import TOPIC
from simulation.virtual_time import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.core.verify.prove import Finding
    from simulation.facts import Resent
    from simulation.process import Process, ProcessStore
    from simulation.schedule import Run

HOLD_S = 60.0
"""Seconds that a watcher holds back what may be a copy."""
URL = "http://127.0.0.1:1"
_IDENTITY = Identity()
MOST_CLAIMED = 5
"""How many messages may be claimed at once here, as plans are small."""


def scale_down() -> None:
    """Let claims and segments of a ledger hold few messages, so that a plan of ten needs several."""
    claims.CLAIM, claims.MOST_CLAIMED = 3, MOST_CLAIMED
    session_module.SEGMENT = 1  # type: ignore[misc]
    # other processes may come in between any two operations of a store
    replay_module.joined = lambda flow: flow  # type: ignore[attr-defined]
    sys.unraisablehook = lambda _: None  # what a killed process left complains when it is closed


def settings_of(process: Process, network: Network) -> ConnectionSettings:
    """Return the connection; the host of IAM is another one for each process, so that each has its own token."""
    return ConnectionSettings.parse(
        host=URL,
        login=_IDENTITY.user,
        password=_IDENTITY.password,
        extra={
            "domain_name": _IDENTITY.domain,
            "project_id": _IDENTITY.project_id,
            "instance_id": _IDENTITY.instance_id,
            "iam_endpoint": f"{URL}{process.pid}",
            "page_size": network.page_size,
            "api_style": "mqs",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
        },
    )


def client_of(process: Process, network: Network, concurrency: int = 4) -> AsyncMqsClient:
    """Return a client of a process, whose every clock is that of the process or of its host."""
    return AsyncMqsClient(
        settings_of(process, network),
        concurrency=concurrency,
        policy=RetryPolicy(max_retries=3, jitter=process.rng.random),
        service_clock=ServiceClock(process.loop.time, process.host.wall_s),
        transport=network,
    )


async def query(
    process: Process, network: Network, stores: list[ProcessStore], run: Run, start_ms: int, end_ms: int
) -> list[dict[str, Any]]:
    """Query a window, and return its offsets in as many batches as the run wants."""
    async with client_of(process, network) as client:
        window = closed_window(TimeWindow(start_ms, end_ms), process.host.wall_ms() + 3_600_000)
        ref = TopicRef(client.settings.host, client.api.instance_id, TOPIC)
        copies = await known_copies_of(process, client, stores, window, ref)
        found = await client.run(
            query_offsets(client.api, Query(TOPIC, window, copies=copies), now_ms=client.api.now_ms())
        )
        if found.why_incomplete:
            raise IncompleteWindowError(" ".join(found.why_incomplete))
        return documents_of(found.offsets, run.batches)


async def sense(process: Process, network: Network, run: Run, start_ms: int, end_ms: int) -> str:
    """Wait for a window as the sensor does, and return how the wait ended."""
    window = TimeWindow(start_ms, end_ms)
    condition = Condition(TOPIC, window, run.min_messages, settle_s=run.settle_s, on_closed_empty="skip")
    counter, counted = WindowCounter(condition), None
    async with client_of(process, network) as client:
        while True:
            now_s = process.host.wall_s()
            if now_s >= condition.final_s:
                counted = await client.run(counter.count(client.api, int(now_s * 1000)))
            decision = decide(condition, counted, now_s)
            if decision.status != "wait":
                return decision.status
            await asyncio.sleep(run.poll_s)


async def watch(
    process: Process, network: Network, stores: list[ProcessStore], publish: Callable[[dict[str, Any]], object]
) -> None:
    """Watch the topic as the trigger does: save a batch, publish it, then go on from behind it."""
    options = WatchOptions.read(
        topic=TOPIC,
        poll_interval_s=10,
        settle_s=1,
        overlap_s=OVERLAP_S,
        max_messages=4,
        start="now",
        exclude_copies=True,
    )
    async with client_of(process, network) as client:
        ref = TopicRef(client.settings.host, client.api.instance_id, TOPIC)
        stored = await process.ask(stores[0].get, "cursor")
        cursor = Cursor.at(int(EPOCH_S * 1000)) if stored is None else Cursor.from_json(stored)
        held_s: float | None = None
        if stored is not None and stored.get("batch"):
            publish(stored["batch"]["document"])
            cursor = EventBatch.from_json(stored["batch"]).cursor
            await process.ask(stores[0].set, "cursor", cursor.to_json())
        while True:
            now_s = process.host.wall_s()
            window = cursor.window(int((now_s - options.settle_s) * 1000))
            if window is not None:
                copies = await known_copies_of(process, client, stores, window, ref)
                reading = await client.run(read_topic(client.api, options, cursor, window, copies))
                result = find_new_messages(client.api, options, cursor, reading, now_ms=int(now_s * 1000))
                held_s = (now_s if held_s is None else held_s) if result.provisional else None
                if held_s is None or now_s - held_s >= HOLD_S:
                    cursor = await _publish(process, stores[0], cursor, result, publish)
                    held_s = None
            await asyncio.sleep(options.poll_interval_s)


async def _publish(
    process: Process,
    store: ProcessStore,
    cursor: Cursor,
    result: PollResult,
    publish: Callable[[dict[str, Any]], object],
) -> Cursor:
    if result.offsets.count:
        batch = EventBatch(result.offsets.to_xcom(), result.new.cursor, result.new.more)
        await process.ask(store.set, "cursor", {**cursor.to_json(), "batch": batch.to_json()})
        publish(batch.document or {})
    await process.ask(store.set, "cursor", result.new.cursor.to_json())
    return result.new.cursor


async def known_copies_of(
    process: Process, client: AsyncMqsClient, stores: list[ProcessStore], window: TimeWindow, ref: TopicRef
) -> KnownCopies:
    """Return which rows of a window are known to be copies."""
    return await adrive(known_copies(stores, window, ref), _performer(process, client))


def _performer(process: Process, client: AsyncMqsClient) -> Callable[[Step], Awaitable[Any]]:
    async def perform(step: Step) -> Any:
        return await (process.ask(step.call) if isinstance(step, Call) else client.perform(step))

    return perform


def documents_of(offsets: Offsets, batches: int) -> list[dict[str, Any]]:
    """Cut offsets into batches."""
    if batches == 1 or not offsets.count:
        return [offsets.to_xcom()]
    return [one.to_xcom() for one in offsets.batches(-(-offsets.count // batches))]


async def resend(
    process: Process,
    network: Network,
    stores: list[ProcessStore],
    who: tuple[dict[str, Any], int],
    told: Resent,
) -> None:
    """Resend the messages of a document, and tell how it ended; ``who`` are the names of the run and its max_tries."""
    run, document = told.run, told.document
    client = client_of(process, network, run.concurrency)
    endpoint, instance_id = client.settings.host, client.api.instance_id
    plan = plan_of(document, None, endpoint=endpoint, instance_id=instance_id)
    scope = {"endpoint": endpoint, "instance_id": instance_id, "topic": TOPIC, "consumer_key": run.consumer_key}
    ledger = Ledger(
        replay_id_of(endpoint, instance_id, plan, run.consumer_key),
        scope,
        plan.digest,
        owner_of(process, *who),
        plan.partitions,
        ordering=run.ordering,
        span_ms=plan.span_ms,
    )
    session = LedgerSession(
        ledger,
        stores,
        clock=client.api.service_clock,
        started_at=process.host.started_at,
        jitter=process.rng.random,
    )
    replay = Replay(client, plan, options_of(run), session, process, parent=lambda: process.parent)
    process.stop = replay.stop
    try:
        await replay.prepare()
        told.in_doubt = frozenset(replay.account.in_doubt)
        await replay.run()
    finally:
        if process.alive:
            told.report = replay.report.to_xcom(plan, endpoint=endpoint, instance_id=instance_id)
    counts, report = replay.report.counts, replay.report
    if replay.stopped or counts.failed + counts.unknown or counts.not_attempted or report.verified is False:
        raise ResendError(f"{counts}: {replay.stopped}")


async def prove(process: Process, network: Network, stores: list[ProcessStore], run: Run) -> str:
    """Look for the copies of all executions of the topic together, and return what is left unproven."""
    client = client_of(process, network)
    api, perform = client.api, _performer(process, client)
    ref = TopicRef(client.settings.host, api.instance_id, TOPIC)
    scope = {**ref._asdict(), "consumer_key": None}
    owner = owner_of(process, {}, 1)
    session = LedgerSession(
        Ledger("proof", scope, None, owner, {}),
        stores,
        clock=api.service_clock,
        started_at=process.host.started_at,
        jitter=process.rng.random,
    )

    def touching(start_ms: int, end_ms: int) -> Flow[list[Execution]]:
        return [execution_of(one, api.service_clock) for one in (yield from session.touching(start_ms, end_ms))]

    def search() -> Flow[Finding | None]:
        ledgers = yield from executions_of(stores, ref, 0, 1 << 53)
        unknown = [one for one in ledgers if one.has_copies and not one.copies_known]
        if not unknown:
            return None
        yield from api.query_page(TOPIC, unknown[0].first_ms, unknown[0].first_ms + 1, limit=1, offset=0)
        stopped, _ = yield from session.judge(unknown)
        targets = [execution_of(one, api.service_clock) for one in stopped]
        found = yield from verify.prove(api, TOPIC, targets, touching, wait_s=run.verify_wait_s)
        yield from session.write(state=COMPLETE, findings=found.for_ledgers())
        return found

    found = await adrive(search(), perform)
    return (
        ""
        if found is None
        else "; ".join([*found.unproven.values(), *(["copies are missing"] if any(found.missing.values()) else [])])
    )


def options_of(run: Run) -> ResendOptions:
    """Return the options of a resend."""
    return ResendOptions(
        consumer_key=run.consumer_key,
        ordering=run.ordering,
        concurrency=run.concurrency,
        on_failure=run.on_failure,
        on_unknown=run.on_unknown,
        on_replayed=run.on_replayed,
        verify=run.verify,
        verify_wait_s=run.verify_wait_s,
    )


def owner_of(process: Process, who: dict[str, Any], max_tries: int) -> Owner:
    """Return who sends."""
    started = process.host.started_at(process.pid) or 0
    identity = ProcessIdentity(process.host.boot_id, process.pid, started)
    return Owner(f"{process.rng.getrandbits(128):032x}", who, max_tries, process.host.name, identity)
