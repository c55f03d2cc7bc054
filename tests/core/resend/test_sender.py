"""Each message once, in order, at a rate; and what every answer means."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.core.ledger.account import Account
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.pacing import Pacer
from airflow_provider_mqs.core.resend.report import Meter, Report
from airflow_provider_mqs.core.resend.sender import Sender, failure_of
from airflow_provider_mqs.core.resend.stopping import Stop
from airflow_provider_mqs.core.verify.settle import Settled
from airflow_provider_mqs.emulator.faults import ALWAYS, Rule
from airflow_provider_mqs.exceptions import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    MqsError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    TransportError,
    WindowTooLargeError,
)
from tests.support import END_MS, START_MS, until

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Request, Step
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.resend.verifier import FindCopies
    from airflow_provider_mqs.testing import MqsEmulator

SOON = RetryPolicy(max_retries=100, base_s=0.001, cap_s=0.002)


def settings(emulator: MqsEmulator, auth_type: str = "password") -> ConnectionSettings:
    connection = emulator.connection(auth_type)
    connection.pop("conn_type")
    return ConnectionSettings.parse(**connection)


def seeded(emulator: MqsEmulator, count: int, partitions: int = 3) -> Plan:
    """Seed a topic; return the plan of all its messages."""
    emulator.seed("orders", count, START_MS, END_MS, partitions=partitions)
    per_partition = Counter(partition for partition, _ in emulator.offsets("orders"))
    return Plan("orders", {partition: ((0, number - 1),) for partition, number in sorted(per_partition.items())})


async def nothing() -> None:
    """Keep no ledger, and let each message go."""


async def run(sender: Sender, plan: Plan) -> None:
    await sender.send(plan.partitions)
    sender.give_up()


def sender_of(
    client: AsyncMqsClient,
    plan: Plan,
    report: Report,
    *,
    pacer: Pacer | None = None,
    find_copies: FindCopies | None = None,
    **options: Any,
) -> Sender:
    """Build a sender that, by itself, looks for no copies: what is unknown stays so."""
    how = ResendOptions(**{"on_unknown": "fail", **options})
    return Sender(
        client,
        plan.topic,
        how,
        report,
        stop=Stop(),
        write=nothing,
        find_copies=find_copies or unresolved,
        before_post=nothing,
        pacer=pacer,
    )


async def unresolved(in_doubt: OffsetsByPartition) -> Settled:
    """Find nothing out."""
    return Settled()


async def resend(
    emulator: MqsEmulator,
    plan: Plan,
    *,
    concurrency: int = 16,
    auth_type: str = "password",
    pacer: Pacer | None = None,
    **options: Any,
) -> tuple[Report, Sender]:
    report = Report(Account(plan.partitions))
    async with AsyncMqsClient(settings(emulator, auth_type), concurrency=concurrency, policy=SOON) as client:
        sender = sender_of(client, plan, report, pacer=pacer, **options)
        await run(sender, plan)
    return report, sender


def orders(emulator: MqsEmulator) -> dict[int, list[int]]:
    """List the offsets that were appended again, by partition, in the order of the appends."""
    found: dict[int, list[int]] = {}
    for one in emulator.resends("orders"):
        found.setdefault(one.partition, []).append(one.message_offset)
    return found


@pytest.mark.parametrize(("ordering", "count"), [("partition", 2_000), ("none", 1_000)])
async def test_messages_go_out_exactly_once_under_throttling(
    mqs_emulator: MqsEmulator, ordering: str, count: int
) -> None:
    """With 429 and with 404 throttling at once, each is appended once, and in order if that is asked for."""
    plan = seeded(mqs_emulator, count, partitions=8)
    mqs_emulator.faults.throttle_429 = Rule(probability=0.03)
    mqs_emulator.faults.throttle_404 = Rule(probability=0.03)

    report, _ = await resend(mqs_emulator, plan, ordering=ordering)

    counts = mqs_emulator.resend_counts("orders")
    assert len(counts) == count
    assert set(counts.values()) == {1}
    assert report.counts.sent == count
    assert report.account.done == plan.partitions
    statuses = Counter(line.status for line in mqs_emulator.requests("resend"))
    assert min(statuses[429], statuses[404]) > 5
    if ordering == "partition":
        assert all(sent == sorted(sent) for sent in orders(mqs_emulator).values())


async def test_order_holds_although_failures_are_left_out(mqs_emulator: MqsEmulator) -> None:
    """With ``continue``, what fails is left out, and all others keep their order."""
    plan = seeded(mqs_emulator, 300)
    mqs_emulator.faults.error_400 = Rule(probability=0.1, operations=frozenset({"resend"}))

    report, sender = await resend(mqs_emulator, plan, on_failure="continue")

    sent = orders(mqs_emulator)
    assert all(offsets == sorted(offsets) for offsets in sent.values())
    assert report.counts.failed > 5
    assert (report.counts.sent, report.counts.not_attempted) == (sum(map(len, sent.values())), 0)
    assert report.counts.sent + report.counts.failed == 300
    assert {(one.partition, one.message_offset) for one in report.account.failures} == mqs_emulator.offsets(
        "orders", 0, END_MS
    ) - {(partition, offset) for partition, offsets in sent.items() for offset in offsets}
    assert sender.stopped == ""


async def test_partitions_take_turns(mqs_emulator: MqsEmulator) -> None:
    """With fewer workers than partitions, none waits for another one's end."""
    plan = seeded(mqs_emulator, 9)

    await resend(mqs_emulator, plan, concurrency=1)

    assert [one.partition for one in mqs_emulator.resends("orders")] == [0, 1, 2] * 3


