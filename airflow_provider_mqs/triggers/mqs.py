"""
``MessagesInWindowTrigger``, the wait of a deferred ``MessagesInWindowSensor``, and ``NewMessagesTrigger``.

A triggerer may run a thousand of them in one event loop, so what each holds is kept small, and nothing here loads the
client when the module is imported: the first poll does that, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers import base

from airflow_provider_mqs.core.client.concurrency import wait_at_most
from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, is_absent
from airflow_provider_mqs.core.watch.condition import Condition, Decision, PollPolicy, PollState, WindowCount, decide
from airflow_provider_mqs.core.watch.watch_options import NOW, WatchOptions
from airflow_provider_mqs.exceptions import PERMANENT, MqsError
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow.triggers.base import BaseEventTrigger

    from airflow_provider_mqs.hooks.client_pool import SharedClient
else:
    # Airflow 2 has no watchers; the module must be importable there all the same
    BaseEventTrigger = getattr(base, "BaseEventTrigger", base.BaseTrigger)

_log = logging.getLogger(__name__)
"""One for all triggers: a thousand loggers are a thousand more objects for the garbage collector to visit."""

_LAST_POLL_S: Final = 30.0
"""Seconds that a poll at the deadline may take; the time limit that Airflow itself keeps for the task comes later."""
_MAX_SENSOR_SPREAD_S: Final = 30.0
"""The first poll of a sensor comes at a random moment within this, or within its poke interval if that is shorter."""
_MAX_WATCHER_SPREAD_S: Final = 10.0
"""The same for a watcher, within its poll interval."""

_STORE_EVENT_S: Final = 5
"""
Seconds that an event gets to reach Airflow's database before the cursor moves on.

