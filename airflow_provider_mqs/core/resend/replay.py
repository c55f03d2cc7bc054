"""
One replay from beginning to end: look what was sent before, settle what is in doubt, send, verify, write it down.

The same for the operator and for the command line. Nothing is posted before the ledger and the record of earlier
replays were read, and nothing after the first write of the ledger that failed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING
from airflow_provider_mqs.core.ledger.resume import Opening
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.pacing import Meter
from airflow_provider_mqs.core.resend.report import Failure, Report
from airflow_provider_mqs.core.resend.sender import Resender
from airflow_provider_mqs.core.resend.verifier import Proof
from airflow_provider_mqs.core.verify.copy_search import find_last_offsets
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.ledger.session import LedgerSession
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.pacing import Progress

_log = logging.getLogger(__name__)
_HEARTBEAT_S = 15.0
_BRAKE_S = 1.0
_MOST_PILOTS = 5


class Replay:
    """
    A replay, for one run.

    :param client: open
    :param plan: what to send
    :param sending: how
    :param journal: its ledger
    :param desk: where calls to Airflow are made
    :param brake: called at most once a second; true stops
    """

    def __init__(
        self,
        client: AsyncMqsClient,
        plan: Plan,
        sending: ResendOptions,
        session: LedgerSession,
        desk: AirflowThread,
        *,
        brake: Callable[[Progress], bool] | None = None,
    ) -> None:
        self.report = Report(plan.count)
        self.opening = Opening({}, {}, {})
        self._client = client
        self._plan = plan
        self._sending = sending
        self._session = session
        self._desk = desk
        self._brake = brake
        self._proof = Proof(client, plan, sending, session)
        self._earlier_known = True
        self._resender = Resender(
            client, plan.topic, sending, self.report, write=self._write, settle=self._proof.settle
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: StoreError | None = None
        self._hurried = False

    @property
    def stopped(self) -> str:
        """Why the sending stopped before its end; ``""`` where it did not."""
        return self._resender.stopped

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self._resender.meter.rate

    def stop(self, reason: str) -> None:
        """
        Start no further message; those in flight get three seconds. May be called in a thread or signal handler.

        :param reason: half a sentence for the log and the error
        """
        if self._loop is None:
            self._halt(reason)
        else:
            # closed: the replay is over, and Airflow calls ``on_kill`` after a timeout all the same
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._halt, reason)

    async def prepare(self) -> OffsetsByPartition:
        """
        See what was sent before, and whether the messages are still there. Changes nothing.

        :return: what is left to send
        :raises ConfigurationError: the plan does not fit the topic any more, or ``on_replayed`` is ``fail``
        :raises ReplayInProgressError: another run is sending some of these messages
        :raises StoreError: the ledger or the record cannot be read
        """
        self._take_in(await self._desk.ask(self._session.preview, self._sending.on_replayed))
        await self._client.run(self._proof.sources.check_ends(partition_offsets.union(self._left, self.opening.doubts)))
        return self._left

    async def run(self) -> None:
        """
        Send what is left, and verify it.

        :raises StoreError: the ledger could not be written; the report is right all the same
        :raises MqsError: nothing was sent
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self.prepare()
            await self._open()
            try:
                await self._watched()
            except StoreError as error:
                self._error = self._error or error
            finally:
                await self._end()
            if self._error is not None:
                raise self._error
        finally:
            self.report.requests = self._client.requests

    @property
    def _left(self) -> OffsetsByPartition:
        gone = partition_offsets.union(self.opening.resumed, self.opening.already, self.opening.doubts)
        return partition_offsets.difference(self._plan.partitions, gone)

    def _halt(self, reason: str) -> None:
        self._hurried = True
        self._resender.stop(reason)

    def _take_in(self, opening: Opening) -> None:
        self.opening = opening
        self.report.resumed = self._resender.done = opening.resumed
        self.report.already = opening.already

    async def _open(self) -> None:
        """Note where the topic ends, then take the ledger over."""
        api = self._client.api
        if self._left or self.opening.doubts:
            last_offsets = await self._client.run(find_last_offsets(api, self._plan.topic, self._plan.partitions))
            self._session.begin(last_offsets, since_ms=api.now_ms())
        self._take_in(await self._desk.ask(self._session.open, self._sending.on_replayed))
        if self.opening.retried:
            sent, doubtful = map(partition_offsets.count, (self.opening.resumed, self.opening.doubts))
            _log.info("Going on after an earlier try, which sent %d messages and left %d in doubt.", sent, doubtful)
        ledger = self._session.ledger
        self.report.possible_doubles = ledger.doubles
        self._earlier_known = ledger.copies_known or not ledger.earlier
        self._proof.begin(self.opening, await self._desk.ask(self._session.foreign_copies, ledger.since_ms))

    async def _send(self) -> None:
        resender, left = self._resender, self._left
        resender.meter = Meter(self.report)
        for place in partition_offsets.expand(self.opening.doubts):
            resender.doubts[place] = Failure(*place, "", "An earlier try may have sent it.", "", unknown=True)
        await self._send_pilot(left)
        left = partition_offsets.union(left, await resender.settle_doubts())
        if self._sending.canary:
            await self._send_canary(left)
        await resender.send(partition_offsets.difference(left, resender.settled))

    async def _send_pilot(self, left: OffsetsByPartition) -> None:
        """Send one message before all others, so that there is something to compare copies with; others if need be."""
        for place in islice(self._pilots(left), _MOST_PILOTS):
            if self._proof.base or self._resender.done or self.stopped:
                return
            await self._resender.probe(place)

    def _pilots(self, left: OffsetsByPartition) -> Iterable[MessageRef]:
        """Choose messages that break no order, also where one of the others turns out not to be sent."""
        if self._sending.ordering == "none":
            return partition_offsets.expand(left)
        return ((p, ranges[0][0]) for p, ranges in left.items() if p not in self.opening.doubts)

    async def _send_canary(self, left: OffsetsByPartition) -> None:
        wanted = self._sending.canary - partition_offsets.count(self.report.sent_ranges())
        await self._resender.send(
            partition_offsets.first(partition_offsets.difference(left, self._resender.settled), max(wanted, 0))
        )
        if self.stopped:
            return
        await self._proof.verify(self._resender.done, self.report)
        verified, self.report.verified = self.report.verified, None
        if not verified:
            self._resender.stop(f"the copies of the canary ({self.report.counts()}) could not be verified", hurry=False)

    async def _write(self, done: OffsetsByPartition, claimed: OffsetsByPartition) -> None:
        changes = {
            "done": partition_offsets.union(self._proof.base, done),
            "claimed": claimed,
            "doubles": self.report.possible_doubles,
            "state": SENDING,
            "copies_known": False,
            "until_ms": self._client.api.now_ms(),
        }
        await self._desk.ask(lambda: self._session.write(**changes))

    async def _watched(self) -> None:
        """Keep the lease of the ledger and look at the brake while the sending goes on."""
        helpers = [asyncio.ensure_future(self._beat())]
        if self._brake is not None:
            helpers.append(asyncio.ensure_future(self._heed(self._brake)))
        try:
            await self._send()
        finally:
            for helper in helpers:
                helper.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            try:
                await self._desk.ask(lambda: self._session.write(until_ms=self._client.api.now_ms()))
            except StoreError as error:
                self._error = error
                return self._resender.stop("the ledger could not be written")

    async def _heed(self, brake: Callable[[Progress], bool]) -> None:
        while True:
            await asyncio.sleep(_BRAKE_S)
            try:
                pulled = await self._desk.ask(brake, self._resender.meter.progress())
            except Exception as error:  # noqa: BLE001 - a brake that breaks must stop the sending, whatever it was
                return self._resender.stop(f"the brake raised {type(error).__name__}")
            if pulled:
                return self._resender.stop("the brake was pulled")

    async def _end(self) -> None:
        """Count what is left in doubt, look for the copies if there is time, and close the ledger."""
        resender, session = self._resender, self._session
        resender.give_up()
        if self._sending.verify and not self._hurried and self.report.verified is None:
            await self._proof.verify(self._resender.done, self.report)
        done = partition_offsets.union(self._proof.base, resender.done)
        left = partition_offsets.difference(self._plan.partitions, partition_offsets.union(done, self.report.already))
        known = bool(self.report.verified) and not resender.open and self._earlier_known
        changes = {
            "done": done,
            "claimed": resender.open,
            "copies": partition_offsets.union(session.ledger.copies, self.report.copies),
            "copies_known": known or session.ledger.copies_known,
            "until_ms": self._client.api.now_ms(),
            "state": ENDED if left else COMPLETE,
        }
        try:
            await self._desk.ask(lambda: session.close(**changes))
        except StoreError as error:
            self._error = self._error or error