async def most_in_flight(emulator: MqsEmulator, plan: Plan, **options: Any) -> int:
    """Resend, and count how many requests are in flight at most."""
    async with AsyncMqsClient(settings(emulator, "token"), concurrency=16, policy=SOON) as client:
        transport = await client._open_transport()
        send, now, most = transport.send, 0, 0

        async def counted(request: Request) -> Any:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                return await send(request)
            finally:
                now -= 1

        transport.send = counted  # type: ignore[method-assign]
        await run(sender_of(client, plan, Report(Account(plan.partitions)), **options), plan)
    return most


async def test_ordered_messages_go_side_by_side_over_partitions(mqs_emulator: MqsEmulator) -> None:
    """One in flight for each partition."""
    plan = seeded(mqs_emulator, 60)
    mqs_emulator.faults.latency_s = 0.005

    assert await most_in_flight(mqs_emulator, plan, ordering="partition") == 3


async def test_unordered_messages_keep_all_requests_in_flight(mqs_emulator: MqsEmulator) -> None:
    """Partitions do not matter, not even one alone."""
    plan = seeded(mqs_emulator, 60, partitions=1)
    mqs_emulator.faults.latency_s = 0.005

    assert await most_in_flight(mqs_emulator, plan, ordering="none") == 16


async def test_small_plan_needs_few_workers(mqs_emulator: MqsEmulator) -> None:
    """A plan of two messages has two in flight, and an empty one none."""
    plan = seeded(mqs_emulator, 2, partitions=1)

    assert await most_in_flight(mqs_emulator, plan, ordering="none") <= 2
    assert await most_in_flight(mqs_emulator, Plan("", {}), ordering="none") == 0
    assert await most_in_flight(mqs_emulator, Plan("", {}), ordering="partition") == 0


@pytest.mark.parametrize("ordering", ["partition", "none"])
async def test_throttled_message_waits_however_few_repeats_are_allowed(
    mqs_emulator: MqsEmulator, ordering: str
) -> None:
    """It was surely not executed, so it is not given up: of 300 messages, a third of them throttled, none fails."""
    plan = seeded(mqs_emulator, 300)
    report = Report(Account(plan.partitions))
    policy = RetryPolicy(max_retries=0, base_s=0.001, cap_s=0.002)
    async with AsyncMqsClient(settings(mqs_emulator), policy=policy) as client:
        await client.run(client.api.show_instance())
        mqs_emulator.faults.throttle_429 = Rule(probability=0.3)
        await run(sender_of(client, plan, report, ordering=ordering), plan)

    assert report.counts.sent == 300
    assert set(mqs_emulator.resend_counts("orders").values()) == {1}