The triggerer stores it within a second or two and does not say when; a cursor saved at once could outlive its event.
"""
_FIRST_PAUSE_S: Final = 2.0
_MAX_PAUSE_S: Final = 600.0
_FIRST_PERMANENT_PAUSE_S: Final = 60.0
_MAX_PERMANENT_PAUSE_S: Final = 3600.0
_MAX_DOUBLINGS: Final = 12

_loaded: set[str] = process_wide(set())


async def _load(*modules: str) -> None:
    """Import modules in a thread, since an import must not hold up all other triggers; afterwards it costs nothing."""
    for name in modules:
        if name not in _loaded:  # sys.modules would not do: it also has what another thread is still importing
            await asyncio.to_thread(import_module, name)
            _loaded.add(name)


class MessagesInWindowTrigger(base.BaseTrigger):
    """
    Wait until a window is final, count its messages, and send exactly one event about it.

    Only reads, so a triggerer that restarts may poll again. The arguments are plain JSON without secrets, and times are
    absolute, so a restart prolongs nothing. Until the window is final the service is not asked at all; the first
    poll comes at a random moment after that, since a thousand others may wait for the same hour.

    :param condition: what is waited for: ``Condition`` as JSON
    :param poll_policy: how long to wait between two polls: ``PollPolicy`` as JSON
    :param deadline_s: when to give up, epoch seconds
    :param mqs_conn_id: connection
    :param instance_id: instance, default the connection's
    :param poll_state: what the polls before the task was deferred have found: ``PollState`` as JSON
    :param end_from_trigger: whether to end a task that is satisfied or skips, instead of resuming it; Airflow 3
    :param do_xcom_push: whether to push the result in that case
    """

    def __init__(
        self,
        *,
        condition: Mapping[str, Any],
        poll_policy: Mapping[str, Any],
        deadline_s: float,
        mqs_conn_id: str = DEFAULT_CONN_ID,
        instance_id: str | None = None,
        poll_state: Mapping[str, Any] | None = None,
        end_from_trigger: bool = False,
        do_xcom_push: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.condition = Condition.from_json(condition)
        self.poll_policy = PollPolicy(**poll_policy)
        self.deadline_s = deadline_s
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        self.poll_state = PollState(**(poll_state or {}))
        self.end_from_trigger = end_from_trigger
        self.do_xcom_push = do_xcom_push

    # replaced in tests, which have a time of their own
    _now_s = staticmethod(time.time)
    _sleep = staticmethod(asyncio.sleep)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """
        Return what makes this trigger again, in another process.

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
                "poll_state": self.poll_state.to_json(),
                "end_from_trigger": self.end_from_trigger,
                "do_xcom_push": self.do_xcom_push,
            },
        )

    async def run(self) -> AsyncIterator[base.TriggerEvent]:
        """
        Wait, and yield one event, whatever happens.

        :return: the event: ``Decision`` as JSON, or one that ends the task
        """
        try:
            decision = await self._wait()
        except Exception as error:  # noqa: BLE001 - a trigger that ends without an event says nothing to the user
            _log.exception("The trigger failed unexpectedly.")
            # not the text: that of an error which is not ours may hold anything
            name = type(error).__name__
            decision = Decision("error", f"The trigger failed unexpectedly ({name}); see the triggerer's log.")
        if not self.end_from_trigger or decision.status not in ("satisfied", "skip"):
            # a failure always goes through the worker: it belongs in the task's log, and Airflow decides about retries
            yield base.TriggerEvent(decision.to_event())  # type: ignore[no-untyped-call]  # Airflow's
            return
        # only Airflow 3 has these two events
        if decision.status == "skip":
            yield base.TaskSkippedEvent()
        else:
            yield base.TaskSuccessEvent(xcoms={"return_value": decision.result} if self.do_xcom_push else None)

    async def _wait(self) -> Decision:
        """Poll until that ends the wait; nothing else is decided after the deadline."""
        spread_s = min(self.poll_policy.poke_interval_s, _MAX_SENSOR_SPREAD_S) * random.random()  # noqa: S311 - no secret
        soonest_s = max(self.condition.final_s, self._now_s())
        first_s = max(soonest_s, min(soonest_s + spread_s, self.deadline_s))
        while (wait_s := min(first_s, self.deadline_s) - self._now_s()) > 0:
            await self._sleep(wait_s)
        if self._now_s() < first_s:
            return decide(self.condition, None, self._now_s()).expire(self.deadline_s, self._now_s())
        await _load("airflow_provider_mqs.hooks.client_pool", "airflow_provider_mqs.core.watch.window_count")
        from airflow_provider_mqs.hooks.client_pool import shared_client  # noqa: PLC0415 - loaded by now

        # the sockets close at the end, and when the triggerer cancels this
        async with shared_client(self.mqs_conn_id, self.instance_id) as shared:
            polls = 0
            while True:
                decision = (await self._poll(shared)).expire(self.deadline_s, self._now_s())
                if decision.status != "wait":
                    return decision
                polls += 1
                wait_s = self.poll_policy.wait_s(polls, self.poll_state.errors, random.random())  # noqa: S311 - jitter
                # the last poll comes at the deadline
                await self._sleep(max(0.0, min(wait_s, self.deadline_s - self._now_s())))

    async def _poll(self, shared: SharedClient) -> Decision:
        try:
            counted = await wait_at_most(max(self.deadline_s - self._now_s(), _LAST_POLL_S), self._count(shared))
        except PERMANENT as error:
            return Decision("fail", str(error))
        except MqsError as error:
            self.poll_state = self.poll_state.after_error()
            decision = self.poll_policy.decide_on_error(error, self.poll_state.errors)
            _log.warning("%s", decision.message)
            return decision
        except asyncio.TimeoutError:
            return Decision("timeout", "Timed out while waiting for the service to answer.")
        self.poll_state = self.poll_state.after_count(counted.count)
        decision = decide(self.condition, counted, self._now_s(), self.poll_state.same)
        _log.info("%s", decision.message)
        return decision

    async def _count(self, shared: SharedClient) -> WindowCount:
        from airflow_provider_mqs.core.watch.window_count import WindowCounter  # noqa: PLC0415 - loaded by now

        client = await shared.client()
        counter = WindowCounter(self.condition, shared.topics)
        return await client.run(counter.count(client.api, int(self._now_s() * 1000)))


