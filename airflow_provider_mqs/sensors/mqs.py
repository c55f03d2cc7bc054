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

from airflow_provider_mqs._compat import AIRFLOW_VERSION
from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, flag
from airflow_provider_mqs.core.watch.condition import SETTLE_S, Decision
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.tasks.filtered import FilteredOperator
from airflow_provider_mqs.tasks.permanent_errors import PERMANENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_mqs.sensors.window_watch import WindowWatch

_GRACE_S = 60.0
"""How much later than the trigger's own deadline Airflow's comes, which knows less about what happened."""
_FAILURES: dict[str, type[AirflowException]] = {
    "fail": AirflowFailException,
    "error": AirflowException,
    "timeout": AirflowSensorTimeout,
}


class MessagesInWindowSensor(FilteredOperator, BaseSensorOperator):
    """
    Wait until a window is final and holds enough messages.

    A window is final ``settle`` after its end; before that the service is not asked at all. A final window with too few
    messages ends the waiting at once, as ``on_closed_empty`` says. Only reads: a second run looks again. One request a
    poke where nothing is filtered and ``min_messages`` is below 500 (a second one where messages of exactly the end
    moment decide), and the topic list once. A window that begins before what the service keeps fails.

    Without ``start``, ``end`` and ``lookback`` the window is the run's data interval, that of the events of the topic
    that started it, or the interval that its schedule implies. It is resolved once. ``timeout``, ``poke_interval``,
    ``exponential_backoff``, ``max_wait``, ``soft_fail`` and ``never_fail`` mean the same in poke mode, in reschedule
    mode and deferred; every failure is skipped with either of the last two.

    Pushes ``{"topic", "window", "count", "exact", "at_least", "first_timestamp", "last_timestamp"}``, with
    ``min_per_partition`` also ``"partitions"``: beyond one page ``count`` is the service's own total, which may hold
    messages of exactly the end moment (``exact`` is false), and ``at_least`` tells that there may be more. Every row is
    read with filters, ``min_per_partition``, ``expected_keys``, or ``min_messages`` of 500 and more. All arguments but
    ``message_filter`` and ``deferrable`` are templated, and a ``message_filter`` cannot wait in the triggerer.

    Source: API document "Querying Messages".

    :param topic: topic name
    :param start: first moment of the window: datetime, ISO text or epoch ms
    :param end: the moment behind the last; the window is half-open
    :param lookback: length of the window that ends where the run's interval does: seconds or ``timedelta``
    :param min_messages: how many messages the window must hold, default 1; 0 only waits until it is final
    :param min_per_partition: how many messages each partition of the topic must hold (of those in ``partitions``, where
        that is given); default any number
    :param expected_keys: keys that messages of the window must have, each at least once: a list, or text with commas or
        as JSON; default none
    :param settle: time after the window's end before it counts as final: seconds or ``timedelta``, default 60 s
    :param stable_polls: so many looks in a row must find the same number of messages before it counts, default 1; in
        reschedule mode only on Airflow 3.3 and later
    :param on_closed_empty: what a final window with too few messages does to the task: ``skip`` (default), ``fail``, or
        ``wait`` for late messages until the timeout
    :param max_consecutive_errors: errors in a row (no answer, 5xx, throttling …) that fail the task, default 10; what
        asking again cannot mend fails it at once. In reschedule mode below Airflow 3.3, where no poke knows the one
        before, ``timeout`` alone is the bound
    {filter_params}
    :param deferrable: whether to wait in the triggerer; default ``[operators] default_deferrable``. There the first
        look comes at a random moment, up to half a minute or the poke interval late, so that not all look at once
    :param end_from_trigger: whether a deferred sensor that is satisfied, or skips, ends in the triggerer instead of
        taking a worker once more; default false. Failures, tasks with outlets, and Airflow 2 take the worker all the
        same. Airflow calls no listener then (OpenLineage is one), nor ``post_execute``
    :param mqs_conn_id: connection, default ``mqs_default``
    :param instance_id: instance, default the connection's
    """

    template_fields: Sequence[str] = (
        "topic",
        "start",
        "end",
        "lookback",
        "min_messages",
        "min_per_partition",
        "expected_keys",
        "settle",
        "stable_polls",
        "on_closed_empty",
        "max_consecutive_errors",
        *FilteredOperator.filter_template_fields,
        "end_from_trigger",
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
        min_per_partition: int | str | None = None,
        expected_keys: Sequence[str] | str | None = None,
        settle: timedelta | float | str = SETTLE_S,
        stable_polls: int | str = 1,
        on_closed_empty: str = "skip",
        max_consecutive_errors: int | str = 10,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        end_from_trigger: bool | str = False,
        mqs_conn_id: str = DEFAULT_CONN_ID,
        instance_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.start = start
        self.end = end
        self.lookback = lookback
        self.min_messages = min_messages
        self.min_per_partition = min_per_partition
        self.expected_keys = expected_keys
        self.settle = settle
        self.stable_polls = stable_polls
        self.on_closed_empty = on_closed_empty
        self.max_consecutive_errors = max_consecutive_errors
        self.deferrable = deferrable
        self.end_from_trigger = end_from_trigger
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        self._watch: WindowWatch | None = None

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
        decision = self._look(context)
        return False if decision.status == "wait" else PokeReturnValue(is_done=True, xcom_value=self._end(decision))

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """
        Go on after the trigger.

        :param context: Airflow's context, which is not needed: the event says everything
        :param event: what the trigger sent; anything that is not understood fails the task
        :return: what was found
        """
        return self._end(Decision.from_event(event))

    def _check_or_defer(self, context: Context) -> dict[str, Any]:
        deadline_s = time.time() + self.timeout
        decision = self._look(context)
        if decision.status == "wait":
            self._defer(self._watched(context), deadline_s)
        return self._end(decision)

    def _defer(self, watch: WindowWatch, deadline_s: float) -> NoReturn:
        from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger  # noqa: PLC0415 - not to parse a DAG

        trigger = MessagesInWindowTrigger(
            condition=watch.condition.to_json(),
            poll_policy=watch.poll_policy.to_json(),
            deadline_s=deadline_s,
            mqs_conn_id=self.mqs_conn_id,
            instance_id=self.instance_id,
            looks=watch.looks.to_json(),
            end_from_trigger=self._ends_from_trigger(),
            do_xcom_push=self.do_xcom_push,
        )
        longest_s = max(0.0, deadline_s - time.time()) + _GRACE_S
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=longest_s))

    def _ends_from_trigger(self) -> bool:
        """Tell whether the triggerer may end the task: where it is asked to, and does all that a worker would."""
        return flag(self.end_from_trigger, "end_from_trigger") and AIRFLOW_VERSION >= (3, 0) and not self.outlets

    def _look(self, context: Context) -> Decision:
        from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415 - not to parse a DAG

        try:
            decision = self._watched(context).look(MqsHook(self.mqs_conn_id, self.instance_id))
        except PERMANENT as error:
            return Decision("fail", str(error))
        self.log.info("%s", decision.message)
        return decision

    def _end(self, decision: Decision) -> dict[str, Any]:
        """Say to Airflow how the waiting ended, in the same way wherever it did."""
        if decision.result is not None:
            return decision.result
        if decision.status == "skip" or self.soft_fail or self.never_fail:
            raise AirflowSkipException(decision.message)
        raise _FAILURES.get(decision.status, AirflowFailException)(decision.message)

    def _watched(self, context: Context) -> WindowWatch:
        """Resolve and check the arguments, once in each execution."""
        from airflow_provider_mqs.sensors.window_watch import PollStateStore, WindowWatch, condition_of, poll_policy_of  # noqa: PLC0415 - not to parse a DAG

        if self._watch is None:
            if self.deferrable and self.message_filter is not None:
                raise ConfigurationError(
                    "message_filter does not work with deferrable=True, since a function does not travel to the "
                    "triggerer: set deferrable=False, or leave the filter to the query."
                )
            filters = self.read_filters()
            condition = condition_of(context, vars(self), filters)
            alone = self.mode == "reschedule" and not self.deferrable
            memory = PollStateStore.of(context) if alone else None
            if alone and memory is None and condition.stable_polls > 1:
                raise ConfigurationError(
                    "stable_polls needs to know what the poke before has found, which in reschedule mode only Airflow "
                    "3.3 and later remembers: set mode='poke' or deferrable=True."
                )
            self._watch = WindowWatch(condition, filters, poll_policy_of(vars(self)), memory)
        return self._watch