async def test_stop_ends_the_wait_of_a_throttled_message(mqs_emulator: MqsEmulator) -> None:
    """Nothing was executed, so nothing is in doubt."""
    plan = seeded(mqs_emulator, 30)
    report = Report(Account(plan.partitions))
    policy = RetryPolicy(base_s=3600, cap_s=3600)
    async with AsyncMqsClient(settings(mqs_emulator), policy=policy) as client:
        await client.run(client.api.show_instance())
        mqs_emulator.faults.throttle_429 = ALWAYS
        sender = sender_of(client, plan, report)
        running = asyncio.create_task(run(sender, plan))
        await until(lambda: len(mqs_emulator.requests("resend")) == 3)
        sender.stop("killed")
        await running

    assert (report.counts.not_attempted, report.counts.unknown, report.counts.failed) == (30, 0, 0)


async def test_rate_does_not_count_the_wait_for_copies(mqs_emulator: MqsEmulator) -> None:
    """A message in doubt halts its partition for 90 s, which says nothing about the others."""
    plan = seeded(mqs_emulator, 20, partitions=1)
    report, now_s = Report(Account(plan.partitions)), 100.0

    async def find_copies(in_doubt: OffsetsByPartition) -> Settled:
        nonlocal now_s
        now_s += 90
        return Settled(in_doubt)

    clock = ServiceClock(lambda: now_s)
    async with AsyncMqsClient(settings(mqs_emulator), service_clock=clock) as client:
        await client.run(client.api.show_instance())
        mqs_emulator.faults.timeout_504 = Rule(next=1)
        perform = client.perform

        async def slowly(step: Step) -> Any:
            nonlocal now_s
            now_s += 0.1
            return await perform(step)

        client.perform = slowly  # type: ignore[method-assign]  # each step takes a tenth of a second
        sender = sender_of(client, plan, report, find_copies=find_copies, on_unknown="verify")
        await run(sender, plan)

    assert now_s >= 190
    assert report.counts.sent == 20
    assert sender.meter.rate == pytest.approx(10)


async def test_rate_is_kept(mqs_emulator: MqsEmulator) -> None:
    """At ten a second, 21 messages take two seconds, however many may be in flight."""
    now = 100.0
    times: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        times.append(round(now + seconds, 6))
        await asyncio.sleep(0)

    plan = seeded(mqs_emulator, 21)
    report, _ = await resend(mqs_emulator, plan, pacer=Pacer(10, lambda: now, sleep), ordering="none")

    assert report.counts.sent == 21
    assert times == [round(100 + turn / 10, 6) for turn in range(1, 21)]


async def test_rate_of_the_options_is_the_default(mqs_emulator: MqsEmulator) -> None:
    """``max_rate`` is obeyed without a pacer of one's own."""
    plan = seeded(mqs_emulator, 3)
    loop = asyncio.get_running_loop()
    began = loop.time()

    await resend(mqs_emulator, plan, max_rate=20)

    assert loop.time() - began >= 0.1


def only(*refs: MessageRef) -> Rule:
    return Rule(probability=1, operations=frozenset({"resend"}), only=frozenset(refs))