class NewMessagesTrigger(BaseEventTrigger):
    """
    Send an event for each batch of new messages of a topic, for ever: for an ``AssetWatcher``, Airflow 3.0 and later.

    The payload is what ``QueryMessagesOperator`` returns (``mqs.offsets/1``: ranges and counts, no contents), so
    ``ResendMessagesOperator(messages=...)`` takes it. Only reads.

    Delivery is at least once. The cursor is kept in the state store of the watched asset (Airflow 3.3 and later), else
    in the folder ``[mqs] ledger_path``, and moves on a few seconds after the event was sent: nothing is lost when the
    triggerer is killed, and only a kill in those seconds repeats an event, with the same messages and digest. With
    neither store a restart begins at ``start`` again.

    Copies that recorded replays have put into the topic raise no event. While a replay's copies are not known yet, or
    the service does not show everything, new messages are held back, for a quarter of an hour at most; then their event
    says ``complete: false``, which the resend refuses.

    Errors are logged and the topic is polled again, at growing intervals. If it ended instead, Airflow would start it
    again within a second, which would lock out a user whose password is wrong.

    :param topic: topic name
    :param mqs_conn_id: connection
    :param instance_id: instance, default the connection's
    :param poll_interval_s: seconds between two polls, varied by up to a tenth
    :param settle_s: seconds that messages get to arrive before they are read
    :param overlap_s: how late a message may arrive, in seconds before what was read already; each poll reads that time
        again
    :param max_messages: most messages of one event; the others follow with the next, some seconds later
    :param start: when a watcher without a cursor begins: ``now``, or a time as epoch ms or ISO text
    :param exclude_copies: whether to leave copies out
    """

    def __init__(
        self,
        *,
        topic: str,
        mqs_conn_id: str = DEFAULT_CONN_ID,
        instance_id: str | None = None,
        poll_interval_s: float = 60.0,
        settle_s: float = 10.0,
        overlap_s: float = 300.0,
        max_messages: int = 10_000,
        start: int | str = NOW,
        exclude_copies: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = None if is_absent(instance_id) else instance_id
        self.options = WatchOptions.read(
            topic=topic,
            poll_interval_s=poll_interval_s,
            settle_s=settle_s,
            overlap_s=overlap_s,
            max_messages=max_messages,
            start=start,
            exclude_copies=exclude_copies,
        )

    # replaced in tests, which have a time of their own
    _now_s = staticmethod(time.time)
    _sleep = staticmethod(asyncio.sleep)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """
        Return what makes this trigger again, in another process.

        :return: class path and arguments
        """
        return (
            "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger",
            {"mqs_conn_id": self.mqs_conn_id, "instance_id": self.instance_id, **self.options.to_json()},
        )

    async def run(self) -> AsyncIterator[base.TriggerEvent]:
        """
        Poll for new messages, for ever.

        :return: an event for each batch
        """
        started_s, interval_s = self._now_s(), self.options.poll_interval_s
        # a triggerer that starts has enough to do without the first polls of all its watchers
        await self._sleep(random.random() * min(interval_s, _MAX_WATCHER_SPREAD_S))  # noqa: S311 - no secret
        await _load("airflow_provider_mqs.triggers.topic_watcher")
        from airflow_provider_mqs.triggers.topic_watcher import TopicWatcher  # noqa: PLC0415 - loaded by now

        watcher = TopicWatcher(
            self.options,
            mqs_conn_id=self.mqs_conn_id,
            instance_id=self.instance_id,
            # Airflow 3.3 sets it after it has made the trigger; older series do not
            state_store=getattr(self, "asset_state_store", None),
            started_s=started_s,
        )
        errors, waited_s = 0, interval_s
        while True:
            try:
                batch = await watcher.poll(self._now_s(), waited_s)
            except Exception as error:  # noqa: BLE001 - Airflow starts a watcher that ends again at once
                errors += 1
                waited_s = self._pause_s(error, errors)
                await self._sleep(waited_s)
                continue
            errors, waited_s = 0, interval_s
            if batch is not None:
                if batch.document is not None:
                    yield base.TriggerEvent(batch.document)  # type: ignore[no-untyped-call]  # Airflow's
                    for _ in range(_STORE_EVENT_S):
                        # in steps: if the event loop was blocked, the triggerer gets its turn to store the event first
                        await self._sleep(1.0)
                await watcher.commit(batch, self._now_s())
            if batch is None or not batch.more:
                await self._sleep(max(0.0, watcher.next_poll_s - self._now_s()))

    def _pause_s(self, error: Exception, errors: int) -> float:
        """Log why a poll failed, and return the seconds until the next; longer if a retry is unlikely to help."""
        topic = self.options.topic
        if isinstance(error, MqsError):
            _log.error("Polling topic %r failed and will be retried: %s", topic, error)
        else:
            _log.error("Polling topic %r failed unexpectedly and will be retried.", topic, exc_info=error)
        first_s, max_s = _FIRST_PAUSE_S, _MAX_PAUSE_S
        if isinstance(error, PERMANENT) or not isinstance(error, MqsError):
            first_s, max_s = _FIRST_PERMANENT_PAUSE_S, _MAX_PERMANENT_PAUSE_S
        doubled_s = first_s * 2.0 ** (min(errors, _MAX_DOUBLINGS) - 1)
        return min(max_s, doubled_s) * random.uniform(0.9, 1.1)  # noqa: S311 - spreads the polls of many watchers
