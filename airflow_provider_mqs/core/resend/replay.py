"""
One replay from beginning to end; the same for the operator and for the command.

Its phases:

1. **Prepare**: read what earlier tries and runs left; check that the messages are still there. A dry run ends here.
2. **Open**: note the last offset of each partition, since copies come after it; then take the ledger over.
3. **Send**: a pilot, so that there is a copy to compare others with; resolve what an earlier try left in doubt; send
   the canary, if there is one, and everything else. Meanwhile the brake is asked.
4. **Verify**: look for the copy of each message, unless the task must end at once.
5. **Close**: write the ledger for the last time.

Nothing is posted before phase 2 is over, nor after a write of the ledger has failed. From phase 3 on, phase 5 is
reached whatever happens, so that the next try finds what was sent. A stop ends every phase; see ``stopping``.

*Lease.* During phases 3 and 4 the ledger is written every 15 s at least, so that others see that its owner is alive.
Before each POST the owner looks at its own monotonic clock: if its last good write is too old, because the process was
paused or the store is slow, it writes first, and so finds out whether it was overtaken.

*Orphan.* If the parent process is gone, nobody watches this one any more, and a successor may be on its way. That is
looked for before each POST, so an orphan sends nothing more than the requests that are in flight at that moment: at
most ``concurrency``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import adrive, joined
from airflow_provider_mqs.core.ledger.account import Account
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING
from airflow_provider_mqs.core.ledger.resume import History
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.report import Progress, Report
from airflow_provider_mqs.core.resend.sender import Sender
from airflow_provider_mqs.core.resend.stopping import LEDGER_S, Stop, StoppableClient, StoppedError
from airflow_provider_mqs.core.resend.verifier import Verifier
from airflow_provider_mqs.core.verify.last_offsets import find_last_offsets
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.ledger.session import LedgerChanges, LedgerSession
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.options import ResendOptions
    from airflow_provider_mqs.core.resend.stopping import Caller

_log = logging.getLogger(__name__)
# a quarter of the lease
_HEARTBEAT_S = 15.0
_BRAKE_EVERY_S = 1.0
_MOST_BRAKE_S = 30.0
"""A brake that takes longer counts as pulled."""
_MOST_PILOTS = 5


class Replay:
    """
    A replay, for one run, made in its event loop.

    The stores are used in the thread ``airflow``, the brake is asked in ``brake_thread``. ``parent`` returns the id of
    the parent process.
    """

    def __init__(
        self,
        client: AsyncMqsClient,
        plan: Plan,
        options: ResendOptions,
        session: LedgerSession,
        airflow: Caller,
        *,
        brake: Callable[[Progress], bool] | None = None,
        brake_thread: Caller | None = None,
        parent: Callable[[], int] = lambda: 0,
    ) -> None:
        self.report = Report(Account(plan.partitions))
        self.history = History(self.report.account)
        self._stop = Stop()
        self._client = StoppableClient(client, airflow, self._stop)
        self._plan = plan
        self._options = options
        self._session = session
        session.clock = client.api.service_clock
        self._brake = brake
        self._brake_thread = brake_thread or airflow
        self._parent, self._first_parent = parent, parent()
        self._verifier = Verifier(self._client, plan, options, session, self.report)
        self._sender = Sender(
            client,
            plan.topic,
            options,
            self.report,
            stop=self._stop,
            write=self._write,
            find_copies=self._verifier.find_copies,
            before_post=self._before_post,
        )
        self._verifier.post_times = self._sender.post_times
        self._found: LedgerChanges = {}
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._lease: asyncio.Task[None] | None = None
        self._prepared = False
        self._until_ms = 0
        self._error: StoreError | None = None

    @property
    def account(self) -> Account:
        """What has become of each message."""
        return self.report.account

    @property
    def stopped(self) -> str:
        """Why the sending stopped before its end; empty if it did not."""
        return self._stop.reason

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self._sender.meter.rate

    def stop(self, reason: str) -> None:
        """End at once, with a report; see ``stopping``. Any thread or signal handler may call this."""
        # Airflow calls ``on_kill`` after a timeout even if the replay is over and its loop closed
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._sender.stop, reason)

    async def prepare(self) -> None:
        """Find out what was sent before, and whether the messages still exist. Changes nothing."""
        self._begin(await self._client.run(self._session.preview(self._options.on_replayed)))
        to_check = partition_offsets.union(self.account.remaining, self.account.maybe_sent)
        await self._client.run(self._verifier.sources.check_ends(to_check))
        self._prepared = True

    async def run(self) -> None:
        """Run all phases. After a ``StoreError`` the report is right; any other error means that nothing was sent."""
        try:
            if not self._prepared:
                await self.prepare()
            try:
                await self._open()
                await self._send()
                await self._verify()
            except StoppedError:
                pass  # the reason of the stop is known
            finally:
                # nobody knows of an execution that never wrote
                if self._session.ledger.seq:
                    await self._close()
            if self._error is not None:
                raise self._error
        finally:
            self.report.requests = self._client.requests

    def _begin(self, history: History) -> None:
        self.history = history
        self.report.account = history.account

    async def _open(self) -> None:
        """Wait for the turn of this execution, and note what was there before its first POST."""
        api, session = self._client.api, self._session
        self._begin(await self._client.run(session.open(self._options.on_replayed)))
        self._lease = asyncio.ensure_future(self._keep_lease())
        if self.history.is_retry:
            sent, in_doubt = self.account.counts.sent, len(self.account.in_doubt)
            _log.info("Resuming an earlier try, which sent %d messages and left %d in doubt.", sent, in_doubt)
        if self.account.remaining or self.account.in_doubt:
            last_offsets = await self._client.run(find_last_offsets(api, self._plan.topic, self._plan.partitions))
            async with self._writing:
                session.begin(last_offsets, first_ms=api.earliest_ms())
        self._verifier.begin(self.history)

    async def _send(self) -> None:
        """Send, while the brake is asked."""
        sender = self._sender
        asking = None if self._brake is None else asyncio.ensure_future(self._ask_brake(self._brake))
        try:
            await self._send_pilot()
            await sender.resolve_in_doubt()
            if self._options.canary:
                await self._send_canary()
            await sender.send(self.account.remaining)
        except StoreError as error:
            # what was sent can be verified all the same
            self._error = self._error or error
        finally:
            if asking is not None:
                asking.cancel()
            sender.give_up()
            self._until_ms = self._now_at_most_ms()

    async def _send_pilot(self) -> None:
        """Send one message before all others, so that there is a copy to compare with; if it fails, the next."""
        account, remaining = self.account, self.account.remaining
        if self._options.ordering == "none":
            pilots = partition_offsets.expand(remaining)
        else:
            # the first of a partition breaks no order, unless an earlier one is in doubt and may be sent again
            blocked = {partition for partition, _ in account.in_doubt}
            pilots = ((p, ranges[0][0]) for p, ranges in remaining.items() if p not in blocked)
        for ref in islice(pilots, _MOST_PILOTS):
            if account.done or self.stopped:
                break
            await self._sender.send_one(ref)
        if not self.stopped:
            self._found |= await self._verifier.calibrate()

    async def _send_canary(self) -> None:
        wanted = max(self._options.canary - self.account.counts.sent, 0)
        await self._sender.send(partition_offsets.first(self.account.remaining, wanted))
        if self.stopped:
            return
        await self._verifier.verify(share=False)
        # the report says whether all messages are verified, which is found out at the end
        verified, self.report.verified = self.report.verified, None
        if not verified:
            self._sender.stop(f"the copies of the canary ({self.report.counts}) could not be verified", hurry=False)

    async def _verify(self) -> None:
        """Look for the copies, unless the task must end at once."""
        if self._options.verify and not self._stop.hurried and self.report.verified is None:
            if self._error is None:
                # others that send beside this one wait until it says so
                await self._write_or_stop(verifying=True)
            self._found |= await self._verifier.verify(share=self._error is None)

    async def _keep_lease(self) -> None:
        while not self._stop.hurried:
            await asyncio.sleep(_HEARTBEAT_S)
            self._look_for_parent()
            await self._write_or_stop()

    async def _before_post(self) -> None:
        """Stop the sending if nobody watches it any more, or if another execution has taken over."""
        self._look_for_parent()
        if self._session.lease_left_s() <= 0:
            await self._write_or_stop(unless_held=True)

    def _look_for_parent(self) -> None:
        if self._parent() != self._first_parent:
            self._sender.stop("the parent process is gone, and nobody watches this one any more")

    async def _ask_brake(self, brake: Callable[[Progress], bool]) -> None:
        while True:
            await asyncio.sleep(_BRAKE_EVERY_S)
            asking = asyncio.ensure_future(self._brake_thread.ask(brake, self._sender.meter.progress()))
            try:
                await asyncio.wait({asking}, timeout=_MOST_BRAKE_S)
                if not asking.done():
                    return self._sender.stop(f"the brake has not answered for {_MOST_BRAKE_S:.0f} s")
                pulled = asking.result()
            except Exception as error:  # noqa: BLE001 - a brake that breaks must stop the sending, whatever it was
                return self._sender.stop(f"the brake raised {type(error).__name__}")
            finally:
                asking.cancel()
            if pulled:
                return self._sender.stop("the brake was pulled")

    async def _close(self) -> None:
        """Write the ledger for the last time."""
        account = self.account
        changes: LedgerChanges = {
            **self._account_changes(),
            "state": COMPLETE if account.complete else ENDED,
            "verifying": False,
            **self._found,
        }
        try:
            doubles = await self._stop.guard(self._close_ledger(changes), grace_s=LEDGER_S)
        except StoppedError:
            self._error = self._error or StoreError("The store did not answer in time, so the ledger was not closed.")
        except StoreError as error:
            self._error = self._error or error
        else:
            account.note_possible_doubles(doubles)
        finally:
            if self._lease is not None:
                self._lease.cancel()

    async def _close_ledger(self, changes: LedgerChanges) -> OffsetsByPartition:
        async with self._writing:
            # not in the midst of a write
            if self._lease is not None:
                self._lease.cancel()
            flow = self._session.close(done=self.account.take_new_done(), findings=self._verifier.findings, **changes)
            return await adrive(joined(flow), self._client.perform)

    async def _write_or_stop(self, *, unless_held: bool = False, **more: Unpack[LedgerChanges]) -> None:
        try:
            await self._write(unless_held=unless_held, **more)
        except StoreError:
            self._sender.stop("the ledger could not be written")

    async def _write(self, *, unless_held: bool = False, **more: Unpack[LedgerChanges]) -> None:
        """Write the account into the ledger; what it claims may be posted when this returns."""
        async with self._writing:
            if unless_held and self._session.lease_left_s() > 0:
                return
            changes: LedgerChanges = {**self._account_changes(), "state": SENDING, **more}
            flow = self._session.write(done=self.account.take_new_done(), findings=self._verifier.findings, **changes)
            try:
                await adrive(joined(flow), self._client.perform)
            except StoreError as error:
                # those after it only say that there was one
                self._error = self._error or error
                raise

    def _now_at_most_ms(self) -> int:
        """Return the latest time that a copy may have, also if the service's clock was set meanwhile."""
        api = self._client.api
        return api.latest_ms() + api.service_clock.set_ms

    def _account_changes(self) -> LedgerChanges:
        """Return what the ledger takes from the account, which must be read here, in its event loop."""
        return {
            "claimed": partition_offsets.difference(self.account.maybe_sent, self.account.inherited),
            "settled": self._verifier.settled,
            "possible_doubles": self.account.possible_doubles,
            "copies_keep_time": self._found.get("copies_keep_time"),
            # copies come no later than the last answer to a POST
            "until_ms": self._until_ms or self._now_at_most_ms(),
        }
