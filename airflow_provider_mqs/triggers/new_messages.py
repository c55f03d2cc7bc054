"""``NewMessagesTrigger``: an event for each batch of new messages, for assets that start DAGs."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers import base
from airflow.triggers.base import TriggerEvent

from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, flag, is_absent, topic_name, whole_number
from airflow_provider_mqs.core.values.time_window import duration_s, instant_ms
from airflow_provider_mqs.exceptions import ConfigurationError, MqsError
from airflow_provider_mqs.tasks.permanent_errors import PERMANENT
from airflow_provider_mqs.triggers.lazy_import import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import BaseEventTrigger
else:
    # Airflow 2 has no watchers; the module must be importable there all the same
    BaseEventTrigger = getattr(base, "BaseEventTrigger", base.BaseTrigger)

NOW: Final = "now"
_HAND_OVER_S: Final = 5
"""
So long an event is given to reach Airflow's database before the cursor moves on.

The triggerer takes it within a second or two, and says nothing; a cursor that is saved at once could outlive its event.
"""
_LONGEST_SPREAD_S: Final = 10.0
"""How much later than it could the first look may come; shorter where the poll interval is."""
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 600.0
_PERMANENT_PAUSE_S: Final = 60.0
_LONGEST_PERMANENT_PAUSE_S: Final = 3600.0
_MOST_DOUBLINGS: Final = 12


class NewMessagesTrigger(BaseEventTrigger):
    """
    Send an event for each batch of new messages of a topic, for ever: for an ``AssetWatcher``, Airflow 3.0 and later.

    The payload is what ``QueryMessagesOperator`` returns (``mqs.offsets/1``: ranges and counts, no contents), so
    ``ResendMessagesOperator(messages=...)`` takes it. Only reads.

    Delivery is at least once. The cursor is kept in the state store of the watched asset (Airflow 3.3 and later), else
    in the folder ``[mqs] ledger_path``, and is saved a few seconds after the event was handed over: nothing is lost
    when the triggerer is killed, and only a kill in those seconds repeats an event, with the same messages and digest.
    Where there is neither, a restart begins at ``start`` again.

    Copies that recorded replays have put into the topic raise no event. While a replay's copies are not known yet, or
    the service does not show everything, that time is held back, for a quarter of an hour at most; then its event says
    ``complete: false``, which the resend refuses.

    Errors are logged and the topic is looked at again, ever more rarely: Airflow starts a watcher that dies again
    within a second, which would lock a user whose password is wrong.

    :param topic: topic name
    :param mqs_conn_id: connection
    :param instance_id: instance, default the connection's
    :param poll_interval_s: seconds between two looks, about
    :param settle_s: how far behind the present it reads, in seconds
    :param overlap_s: how late a message may come, in seconds before what was read already; each look reads so much
        again
    :param max_messages: most messages of one event; the others follow with the next, some seconds later
    :param start: where a watcher without a cursor begins: ``now``, or a time as epoch ms or ISO text
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
        self.topic = topic_name(topic)
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = None if is_absent(instance_id) else instance_id
        self.poll_interval_s = max(1.0, _seconds(poll_interval_s, "poll_interval_s"))
        self.settle_s = _seconds(settle_s, "settle_s")
        self.overlap_s = _seconds(overlap_s, "overlap_s")
        self.max_messages = whole_number(max_messages, "max_messages", minimum=1)
        self.start = _start(start)
        self.exclude_copies = flag(exclude_copies, "exclude_copies")

    # replaced in tests, which have a time of their own
    _now_s = staticmethod(time.time)
    _sleep = staticmethod(asyncio.sleep)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """
        Give what makes this trigger again, in another process.

        :return: class path and arguments
        """
        names = ("topic", "mqs_conn_id", "instance_id", "poll_interval_s", "settle_s", "overlap_s", "max_messages")
        arguments = {name: getattr(self, name) for name in (*names, "start", "exclude_copies")}
        return "airflow_provider_mqs.triggers.mqs.NewMessagesTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Look for new messages, for ever.

        :return: an event a batch
        """
        began_s = self._now_s()
        # a triggerer that starts has enough to do without the first looks of all its watchers
        await self._sleep(random.random() * min(self.poll_interval_s, _LONGEST_SPREAD_S))  # noqa: S311 - no secret
        await load("airflow_provider_mqs.triggers.watcher")
        from airflow_provider_mqs.triggers.watcher import TopicWatcher  # noqa: PLC0415 - loaded by now

        watcher, failures, patience_s = TopicWatcher(self, began_s), 0, self.poll_interval_s
        while True:
            try:
                batch = await watcher.look(self._now_s(), patience_s)
            except Exception as error:  # noqa: BLE001 - a watcher that dies is started again at once
                failures += 1
                patience_s = _pause_s(failures, permanent=self._tell(error))
                await self._sleep(patience_s)
                continue
            failures, patience_s = 0, self.poll_interval_s
            if batch is not None:
                if batch.document is not None:
                    yield TriggerEvent(batch.document)  # type: ignore[no-untyped-call]  # Airflow's
                    await self._hand_over()
                await watcher.move(batch, self._now_s())
            if batch is None or not batch.more:
                await self._sleep(max(0.0, watcher.next_s - self._now_s()))

    async def _hand_over(self) -> None:
        for _ in range(_HAND_OVER_S):  # several turns: after a pause of the whole loop the triggerer has its own first
            await self._sleep(1.0)

    def _tell(self, error: Exception) -> bool:
        """Log an error; tell whether looking again soon cannot mend it."""
        if not isinstance(error, MqsError):
            self.log.error("The trigger broke, and will look again.", exc_info=error)
            return True
        self.log.error("Looking for new messages of topic %r failed, and will be tried again: %s", self.topic, error)
        return isinstance(error, PERMANENT)


def _pause_s(failures: int, *, permanent: bool) -> float:
    first, longest = (
        (_PERMANENT_PAUSE_S, _LONGEST_PERMANENT_PAUSE_S) if permanent else (_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
    )
    doubled = first * 2.0 ** (min(failures, _MOST_DOUBLINGS) - 1)
    return min(longest, doubled) * random.uniform(0.9, 1.1)  # noqa: S311 - spreads looks


def _seconds(value: Any, name: str) -> float:
    seconds = duration_s(value, name)
    if seconds is None:
        raise ConfigurationError(f"{name} is missing.")
    return seconds


def _start(value: Any) -> int | str:
    if value == NOW:
        return NOW
    start_ms = instant_ms(value, "start")
    if start_ms is None:
        raise ConfigurationError("start must be 'now' or a time.")
    return start_ms
