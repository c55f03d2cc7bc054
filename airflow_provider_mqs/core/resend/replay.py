"""
One replay from beginning to end; the same for the operator and for the command.

Its phases:

1. **Prepare**: read what earlier tries and runs left; check that the messages are still there. A dry run ends here.
2. **Open**: note the last offset of each partition, since copies come after it; then take the ledger over.
3. **Send**: a pilot, so that there is a copy to compare others with; resolve what an earlier try left in doubt; send
   the canary, if there is one, and everything else. Meanwhile the lease of the ledger is kept, and the brake is asked.
4. **Verify**: look for the copy of each message, unless the task must end at once.
5. **Close**: write the ledger for the last time.

Nothing is posted before phase 2 is over, nor after a write of the ledger has failed. From phase 3 on, phase 5 is
reached whatever happens, so that the next try finds what was sent.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.account import Account
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING
from airflow_provider_mqs.core.ledger.resume import History
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.report import Progress, Report
from airflow_provider_mqs.core.resend.sender import Sender
from airflow_provider_mqs.core.resend.verifier import Verifier
from airflow_provider_mqs.core.verify.copy_search import find_last_offsets
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.ledger.session import LedgerChanges, LedgerSession
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.resend.airflow_thread import AirflowThread
    from airflow_provider_mqs.core.resend.options import ResendOptions

_log = logging.getLogger(__name__)
# a quarter of the lease
_HEARTBEAT_S = 15.0
_BRAKE_EVERY_S = 1.0
_MOST_PILOTS = 5


class Replay:
    """A replay, for one run. ``airflow`` is the thread in which the stores are used and the brake is asked."""

    def __init__(
        self,
        client: AsyncMqsClient,
        plan: Plan,
        options: ResendOptions,
        session: LedgerSession,
        airflow: AirflowThread,
        *,
        brake: Callable[[Progress], bool] | None = None,
    ) -> None:
        self.report = Report(Account(plan.partitions))
        self.history = History(self.report.account)
        self._client = client
        self._plan = plan
        self._options = options
        self._session = session
        self._airflow = airflow
        self._brake = brake
        self._verifier = Verifier(client, plan, options, session, self.report)
        self._sender = Sender(
            client, plan.topic, options, self.report, write=self._write, find_copies=self._verifier.find_copies
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: StoreError | None = None
        self._hurried = False
        self._earlier_copies_known = True

    @property
    def account(self) -> Account:
        """What has become of each message."""
        return self.report.account

    @property
    def stopped(self) -> str:
        """Why the sending stopped before its end; empty if it did not."""
        return self._sender.stopped

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self._sender.meter.rate

    def stop(self, reason: str) -> None:
        """Begin no further message; those in flight get three seconds. Any thread or signal handler may call this."""
        if self._loop is None:
            self._stop_in_a_hurry(reason)
        else:
            # Airflow calls ``on_kill`` after a timeout even if the replay is over and its loop closed
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop_in_a_hurry, reason)

    async def prepare(self) -> None:
        """Find out what was sent before, and whether the messages still exist. Changes nothing."""
        self._begin(await self._airflow.ask(self._session.preview, self._options.on_replayed))
        to_check = partition_offsets.union(self.account.remaining, self.account.maybe_sent)
        await self._client.run(self._verifier.sources.check_ends(to_check))

    async def run(self) -> None:
        """Run all phases. After a ``StoreError`` the report is right; any other error means that nothing was sent."""
        self._loop = asyncio.get_running_loop()
        try:
            await self.prepare()
            await self._open()
            try:
                await self._send()
            except StoreError as error:
                self._error = self._error or error
            finally:
                await self._close()
            if self._error is not None:
                raise self._error
        finally:
            self.report.requests = self._client.requests

    def _stop_in_a_hurry(self, reason: str) -> None:
        self._hurried = True
        self._sender.stop(reason)

    def _begin(self, history: History) -> None:
        self.history = history
        self.report.account = history.account

    async def _open(self) -> None:
        api, session = self._client.api, self._session
        if self.account.remaining or self.account.in_doubt:
            last_offsets = await self._client.run(find_last_offsets(api, self._plan.topic, self._plan.partitions))
            session.begin(last_offsets, since_ms=api.now_ms())
        self._begin(await self._airflow.ask(session.open, self._options.on_replayed))
        self.account.take_over(session.ledger)
        self._earlier_copies_known = session.ledger.copies_known or not session.ledger.sent_earlier
        if self.history.is_retry:
            sent, in_doubt = self.account.counts.sent, len(self.account.in_doubt)
            _log.info("Resuming an earlier try, which sent %d messages and left %d in doubt.", sent, in_doubt)
        self._verifier.begin(self.history, await self._airflow.ask(session.foreign_copies, session.ledger.since_ms))

    async def _send(self) -> None:
        """Send, while the lease of the ledger is kept and the brake is asked."""
        sender = self._sender
        helpers = [asyncio.ensure_future(self._keep_lease())]
        if self._brake is not None:
            helpers.append(asyncio.ensure_future(self._ask_brake(self._brake)))
        try:
            await self._send_pilot()
            await sender.resolve_in_doubt()
            if self._options.canary:
                await self._send_canary()
            await sender.send(self.account.remaining)
        finally:
            for helper in helpers:
                helper.cancel()

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
                return
            await self._sender.send_one(ref)

    async def _send_canary(self) -> None:
        wanted = max(self._options.canary - self.account.counts.sent, 0)
        await self._sender.send(partition_offsets.first(self.account.remaining, wanted))
        if self.stopped:
            return
        await self._verifier.verify()
        # the report says whether all messages are verified, which is found out at the end
        verified, self.report.verified = self.report.verified, None
        if not verified:
            self._sender.stop(f"the copies of the canary ({self.report.counts}) could not be verified", hurry=False)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            try:
                await self._airflow.ask(lambda: self._session.write(until_ms=self._client.api.now_ms()))
            except StoreError as error:
                self._error = error
                return self._sender.stop("the ledger could not be written")

    async def _ask_brake(self, brake: Callable[[Progress], bool]) -> None:
        while True:
            await asyncio.sleep(_BRAKE_EVERY_S)
            try:
                pulled = await self._airflow.ask(brake, self._sender.meter.progress())
            except Exception as error:  # noqa: BLE001 - a brake that breaks must stop the sending, whatever it was
                return self._sender.stop(f"the brake raised {type(error).__name__}")
            if pulled:
                return self._sender.stop("the brake was pulled")

    async def _close(self) -> None:
        """Count what is still in doubt, look for the copies if there is time, and close the ledger."""
        report, session = self.report, self._session
        self._sender.give_up()
        if self._options.verify and not self._hurried and report.verified is None:
            await self._verifier.verify()
        all_known = bool(report.verified) and not self.account.maybe_sent_count
        try:
            changes: LedgerChanges = {
                **self._account_changes(),
                "state": COMPLETE if self.account.complete else ENDED,
                "copies": partition_offsets.union(session.ledger.copies, report.copies),
                # the copies of what is being sent once more are not looked for: they are known if they were before
                "copies_known": session.ledger.copies_known or (all_known and self._earlier_copies_known),
            }
            await self._airflow.ask(lambda: session.close(**changes))
        except StoreError as error:
            self._error = self._error or error

    async def _write(self) -> None:
        """Write the account into the ledger; what it claims may be posted when this returns."""
        changes: LedgerChanges = {**self._account_changes(), "state": SENDING, "copies_known": False}
        await self._airflow.ask(lambda: self._session.write(**changes))

    def _account_changes(self) -> LedgerChanges:
        """Return what the ledger takes from the account, which must be read here, in its event loop."""
        return {
            "done": self.account.done,
            "claimed": self.account.maybe_sent,
            "possible_doubles": self.account.possible_doubles,
            "until_ms": self._client.api.now_ms(),
        }
