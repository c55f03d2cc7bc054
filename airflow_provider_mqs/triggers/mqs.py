"""``MessagesInWindowTrigger``: the waiting of a deferred ``MessagesInWindowSensor``; and ``NewMessagesTrigger``."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID
from airflow_provider_mqs.core.watch.condition import Condition, Decision, PollPolicy, PollState, decide
from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.tasks.permanent_errors import PERMANENT
from airflow_provider_mqs.triggers.lazy_import import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_mqs.core.watch.condition import WindowCount
    from airflow_provider_mqs.hooks.client_pool import SharedClient
    from airflow_provider_mqs.triggers.new_messages import NewMessagesTrigger

__all__ = ["MessagesInWindowTrigger", "NewMessagesTrigger"]

_log = logging.getLogger(__name__)
"""One for all: a triggerer may have a thousand, and what each holds is looked through by the garbage collector."""

_LATE = ("airflow_provider_mqs.hooks.client_pool", "airflow_provider_mqs.core.watch.window_count")
"""Loaded by the first look; they bring the client."""

_LAST_LOOK_S = 30.0
"""How long a look may take that begins at the deadline; the task's own time limit comes later than that."""

_LONGEST_SPREAD_S = 30.0
"""How much later than it could the first look may come; shorter where the poke interval is."""