@pytest.mark.parametrize(("max_failures", "sent", "failed"), [(0, 2, 1), (1, 5, 2), (2, 10, 3), (3, 17, 3)], ids=str)
async def test_sending_stops_as_soon_as_too_many_failed(
    mqs_emulator: MqsEmulator, max_failures: int, sent: int, failed: int
) -> None:
    """The limit may be reached; the message that passes it is the last one."""
    plan = seeded(mqs_emulator, 20, partitions=1)
    mqs_emulator.faults.error_400 = only((0, 2), (0, 6), (0, 12))

    report, sender = await resend(mqs_emulator, plan, max_failures=max_failures)

    assert (report.counts.sent, report.counts.failed, report.counts.unknown) == (sent, failed, 0)
    assert report.counts.not_attempted == 20 - sent - failed
    assert len(mqs_emulator.requests("resend")) == sent + failed
    assert ("max_failures" in sender.stopped) is (max_failures < 3)


async def test_messages_in_flight_are_finished_when_it_stops(mqs_emulator: MqsEmulator) -> None:
    """They are counted; no further one is begun."""
    plan = seeded(mqs_emulator, 300)
    mqs_emulator.faults.error_400 = only((0, 10))

    report, _ = await resend(mqs_emulator, plan)

    assert report.counts.failed == 1
    assert report.counts.sent == len(mqs_emulator.resends("orders"))
    assert 10 <= report.counts.sent <= 40
    assert report.counts.not_attempted == 299 - report.counts.sent


@pytest.mark.parametrize("fault", ["timeout_504", "drop_after", "error_500_after", "html_502_after"])
async def test_answer_that_is_lost_after_the_append_is_unknown_and_not_repeated(
    mqs_emulator: MqsEmulator, fault: str
) -> None:
    """The copy is there once, and the report says that it may be."""
    plan = seeded(mqs_emulator, 20, partitions=1)
    setattr(mqs_emulator.faults, fault, only((0, 5)))

    report, _ = await resend(mqs_emulator, plan, on_failure="continue")

    assert mqs_emulator.resend_counts("orders") == {(0, offset): 1 for offset in range(20)}
    assert len(mqs_emulator.requests("resend")) == 20
    assert (report.counts.sent, report.counts.failed, report.counts.unknown) == (19, 0, 1)
    (failure,) = report.account.failures
    assert (failure.partition, failure.message_offset, failure.unknown) == (0, 5, True)


@pytest.mark.parametrize("fault", ["lost_504", "drop_before", "error_500", "error_502", "error_503", "html_502"])
async def test_answer_that_may_mean_anything_is_unknown_too(mqs_emulator: MqsEmulator, fault: str) -> None:
    """From outside it looks the same when the append did not happen, so nothing is repeated, either."""
    plan = seeded(mqs_emulator, 3, partitions=1)
    setattr(mqs_emulator.faults, fault, only((0, 1)))

    report, sender = await resend(mqs_emulator, plan)

    assert len(mqs_emulator.requests("resend")) == 2
    assert (report.counts.sent, report.counts.unknown, report.counts.not_attempted) == (1, 1, 1)
    assert "max_failures=0" in sender.stopped


@pytest.mark.parametrize("fault", ["throttle_429", "throttle_404", "iam_unavailable"])
async def test_message_that_was_turned_away_is_sent_again(mqs_emulator: MqsEmulator, fault: str) -> None:
    """It surely did not run, so it goes out in the end, once."""
    plan = seeded(mqs_emulator, 3, partitions=1)
    setattr(mqs_emulator.faults, fault, Rule(next=5, operations=frozenset({"resend"})))

    report, _ = await resend(mqs_emulator, plan)

    assert report.counts.sent == 3
    assert set(mqs_emulator.resend_counts("orders").values()) == {1}
    assert len(mqs_emulator.requests("resend")) == 8


async def test_token_that_dies_on_the_way_costs_one_login(mqs_emulator: MqsEmulator) -> None:
    """Whatever was in flight with it is sent again with the new one, once."""
    plan = seeded(mqs_emulator, 300)
    mqs_emulator.faults.token_requests = 200

    report, _ = await resend(mqs_emulator, plan, ordering="none")

    assert report.counts.sent == 300
    assert len(mqs_emulator.requests("login")) == 2
    assert set(mqs_emulator.resend_counts("orders").values()) == {1}


