"""
Send messages again: one POST each, in order inside each partition, at a rate, until done or stopped.

Messages whose outcome is unknown are settled before they count: while their partition waits, where order is kept; else
together, at the end of a round.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.client.client import side_by_side
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.claims import Claims, Lane
from airflow_provider_mqs.core.resend.in_doubt import Doubting
from airflow_provider_mqs.core.resend.pacing import Breaker, Meter, Pacer
from airflow_provider_mqs.core.resend.poster import Poster
from airflow_provider_mqs.core.resend.report import Failure
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import TypeAlias

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.resend.in_doubt import Settle
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.poster import Outcome
    from airflow_provider_mqs.core.resend.report import Report

    Write: TypeAlias = Callable[[OffsetsByPartition, OffsetsByPartition], Awaitable[None]]

DRAIN_S = 3.0
"""So long are messages in flight waited for when a task must end; Airflow kills it five seconds after SIGTERM."""
_MOST_DOUBTS = 100
"""So many messages in doubt, and the sending pauses until they are settled."""


class Resender:
    """
    Sends sets of messages, and keeps account.

    :param client: open; its ``concurrency`` says how many messages may be in flight
    :param topic: topic name
    :param sending: how
    :param report: counts what happens, and is right at any moment
    :param write: writes what is done and what is claimed into the ledger
    :param settle: finds out about messages in doubt, given what was surely sent
    :param pacer: the rate limit, default that of ``sending``
    :param meter: the progress lines
    """

    def __init__(
        self,
        client: AsyncMqsClient,
        topic: str,
        sending: ResendOptions,
        report: Report,
        *,
        write: Write,
        settle: Settle,
        pacer: Pacer | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._client = client
        self._sending = sending
        self._report = report
        self._write = write
        self._breaker = Breaker()
        self.meter = meter or Meter(report)
        self.done: OffsetsByPartition = report.resumed
        self.doubts: dict[MessageRef, Failure] = {}
        self.stopped = ""
        self._unknown: set[MessageRef] = set()
        self._failed: set[MessageRef] = set()
        self._doubting = Doubting(sending.on_unknown, report, settle)
        self._claims: Claims | None = None
        self._poster = Poster(client, topic, sending.consumer_key, pacer or Pacer(sending.max_rate), self.doubts)

    @property
    def open(self) -> OffsetsByPartition:
        """Messages that may have been sent: those in doubt, and those that could not be settled."""
        return partition_offsets.from_refs((*self.doubts, *self._unknown))

    @property
    def settled(self) -> OffsetsByPartition:
        """Messages that must not be posted again: sent, failed, or in doubt."""
        return partition_offsets.union(self.done, partition_offsets.from_refs(self._failed), self.open)

    def stop(self, reason: str, *, hurry: bool = True) -> None:
        """
        Start no further message.

        :param reason: half a sentence for the log and the error
        :param hurry: whether messages in flight get three seconds; else they are finished
        """
        self.stopped = self.stopped or reason
        self._poster.stop(hurry=hurry)
        if self._claims is not None:
            self._claims.close()

    async def send(self, places: OffsetsByPartition) -> None:
        """
        Send messages until all have an outcome or the run is stopped; failures are in the report, not raised.

        :param places: what to send
        :raises StoreError: the ledger could not be written, so that the sending stopped
        """
        left = places
        while left and not self.stopped:
            before = left
            await self._round(self._lanes(left))
            left = partition_offsets.difference(left, self.settled)
            if self.doubts and not self.stopped:
                left = partition_offsets.union(left, await self.settle_doubts())
            elif left == before:
                self.stop("too many messages are in doubt")

    async def probe(self, place: MessageRef) -> None:
        """
        Send one message; one in doubt stays so until ``settle_doubts``.

        :param place: partition and offset
        :raises StoreError: the ledger could not be written, so that nothing was sent
        """
        await self._round([Lane(iter([place]), exclusive=False)])

    async def settle_doubts(self) -> OffsetsByPartition:
        """
        Find out about all messages in doubt; what cannot be settled is unknown from then on.

        :return: those that were not sent, and may be sent now
        """
        if not self.doubts:
            return {}
        sent, again = await self._doubting.decide(partition_offsets.from_refs(self.doubts), self.done)
        for place in partition_offsets.expand(sent):
            self._report.add_sent(*place)
        self.done = partition_offsets.union(self.done, sent)
        for place in partition_offsets.expand(partition_offsets.union(sent, again)):
            del self.doubts[place]
        self.give_up()
        return again

    def give_up(self) -> None:
        """Count what is still in doubt as unknown."""
        for place, failure in self.doubts.items():
            self._unknown.add(place)
            self._count_failure(failure)
        self.doubts.clear()

    async def _round(self, lanes: list[Lane]) -> None:
        """Send each message once; where no order is kept, those in doubt are left over."""
        claims = Claims(lanes, self._write, concurrency=self._client.concurrency, done=self.done, doubts=self.open)
        self._claims = claims
        workers = min(self._client.concurrency, len(lanes)) if self._ordered else self._client.concurrency
        try:
            await self._drained(side_by_side(self._work(claims) for _ in range(workers)))
        finally:
            self.done = claims.done
            await self._flush(claims)

    async def _flush(self, claims: Claims) -> None:
        try:
            await claims.flush()
        except StoreError as error:
            raise claims.error or error from None
        if claims.error:
            raise claims.error

    async def _drained(self, crew: Coroutine[Any, Any, None]) -> None:
        """Let the workers end; three seconds after a stop that is in a hurry, cut what is still in flight."""
        work, hurry = asyncio.ensure_future(crew), asyncio.ensure_future(self._poster.hurry.wait())
        try:
            await asyncio.wait({work, hurry}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({work}, timeout=DRAIN_S)
        finally:
            hurry.cancel()
            work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    @property
    def _ordered(self) -> bool:
        return self._sending.ordering == "partition"

    def _lanes(self, places: OffsetsByPartition) -> list[Lane]:
        if not self._ordered:
            return [Lane(partition_offsets.expand(places), exclusive=False)]
        return [
            Lane(partition_offsets.expand({partition: ranges}), exclusive=True) for partition, ranges in places.items()
        ]

    async def _work(self, claims: Claims) -> None:
        while (taken := await claims.take()) is not None:
            lane, place = taken
            outcome = await self._poster.post(place)
            settled = False
            while lane.exclusive and not settled and isinstance(outcome, Failure) and outcome.unknown:
                outcome, settled = await self._settle_one(place, outcome, claims)
            self._account(claims, lane, place, outcome, settled=settled)

    async def _settle_one(self, place: MessageRef, failure: Failure, claims: Claims) -> tuple[Outcome, bool]:
        """Find out about one message while its partition waits; send it again where that is right."""
        if self.stopped:
            return failure, True
        self.doubts[place] = failure
        sent, again = await self._doubting.decide(partition_offsets.from_refs([place]), claims.done)
        del self.doubts[place]
        if again:
            return await self._poster.post(place), False
        return (True if sent else failure), True

    def _account(self, claims: Claims, lane: Lane, place: MessageRef, outcome: Outcome, *, settled: bool) -> None:
        if self._poster.locked_out:
            self.stop("the credentials are not accepted any more", hurry=False)
        if not isinstance(outcome, Failure):
            claims.finish(lane, place, sent=outcome)
            if outcome:
                self._report.add_sent(*place)
        elif not outcome.unknown:
            claims.finish(lane, place, sent=False)
            self._failed.add(place)
            self._count_failure(outcome)
        else:
            claims.doubt(lane)
            self._keep_doubt(claims, place, outcome, settled=settled)
        if outcome is not False and self._breaker.note(sent=outcome is True):
            self.stop(f"{self._breaker.most} messages in a row did not go through (circuit breaker)")
        self.meter.tick()

    def _keep_doubt(self, claims: Claims, place: MessageRef, failure: Failure, *, settled: bool) -> None:
        if settled:
            self._unknown.add(place)
            self._count_failure(failure)
            return
        self.doubts[place] = failure
        if len(self.doubts) >= _MOST_DOUBTS:
            claims.close()

    def _count_failure(self, failure: Failure) -> None:
        self._report.add_failure(failure)
        failures = self._report.failed + self._report.unknown
        if self._sending.on_failure == "stop" and failures > self._sending.max_failures:
            self.stop(
                f"more than max_failures={self._sending.max_failures} messages failed or are unknown", hurry=False
            )