class MessagesInWindowTrigger(BaseTrigger):
    """
    Wait until a window is final, look what it holds, and send exactly one event about it.

    Only reads, so that a triggerer that restarts may look again. The arguments are plain JSON without secrets; times
    are absolute, so that a restart prolongs nothing. Until the window is final the service is not asked at all, and the
    first look comes at a random moment after that, since a thousand others may wait for the same hour.

    :param condition: what is waited for: ``Condition`` as JSON
    :param poll_policy: how long to wait between two looks: ``PollPolicy`` as JSON
    :param deadline_s: when to give up, epoch seconds
    :param mqs_conn_id: connection
    :param instance_id: instance, default the connection's
    :param looks: what looks before the task was deferred have left: ``PollState`` as JSON
    :param end_from_trigger: whether to end the task where it is satisfied or skips, instead of resuming it; Airflow 3
    :param do_xcom_push: whether the result is pushed then
    """

    def __init__(
        self,
        *,
        condition: Mapping[str, Any],
        poll_policy: Mapping[str, Any],
        deadline_s: float,
        mqs_conn_id: str = DEFAULT_CONN_ID,
        instance_id: str | None = None,
        looks: Mapping[str, Any] | None = None,
        end_from_trigger: bool = False,
        do_xcom_push: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.condition = Condition(**condition)
        self.poll_policy = PollPolicy(**poll_policy)
        self.deadline_s = deadline_s
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        self.looks = PollState(**(looks or {}))
        self.end_from_trigger = end_from_trigger
        self.do_xcom_push = do_xcom_push

    # replaced in tests, which have a time of their own
    _now_s = staticmethod(time.time)
    _sleep = staticmethod(asyncio.sleep)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """
        Give what makes this trigger again, in another process.

        :return: class path and arguments
        """
        return (
            "airflow_provider_mqs.triggers.mqs.MessagesInWindowTrigger",
            {
                "condition": self.condition.to_json(),
                "poll_policy": self.poll_policy.to_json(),
                "deadline_s": self.deadline_s,
                "mqs_conn_id": self.mqs_conn_id,
                "instance_id": self.instance_id,
                "looks": self.looks.to_json(),
                "end_from_trigger": self.end_from_trigger,
                "do_xcom_push": self.do_xcom_push,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Wait, and yield one event, whatever happens.

        :return: the event: ``Decision`` as JSON, or one that ends the task
        """
        try:
            decision = await self._watch()
        except Exception as error:  # noqa: BLE001 - a trigger that ends without an event says nothing to the user
            _log.exception("The trigger broke.")
            # the text of an error that is not ours may hold anything
            decision = Decision("error", f"The trigger broke ({type(error).__name__}); its log says where.")
        yield self._event(decision)

    def _event(self, decision: Decision) -> TriggerEvent:
        # a failure is the worker's to tell: its log has the reason, and it knows about retries
        if self.end_from_trigger and decision.status in ("satisfied", "skip"):
            from airflow.triggers.base import TaskSkippedEvent, TaskSuccessEvent  # noqa: PLC0415 - Airflow 3 has them

            if decision.status == "skip":
                return TaskSkippedEvent()
            return TaskSuccessEvent(xcoms={"return_value": decision.result} if self.do_xcom_push else None)
        return TriggerEvent(decision.to_event())  # type: ignore[no-untyped-call]  # Airflow's

    async def _watch(self) -> Decision:
        first_s = self._first_s()
        while (wait_s := min(first_s, self.deadline_s) - self._now_s()) > 0:
            await self._sleep(wait_s)
        if self._now_s() < first_s:
            return decide(self.condition, None, self._now_s()).by(self.deadline_s, self._now_s())
        await load(*_LATE)
        from airflow_provider_mqs.hooks.client_pool import shared_client  # noqa: PLC0415 - loaded by now

        # the sockets close at the end, and when the triggerer cancels this
        async with shared_client(self.mqs_conn_id, self.instance_id) as shared:
            number = 0
            while (ending := await self._look(shared)) is None:
                number += 1
                await self._sleep(self._wait_s(number))
        return ending

    async def _look(self, shared: SharedClient) -> Decision | None:
        """Look once; ``None`` where the waiting goes on. After the deadline it does not."""
        decision = (await self._judged(shared)).by(self.deadline_s, self._now_s())
        return None if decision.status == "wait" else decision

    async def _judged(self, shared: SharedClient) -> Decision:
        limit_s = max(self.deadline_s - self._now_s(), _LAST_LOOK_S)
        try:
            found = await asyncio.wait_for(self._count(shared), limit_s)
        except PERMANENT as error:
            return Decision("fail", str(error))
        except MqsError as error:
            self.looks = self.looks.failed()
            decision = self.poll_policy.judge(error, self.looks.errors)
            _log.warning("%s", decision.message)
            return decision
        except asyncio.TimeoutError:
            return Decision("timeout", "Timed out while the service was being asked.")
        self.looks = self.looks.found(found.count)
        decision = decide(self.condition, found, self._now_s(), self.looks.same)
        _log.info("%s", decision.message)
        return decision

    async def _count(self, shared: SharedClient) -> WindowCount:
        from airflow_provider_mqs.core.watch.window_count import WindowCounter  # noqa: PLC0415 - loaded by now

        client = await shared.client()
        counter = WindowCounter(self.condition, Filters.from_xcom(self.condition.filters), shared.topics)
        return await client.run(counter.count(client.api, int(self._now_s() * 1000)))

    def _first_s(self) -> float:
        """Choose the moment of the first look, so that not all look at once that start or wait for the same hour."""
        soonest_s = max(self.condition.final_s, self._now_s())
        spread_s = min(self.poll_policy.poke_interval_s, _LONGEST_SPREAD_S) * random.random()  # noqa: S311 - no secret
        return max(soonest_s, min(soonest_s + spread_s, self.deadline_s))

    def _wait_s(self, number: int) -> float:
        wait_s = self.poll_policy.wait_s(number, self.looks.errors, random.random())  # noqa: S311 - spreads looks
        # the last look is at the deadline
        return max(0.0, min(wait_s, self.deadline_s - self._now_s()))


def __getattr__(name: str) -> Any:
    """Load the other trigger when it is asked for: a triggerer of sensors has no use for what it needs."""
    if name != "NewMessagesTrigger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_mqs.triggers.new_messages import NewMessagesTrigger  # noqa: PLC0415 - see above

    return NewMessagesTrigger