async def test_refused_credentials_stop_it_whatever_was_said(mqs_emulator: MqsEmulator) -> None:
    """With ``continue``, too: all others would be refused as well, and might lock the user."""
    plan = seeded(mqs_emulator, 300)
    mqs_emulator.faults.token_requests = 30

    report, sender = await resend(mqs_emulator, plan, auth_type="token", on_failure="continue", max_failures=1000)

    assert report.counts.sent == 30
    assert 1 <= report.counts.failed <= 3
    assert sender.stopped == "the credentials are not accepted any more"


async def test_consumer_key_goes_with_every_message(mqs_emulator: MqsEmulator) -> None:
    """Each copy has it, and without one no copy has the header."""
    plan = seeded(mqs_emulator, 3)

    await resend(mqs_emulator, plan, consumer_key="billing")
    await resend(mqs_emulator, Plan("orders", {0: ((0, 0),)}))

    assert [one.consumer_key for one in mqs_emulator.resends("orders")] == ["billing"] * 3 + [None]


async def test_stop_from_outside_begins_nothing_more(mqs_emulator: MqsEmulator) -> None:
    """The first reason stays, and nothing is sent after it."""
    plan = seeded(mqs_emulator, 30)
    report = Report(Account(plan.partitions))
    async with AsyncMqsClient(settings(mqs_emulator)) as client:
        sender = sender_of(client, plan, report)
        sender.stop("killed")
        sender.stop("again")
        await run(sender, plan)

    assert sender.stopped == "killed"
    assert report.counts.not_attempted == 30
    assert mqs_emulator.requests("resend") == []


async def test_stop_while_waiting_for_a_turn_sends_nothing_more(mqs_emulator: MqsEmulator) -> None:
    """A slow rate does not delay the stop by a message."""
    plan = seeded(mqs_emulator, 30)
    report = Report(Account(plan.partitions))
    async with AsyncMqsClient(settings(mqs_emulator)) as client:

        async def sleep(_: float) -> None:
            sender.stop("killed")

        sender = sender_of(client, plan, report, pacer=Pacer(1, lambda: 0.0, sleep))
        await run(sender, plan)

    assert report.counts.sent == len(mqs_emulator.requests("resend")) <= 1


