"""Post one message: within what the service bears, at a rate, and not any more once told to stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_mqs.core.client.flow import Sleep, adrive
from airflow_provider_mqs.core.resend.outcome import failure_of
from airflow_provider_mqs.core.resend.pacing import Throttle
from airflow_provider_mqs.core.resend.report import Failure
from airflow_provider_mqs.exceptions import AuthenticationError, MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.client.flow import Step
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef
    from airflow_provider_mqs.core.resend.pacing import Pacer

Outcome: TypeAlias = Failure | bool
"""``True`` for sent, ``False`` for not posted at all."""
_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """A flow was about to wait before another attempt, but there is no time for that; it surely did not run."""


class Poster:
    """
    Posts messages, one at a call; calls may run side by side.

    :param client: open; its ``concurrency`` says how many messages may be in flight
    :param topic: topic name
    :param consumer_key: application key for the header of each copy
    :param pacer: the rate limit
    :param doubts: told the messages that were in flight when their call was cancelled
    """

    def __init__(
        self,
        client: AsyncMqsClient,
        topic: str,
        consumer_key: str | None,
        pacer: Pacer,
        doubts: dict[MessageRef, Failure],
    ) -> None:
        self.hurry = asyncio.Event()
        self.locked_out = False
        self._client = client
        self._topic = topic
        self._consumer_key = consumer_key
        self._pacer = pacer
        self._doubts = doubts
        self._throttle = Throttle(client.concurrency)
        self._stopped = False

    def stop(self, *, hurry: bool) -> None:
        """
        Post no further message.

        :param hurry: whether those that wait before another attempt give up
        """
        self._stopped = True
        if hurry:
            self.hurry.set()

    async def post(self, place: MessageRef) -> Outcome:
        """
        Post a message; again where it surely did not run.

        :param place: partition and offset
        :return: whether it was sent, or why not; ``locked_out`` becomes true where no other can be sent either
        """
        await self._throttle.enter()
        outcome: Outcome = False
        try:
            await self._pacer.wait()
            if not self._stopped:
                outcome = await self._exchange(place)
        finally:
            self._throttle.leave(sent=outcome is True)
        return outcome

    async def _exchange(self, place: MessageRef) -> Outcome:
        try:
            await adrive(self._client.api.resend(self._topic, *place, self._consumer_key), self._perform)
        except _StoppedError:
            return False
        except MqsError as error:
            return self._judged(place, error)
        except BaseException:
            # cancelled in flight: the copy may be there all the same
            self._doubts[place] = Failure(
                *place, "", "The sending was stopped before an answer came.", "", unknown=True
            )
            raise
        return True

    async def _perform(self, step: Step) -> Any:
        """Perform a step; a wait is cut short by a stop, and tells that the service is asked too often."""
        if not isinstance(step, Sleep):
            return await self._client.perform(step)
        if step.throttled:
            self._throttle.slow_down()
        _log.info("Trying again in %.1f s (%s)", step.seconds, step.reason)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.hurry.wait(), step.seconds)
        if self._stopped:
            raise _StoppedError
        return None

    def _judged(self, place: MessageRef, error: MqsError) -> Failure:
        failure = failure_of(*place, error)
        outcome = "may or may not have been resent" if failure.unknown else "was not resent"
        _log.warning("Partition %d, message_offset %d %s: %s", *place, outcome, error)
        self.locked_out = self.locked_out or isinstance(error, AuthenticationError)
        return failure
