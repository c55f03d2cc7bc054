"""
Send messages again: one POST each, in order inside each partition, at a rate, until done or stopped.

*Order.* With ``ordering="partition"`` each partition is a lane of its own with one message out at a time, so a message
in doubt is resolved while its partition waits, and the others go on. With ``"none"`` there is one lane; messages in
doubt are left for the end of a round, or until there are 100, and resolved together.

*In flight.* At most ``concurrency`` messages, evenly spaced at ``max_rate``; half as many when the service asks for
fewer requests.

*Outcomes.* A resend is not idempotent, so what matters is whether it was executed. *Sent*: the service said so.
*Failed*: it was surely not executed, and the client has repeated it as often as allowed. *In doubt*: everything else,
such as a lost answer or a 500. *Not posted*: a stop came first.

*Stop.* No further message begins, and one that waits before another attempt gives up at once, since it surely was not
executed. Messages in flight are finished; in a hurry they get three seconds, then they are cancelled, and in doubt.

*Before each POST*, also that of another attempt, ``before_post`` may stop the sending, or take as long as it needs: the
message was claimed a while ago, and in the meantime the process may have been paused, or may have lost its parent.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.client.concurrency import side_by_side
from airflow_provider_mqs.core.client.flow import Request, Sleep, Step, adrive
from airflow_provider_mqs.core.client.retry import surely_not_executed
from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.claims import Claims, Lane
from airflow_provider_mqs.core.resend.pacing import Breaker, Pacer, Throttle
from airflow_provider_mqs.core.resend.post_times import PostTimes
from airflow_provider_mqs.core.resend.report import Meter, Report
from airflow_provider_mqs.core.resend.stopping import DRAIN_S, LEDGER_S, Stop, StoppedError
from airflow_provider_mqs.core.resend.verifier import FindCopies, Resolver
from airflow_provider_mqs.exceptions import ApiError, AuthenticationError, MqsError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.resend.options import ResendOptions

_log = logging.getLogger(__name__)

# resolving reads the topic, best for many messages at once; but each takes up room for claims until then
_MOST_IN_DOUBT = 100
REFUSED_STATUSES = frozenset({400, 401, 403, 404, 405, 413})
"""
With these statuses the service turns a resend away before it does anything: the message failed, after the repeats that
its error code allows, if any.