async def test_what_was_in_flight_when_it_was_cancelled_is_in_doubt(mqs_emulator: MqsEmulator) -> None:
    """Messages that were posted when the task was cancelled may be there; they are not called unattempted."""
    plan = seeded(mqs_emulator, 30)
    mqs_emulator.faults.latency_s = 30
    mqs_emulator.faults.latency_operations = frozenset({"resend"})
    report = Report(Account(plan.partitions))
    async with AsyncMqsClient(settings(mqs_emulator)) as client:
        sender = sender_of(client, plan, report)
        running = asyncio.create_task(sender.send(plan.partitions))
        await until(lambda: len(mqs_emulator.requests("resend")) == 3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        sender.give_up()

    assert set(mqs_emulator.resend_counts("orders")) == {(0, 0), (1, 0), (2, 0)}
    assert (report.counts.sent, report.counts.unknown, report.counts.not_attempted) == (0, 3, 27)


async def test_no_cancel_is_lost_while_a_stop_ends_what_is_in_flight(
    mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sending that is cancelled then does not return as if it had ended by itself."""
    monkeypatch.setattr("airflow_provider_mqs.core.resend.sender.DRAIN_S", 0.01)
    plan = seeded(mqs_emulator, 1, partitions=1)
    async with AsyncMqsClient(settings(mqs_emulator)) as client:
        posted, cancelled = asyncio.Event(), asyncio.Event()

        async def post(_: Step) -> None:
            posted.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
                for _ in range(5):
                    await asyncio.sleep(0)

        monkeypatch.setattr(client, "perform", post)
        sender = sender_of(client, plan, Report(Account(plan.partitions)))
        running = asyncio.create_task(sender.send(plan.partitions))
        await posted.wait()
        sender.stop("killed")
        await cancelled.wait()
        running.cancel()

        with pytest.raises(asyncio.CancelledError):
            await running


async def test_foreign_error_stops_all_workers(mqs_emulator: MqsEmulator) -> None:
    """A mistake of ours is raised, and no worker goes on after it."""

    class Broken(Meter):
        def tick(self, *, posted: bool) -> None:  # noqa: ARG002 - the signature of what it replaces
            raise ZeroDivisionError

    plan = seeded(mqs_emulator, 300)
    report = Report(Account(plan.partitions))
    async with AsyncMqsClient(settings(mqs_emulator)) as client:
        sender = sender_of(client, plan, report)
        sender.meter = Broken(report, client.api.monotonic)
        with pytest.raises(ZeroDivisionError):
            await sender.send(plan.partitions)

    assert len(mqs_emulator.requests("resend")) <= 6


async def test_log_names_the_message_and_never_its_content(
    mqs_emulator: MqsEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for each that failed, with offset and reason."""
    plan = seeded(mqs_emulator, 2, partitions=1)
    mqs_emulator.faults.error_400 = only((0, 0))
    mqs_emulator.faults.timeout_504 = only((0, 1))

    report, _ = await resend(mqs_emulator, plan, on_failure="continue")

    assert "Partition 0, message_offset 0 was not resent: HTTP 400 MQS.00400062" in caplog.text
    assert "Partition 0, message_offset 1 may or may not have been resent: HTTP 504" in caplog.text
    assert "message 0 of orders" not in caplog.text
    assert json.dumps(report.to_xcom(plan, endpoint="e", instance_id="i")).count("message 0 of orders") == 0


@pytest.mark.parametrize(
    ("error", "unknown", "code", "request_id"),
    [
        (BadRequestError(400, "MQS.00400062", "No.", "r-1"), False, "MQS.00400062", "r-1"),
        (AuthenticationError(401), False, "", ""),
        (AuthenticationError(200, "DMS.10240101"), False, "DMS.10240101", ""),
        (RateLimitedError(200, "DMS.10240407"), False, "DMS.10240407", ""),
        (BadRequestError(200, "MQS.00400062"), True, "MQS.00400062", ""),
        (PermissionDeniedError(403), False, "", ""),
        (NotFoundError(404, "MQS.00404033"), False, "MQS.00404033", ""),
        (BadRequestError(405), False, "", ""),
        (BadRequestError(413), False, "", ""),
        (RateLimitedError(429, "APIGW.0308"), False, "APIGW.0308", ""),
        (ServerError(503, "APIGW.0613"), False, "APIGW.0613", ""),
        (TransportError("No.", phase="resolve"), False, "", ""),
        (TransportError("No.", phase="connect"), False, "", ""),
        (TransportError("No.", phase="tls"), False, "", ""),
        (TransportError("No.", phase="exchange"), True, "", ""),
        (BadRequestError(408), True, "", ""),
        (BadRequestError(409), True, "", ""),
        (WindowTooLargeError(501), True, "", ""),
        (ServerError(500, "MQS.00500000", "", "r-2"), True, "MQS.00500000", "r-2"),
        (ServerError(502), True, "", ""),
        (ServerError(504), True, "", ""),
        (ProtocolError("Odd."), True, "", ""),
        (ConfigurationError("Odd."), True, "", ""),
    ],
)
def test_every_error_is_failed_or_unknown(error: MqsError, unknown: bool, code: str, request_id: str) -> None:
    """Failed only if the request surely was not executed; the sentence and the ids are kept."""
    failure = failure_of(3, 7, error)

    assert (failure.partition, failure.message_offset) == (3, 7)
    assert (failure.unknown, failure.error_code, failure.request_id) == (unknown, code, request_id)
    assert failure.message == str(error)


def test_a_login_that_broke_sent_nothing() -> None:
    """Whatever the error was, the message itself was not posted."""
    error = TransportError("No.", phase="exchange")
    error.at_login = True

    assert failure_of(3, 7, error).unknown is False
