"""``MessagesInWindowSensor``: wait until a window is final and holds what is needed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_mqs.exceptions import ConfigurationError, MqsError
from airflow_provider_mqs.hooks.failing import PERMANENT
from airflow_provider_mqs.hooks.interval import window_of
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.models.names import choice, topic_name, whole_number
from airflow_provider_mqs.models.verdict import ON_CLOSED_EMPTY, Condition, Counted, Patience, Verdict, decide
from airflow_provider_mqs.models.window import duration_s
from airflow_provider_mqs.replay.count import WindowCounter
from airflow_provider_mqs.replay.filter_arguments import filters_of
from airflow_provider_mqs.replay.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_mqs.models.message import Message

_SETTLE = timedelta(seconds=60)
_GRACE_S = 60.0
"""How much later than the trigger's own deadline Airflow's comes, which knows less about what happened."""
_ENDINGS: dict[str, type[AirflowException]] = {
    "fail": AirflowFailException,
    "error": AirflowException,
    "timeout": AirflowSensorTimeout,
}


class MessagesInWindowSensor(BaseSensorOperator):
    """
    Wait until a window is final and holds enough messages.

    A window is final ``settle`` after its end; before that the service is not asked at all. A final window with too few
    messages ends the waiting at once, as ``on_closed_empty`` says. Only reads: a second run looks again. One request a
    poke where nothing is filtered and ``min_messages`` is below 500 (a second one where messages of exactly the end
    moment decide), and the topic list once. A window that begins before what the service keeps fails.

    Without ``start``, ``end`` and ``lookback`` the window is the run's data interval, or the interval that its schedule
    implies. It is resolved once. ``timeout``, ``poke_interval``, ``exponential_backoff``, ``max_wait``, ``soft_fail``
    and ``never_fail`` mean the same in poke mode, in reschedule mode and deferred; every failure is skipped with
    either of the last two.

    Pushes ``{"topic", "window", "count", "exact", "at_least", "first_timestamp", "last_timestamp"}``: beyond one page
    ``count`` is the service's own total, which may hold messages of exactly the end moment (``exact`` is false), and
    ``at_least`` tells that there may be more. All arguments but ``message_filter`` and ``deferrable`` are templated.

    Source: API document "Querying Messages".

    :param topic: topic name
    :param start: first moment of the window: datetime, ISO text or epoch ms
    :param end: the moment behind the last; the window is half-open
    :param lookback: length of the window that ends where the run's interval does: seconds or ``timedelta``
    :param min_messages: how many messages the window must hold, default 1; 0 only waits until it is final
    :param settle: time after the window's end before it counts as final: seconds or ``timedelta``, default 60 s
    :param on_closed_empty: what a final window with too few messages does to the task: ``skip`` (default), ``fail``, or
        ``wait`` for late messages until the timeout
    :param max_consecutive_errors: errors in a row (no answer, 5xx, throttling …) that fail the task, default 10; what
        asking again cannot mend fails it at once. In reschedule mode, where no poke knows the one before, ``timeout``
        alone is the bound
    :param partitions: count only these partitions, default all
    :param key: count only messages with exactly this key
    :param tag: count only messages with exactly this tag
    :param message_id: count only messages with exactly this message id
    :param app_id: count only messages of exactly this application
    :param message_filter: ``callable(Message) -> bool``; not when deferrable
    :param fetch_values: whether ``message_filter`` sees contents, at one request a message; default false
    :param deferrable: whether to wait in the triggerer; default ``[operators] default_deferrable``
    :param mqs_conn_id: connection, default ``mqs_default``
    :param instance_id: instance, default the connection's
    """

    template_fields: Sequence[str] = (
        "topic",
        "start",
        "end",
        "lookback",
        "min_messages",
        "settle",
        "on_closed_empty",
        "max_consecutive_errors",
        "partitions",
        "key",
        "tag",
        "message_id",
        "app_id",
        "fetch_values",
        "mqs_conn_id",
        "instance_id",
    )
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        topic: str,
        start: datetime | str | int | None = None,
        end: datetime | str | int | None = None,
        lookback: timedelta | float | str | None = None,
        min_messages: int | str = 1,
        settle: timedelta | float | str = _SETTLE,
        on_closed_empty: str = "skip",
        max_consecutive_errors: int | str = 10,
        partitions: Sequence[int] | str | None = None,
        key: str | None = None,
        tag: str | None = None,
        message_id: str | None = None,
        app_id: str | None = None,
        message_filter: Callable[[Message], bool] | None = None,
        fetch_values: bool | str = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        mqs_conn_id: str = MqsHook.default_conn_name,
        instance_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.start = start
        self.end = end
        self.lookback = lookback
        self.min_messages = min_messages
        self.settle = settle
        self.on_closed_empty = on_closed_empty
        self.max_consecutive_errors = max_consecutive_errors
        self.partitions = partitions
        self.key = key
        self.tag = tag
        self.message_id = message_id
        self.app_id = app_id
        self.message_filter = message_filter
        self.fetch_values = fetch_values
        self.deferrable = deferrable
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        self._watch: _Watch | None = None

    def execute(self, context: Context) -> Any:
        """
        Wait, here or in the triggerer.

        :param context: Airflow's context; in poke mode a dict with the two ends of a data interval is enough
        :return: what was found
        :raises AirflowSkipException: the window is final, holds too few messages, and ``on_closed_empty`` is ``skip``
        :raises AirflowFailException: the same with ``fail``; or asking again cannot help
        :raises AirflowSensorTimeout: the time is up
        :raises AirflowException: too many errors in a row; a retry may help
        """
        self._watch = None
        if self.deferrable:
            return self._check_or_defer(context)
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            if self.never_fail:  # which the base class heeds only when a deferred task times out
                raise AirflowSkipException(str(error)) from error
            raise

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """
        Look once.

        :param context: Airflow's context
        :return: ``False`` to wait on, else what was found
        """
        verdict = self._look(context)
        return False if verdict.status == "wait" else PokeReturnValue(is_done=True, xcom_value=self._end(verdict))

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """
        Go on after the trigger.

        :param context: Airflow's context
        :param event: what the trigger sent; anything that is not understood fails the task
        :return: what was found
        """
        return self._end(Verdict.from_event(event))

    def _check_or_defer(self, context: Context) -> dict[str, Any]:
        started_s = time.time()
        verdict = self._look(context)
        if verdict.status != "wait" or self._watch is None:
            return self._end(verdict)
        self._defer(self._watch, started_s)

    def _defer(self, watch: _Watch, started_s: float) -> NoReturn:
        from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger  # noqa: PLC0415 - not for parsing DAGs

        self.defer(
            trigger=MessagesInWindowTrigger(
                condition=watch.condition.to_json(),
                patience=watch.patience.to_json(),
                deadline_s=started_s + self.timeout,
                mqs_conn_id=self.mqs_conn_id,
                instance_id=self.instance_id,
                errors=watch.errors,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, started_s + self.timeout - time.time()) + _GRACE_S),
        )

    def _look(self, context: Context) -> Verdict:
        try:
            if self._watch is None:
                self._watch = self._open(context)
            verdict = self._ask(self._watch)
        except PERMANENT as error:
            return Verdict("fail", str(error))
        self.log.info("%s", verdict.message)
        return verdict