With any other (408, 409, 5xx) it may have been executed and is in doubt, unless the table of ``core.client.errors`` has
its error code as ``not_executed``.
"""


class _NotPostedError(Exception):
    """A stop came before a message was posted, or before another attempt; it surely was not executed."""


class Sender:
    """
    Sends messages, and keeps the account of ``report``.

    ``write`` writes the account into the ledger, ``find_copies`` looks for the copies of messages in doubt,
    ``before_post`` is awaited before each POST.
    """

    def __init__(
        self,
        client: AsyncMqsClient,
        topic: str,
        options: ResendOptions,
        report: Report,
        *,
        stop: Stop,
        write: Callable[[], Awaitable[None]],
        find_copies: FindCopies,
        before_post: Callable[[], Awaitable[None]],
        pacer: Pacer | None = None,
    ) -> None:
        self.meter = Meter(report, client.api.monotonic)
        self.post_times = PostTimes()
        """When each message was posted, and answered or given up."""
        self._client = client
        self._topic = topic
        self._options = options
        self._ordered = options.ordering == "partition"
        self._report = report
        self._stop = stop
        self._write = write
        self._before_post = before_post
        self._resolver = Resolver(options.on_unknown, report, find_copies)
        self._pacer = pacer or Pacer(options.max_rate, client.api.monotonic, sleep=stop.sleep)
        self._throttle = Throttle(client.concurrency, client.api.monotonic)
        self._breaker = Breaker()
        self._claims: Claims | None = None
        self._asked_s: dict[MessageRef, float] = {}

    @property
    def stopped(self) -> str:
        """Why the sending stopped before its end; empty if it did not."""
        return self._stop.reason

    def stop(self, reason: str, *, hurry: bool = True) -> None:
        """Begin no further message. The reason is half a sentence for the log and the error; the first one counts."""
        self._stop.stop(reason, hurry=hurry)
        if self._claims is not None:
            self._claims.close()

    async def send(self, wanted: OffsetsByPartition) -> None:
        """Send messages until all have an outcome, or the sending is stopped. Only a failing ledger raises."""
        remaining = wanted
        while remaining and not self.stopped:
            before = remaining
            if self._ordered:
                lanes = [Lane(partition_offsets.expand({p: ranges}), exclusive=True) for p, ranges in before.items()]
                await self._round(lanes, min(self._client.concurrency, len(lanes)))
            else:
                await self._round([Lane(partition_offsets.expand(before), exclusive=False)], self._client.concurrency)
            in_doubt = bool(self._account.in_doubt)
            if not self.stopped:
                await self.resolve_in_doubt()
            remaining = partition_offsets.intersection(wanted, self._account.remaining)
            if remaining == before and not in_doubt:
                self.stop("too many messages are in doubt")

    async def send_one(self, ref: MessageRef) -> None:
        """Send one message; if it is in doubt afterwards, it stays so."""
        await self._round([Lane(iter([ref]), exclusive=False)], 1)

    async def resolve_in_doubt(self) -> None:
        """Find out about all messages in doubt: each is then sent, unknown, or free to be sent again."""
        if self._account.in_doubt:
            await self._resolver.resolve(list(self._account.in_doubt))
            self._check_failures()

    def give_up(self) -> None:
        """Count what is still in doubt as unknown, and release what a stop kept from being posted."""
        self._account.give_up(list(self._account.in_doubt))
        self._account.release(list(self._account.claimed))
        self._check_failures()

    @property
    def _account(self) -> Account:
        return self._report.account

    async def _round(self, lanes: list[Lane], workers: int) -> None:
        """Post each message of the lanes once; in a hurry, cancel after three seconds what is still in flight."""
        claims = self._claims = Claims(lanes, self._account, self._claim, concurrency=self._client.concurrency)
        try:
            with suppress(StoppedError):
                await self._stop.guard(side_by_side(self._work(claims) for _ in range(workers)), grace_s=DRAIN_S)
        finally:
            # in a hurry, the ledger is closed next
            await self._stop.guard(claims.flush(write=not self._stop.hurried), grace_s=LEDGER_S)

    async def _claim(self) -> None:
        with self.meter:
            await self._write()

    async def _work(self, claims: Claims) -> None:
        account = self._account
        while (taken := await claims.take()) is not None:
            lane, ref = taken
            sent = await self._post(ref)
            while lane.exclusive and ref in account.in_doubt and not self.stopped:
                if not await self._resolver.resolve([ref]):
                    sent = ref not in account.unknown
                    continue
                account.claim([ref])
                # the ledger names it as a possible double before it may be one
                sent = await self._post(ref) if await claims.renew() else None
            claims.done_with(lane)
            if not lane.exclusive and len(account.in_doubt) >= _MOST_IN_DOUBT:
                claims.close()
            if sent is False:
                self._check_failures()
            if sent is not None and self._breaker.note(sent=sent):
                self.stop(f"{self._breaker.most} messages in a row did not go through (circuit breaker)")
            self.meter.tick(posted=sent is not None)

    async def _post(self, ref: MessageRef) -> bool | None:
        """Post a message and note its outcome. Return whether it was sent, ``None`` if it was not posted."""
        sent = None
        with self.meter:
            await self._throttle.enter()
            try:
                await self._pacer.wait()
                if not self._stop.reason:
                    sent = await self._exchange(ref)
            finally:
                self._throttle.leave(sent=sent is True)
        if sent is None:
            self._account.release([ref])
        return sent

    async def _exchange(self, ref: MessageRef) -> bool | None:
        account, perform = self._account, partial(self._perform, ref)
        try:
            await adrive(self._client.api.resend(self._topic, *ref, self._options.consumer_key), perform)
        except _NotPostedError:
            return None
        except MqsError as error:
            failure = failure_of(*ref, error)
            outcome = "may or may not have been resent" if failure.unknown else "was not resent"
            _log.warning("Partition %d, message_offset %d %s: %s", *ref, outcome, error)
            if isinstance(error, AuthenticationError):
                # all others would be refused as well, and might lock the user
                self.stop("the credentials are not accepted any more", hurry=False)
            if failure.unknown:
                account.mark_in_doubt(failure)
            else:
                account.mark_failed(failure)
            return False
        except BaseException:
            if ref in self._asked_s:
                # cancelled in flight: the copy may be there all the same
                sentence = "The sending was stopped before an answer came."
                account.mark_in_doubt(Failure(*ref, "", sentence, "", unknown=True))
            raise
        finally:
            if (asked_s := self._asked_s.pop(ref, None)) is not None:
                self.post_times.note(ref, asked_s, self._client.api.monotonic())
        account.mark_sent(ref)
        return True

    async def _perform(self, ref: MessageRef, step: Step) -> Any:
        """Perform a step; after a stop, neither wait nor post."""
        if isinstance(step, Sleep):
            if step.throttled:
                self._throttle.slow_down()
            _log.info("Trying again in %.1f s (%s)", step.seconds, step.reason)
            await self._stop.sleep(step.seconds)
            if self.stopped:
                raise _NotPostedError
            return None
        is_post = isinstance(step, Request) and not step.safe_to_repeat  # the other requests are logins
        if is_post:
            await self._before_post()
        if self._stop.reason:
            raise _NotPostedError
        if is_post:
            self._asked_s[ref] = self._client.api.monotonic()
        return await self._client.perform(step)

    def _check_failures(self) -> None:
        failures, most = len(self._account.failed) + len(self._account.unknown), self._options.max_failures
        if self._options.on_failure == "stop" and failures > most:
            self.stop(f"more than max_failures={most} messages failed or are unknown", hurry=False)


def failure_of(partition: int, message_offset: int, error: MqsError) -> Failure:
    """Say why a message was not acknowledged: ``unknown`` unless it surely was not executed."""
    code = request_id = ""
    refused = error.at_login
    if isinstance(error, ApiError):
        code, request_id = error.error_code, error.request_id
        refused = refused or error.status in REFUSED_STATUSES or surely_not_executed(error)
        # whatever the status: who is not let in makes nothing happen
        refused = refused or isinstance(error, AuthenticationError)
    elif isinstance(error, TransportError):
        refused = refused or surely_not_executed(error)
    return Failure(partition, message_offset, code, str(error), request_id, unknown=not refused)
