"""``MessagesInWindowSensor``: wait until a window is final and holds what is needed."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat import sdk

from airflow_provider_mqs._compat import AIRFLOW_VERSION
from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, flag, topic_name
from airflow_provider_mqs.core.values.time_window import WindowArguments
from airflow_provider_mqs.core.watch.condition import SETTLE_S, Condition, Decision, PollPolicy, PollState, decide
from airflow_provider_mqs.exceptions import PERMANENT, ConfigurationError, MqsError
from airflow_provider_mqs.tasks.dag_run import topic_ref_of, window_of
from airflow_provider_mqs.tasks.filtered import FilteredOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_mqs.hooks.mqs import MqsHook

_GRACE_S = 60.0
"""Seconds between the trigger's deadline and Airflow's own, whose error would say less about what happened."""
_FAILURES: dict[str, type[sdk.AirflowException]] = {
    "fail": sdk.AirflowFailException,
    "error": sdk.AirflowException,
    "timeout": sdk.AirflowSensorTimeout,
}


class MessagesInWindowSensor(FilteredOperator, sdk.BaseSensorOperator):
    """
    Wait until a window is final and holds enough messages.

    A window is final ``settle`` after its end; until then the service is not asked at all. A final window with too few
    messages ends the wait at once, as ``on_closed_empty`` says. The sensor only reads, so a second run polls again. A
    poke costs one request, and the first one the topic list, if nothing is filtered and one page shows all messages, or
    as many as required; one more if a page shows that there are too few and ``on_closed_empty`` is ``"wait"``. Else
    every row is read: the service's own total decides nothing. A window that begins before what the service keeps
    fails.

    Without ``start``, ``end`` and ``lookback`` the window is the run's data interval, that of the events of the topic
    that started it, or the interval that its schedule implies. It is resolved once. ``timeout``, ``poke_interval``,
    ``exponential_backoff``, ``max_wait``, ``soft_fail`` and ``never_fail`` mean the same in poke mode, in reschedule
    mode and deferred; with either of the last two, every failure is a skip.

    Pushes ``{"topic", "window", "count", "exact", "at_least", "first_timestamp", "last_timestamp"}``, with
    ``min_per_partition`` also ``"partitions"``. Beyond one page ``count`` may be the service's own total (``exact`` is
    false); ``at_least`` says that there may be more. With filters, ``min_per_partition`` or ``expected_keys`` every row
    is read. All arguments but ``message_filter`` and ``deferrable`` are templated, and a ``message_filter`` cannot be
    deferred.

    Source: API document "Querying Messages".

    :param topic: topic name
    :param start: start of the window: datetime, ISO text or epoch ms
    :param end: end of the window (exclusive): datetime, ISO text or epoch ms
    :param lookback: length of a window that ends when the run's interval does: seconds or ``timedelta``; ignored with a
        warning if ``start`` and ``end`` are both set
    :param min_messages: messages that the window must hold, default 1; 0 only waits until it is final
    :param min_per_partition: messages that each partition of the topic must hold, or each of ``partitions`` if set;
        default any number
    :param expected_keys: keys that must each occur in the window at least once: a list, or text with commas or as JSON;
        default none
    :param settle: time after the window's end before it counts as final: seconds or ``timedelta``, default 60 s
    :param stable_polls: polls in a row that must find the same number of messages before it counts, default 1; in
        reschedule mode only on Airflow 3.3 and later
    :param on_closed_empty: what to do when a final window holds too few messages: ``skip`` the task (default), ``fail``
        it, or ``wait`` for late messages until the timeout
    :param max_consecutive_errors: errors in a row (no answer, 5xx, throttling …) that fail the task, default 10; an
        error that no retry can help fails it at once. In reschedule mode below Airflow 3.3, where a poke knows nothing
        of the one before, only ``timeout`` limits them
    {filter_params}
    :param deferrable: whether to wait in the triggerer; default ``[operators] default_deferrable``. There the first
        poll comes at a random moment, up to half a minute or the poke interval late, so that not all poll at once
    :param end_from_trigger: whether a deferred sensor that is satisfied or skips ends in the triggerer, without another
        turn on a worker; default false. Failures, tasks with outlets and Airflow 2 take that turn anyway. Airflow calls
        no listener then (OpenLineage is one), and no ``post_execute``
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
        deferrable: bool = sdk.conf.getboolean("operators", "default_deferrable", fallback=False),
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
        self._wait: _WindowWait | None = None

    def execute(self, context: sdk.Context) -> Any:
        """
        Wait, here or in the triggerer.

        :param context: Airflow's context; in poke mode a dict with the two ends of a data interval is enough
        :return: what was found
        :raises AirflowSkipException: the window is final, holds too few messages, and ``on_closed_empty`` is ``skip``
        :raises AirflowFailException: the same with ``fail``; or no retry can help
        :raises AirflowSensorTimeout: the time is up
        :raises AirflowException: too many errors in a row; a retry may help
        """
        self._wait = None
        if self.deferrable:
            deadline_s = time.time() + self.timeout
            decision = self._poll(context)
            if decision.status == "wait":
                self._defer(self._wait_for(context), deadline_s)
            return self._end(decision)
        try:
            return super().execute(context)
        except sdk.AirflowSensorTimeout as error:
            # the base class does this only if a deferred task times out
            if self.never_fail:
                raise sdk.AirflowSkipException(str(error)) from error
            raise

    def poke(self, context: sdk.Context) -> bool | sdk.PokeReturnValue:
        """
        Poll once.

        :param context: Airflow's context
        :return: ``False`` to wait on, else what was found
        """
        decision = self._poll(context)
        return False if decision.status == "wait" else sdk.PokeReturnValue(is_done=True, xcom_value=self._end(decision))

    def execute_complete(self, context: sdk.Context, event: Any = None) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """
        Continue after the trigger.

        :param context: Airflow's context, which is not needed: the event says everything
        :param event: what the trigger sent; anything that is not understood fails the task
        :return: what was found
        """
        return self._end(Decision.from_event(event))

    def _poll(self, context: sdk.Context) -> Decision:
        """Count the messages, unless the window is not final yet; an error that may pass means to wait on."""
        try:
            wait, now_s = self._wait_for(context), time.time()
            if now_s < wait.condition.final_s:
                decision = decide(wait.condition, None, now_s)
            else:
                with self._hook() as hook:
                    decision = wait.poll(hook, now_s)
        except PERMANENT as error:
            return Decision("fail", str(error))
        self.log.info("%s", decision.message)
        return decision

    def _hook(self) -> MqsHook:
        from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415 - not to parse a DAG

        return MqsHook(self.mqs_conn_id, self.instance_id)

    def _wait_for(self, context: sdk.Context) -> _WindowWait:
        """Resolve and check the arguments, once in each execution."""
        if self._wait is not None:
            return self._wait
        if self.deferrable and self.message_filter is not None:
            raise ConfigurationError(
                "message_filter does not work with deferrable=True, since the triggerer cannot be sent a function: set "
                "deferrable=False, or leave the filter to the query."
            )
        arguments = WindowArguments.read(start=self.start, end=self.end, lookback=self.lookback)
        topic = topic_name(self.topic)
        with self._hook() as hook:
            window = window_of(context, arguments, lambda: topic_ref_of(hook, topic))
        condition = Condition.read(
            topic=topic,
            window=window,
            min_messages=self.min_messages,
            min_per_partition=self.min_per_partition,
            expected_keys=self.expected_keys,
            settle=self.settle,
            stable_polls=self.stable_polls,
            on_closed_empty=self.on_closed_empty,
            filters=self.read_filters(),
        )
        poll_policy = PollPolicy.read(
            poke_interval_s=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait,
            silent_fail=self.silent_fail,
            max_consecutive_errors=self.max_consecutive_errors,
        )
        rescheduled = self.mode == "reschedule" and not self.deferrable
        store = PollStateStore.of(context) if rescheduled else None
        if rescheduled and store is None and condition.stable_polls > 1:
            raise ConfigurationError(
                "stable_polls needs to know what the last poke found, which in reschedule mode only Airflow 3.3 and "
                "later remembers: set mode='poke' or deferrable=True."
            )
        self._wait = _WindowWait(condition, poll_policy, store)
        return self._wait

    def _defer(self, wait: _WindowWait, deadline_s: float) -> None:
        from airflow_provider_mqs.triggers.mqs import MessagesInWindowTrigger  # noqa: PLC0415 - not to parse a DAG

        # only if the triggerer does all that a worker would
        ends_there = flag(self.end_from_trigger, "end_from_trigger") and AIRFLOW_VERSION >= (3, 0) and not self.outlets
        trigger = MessagesInWindowTrigger(
            condition=wait.condition.to_json(),
            poll_policy=wait.poll_policy.to_json(),
            deadline_s=deadline_s,
            mqs_conn_id=self.mqs_conn_id,
            instance_id=self.instance_id,
            poll_state=wait.state.to_json(),
            end_from_trigger=ends_there,
            do_xcom_push=self.do_xcom_push,
        )
        limit_s = max(0.0, deadline_s - time.time()) + _GRACE_S
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=limit_s))

    def _end(self, decision: Decision) -> dict[str, Any]:
        """Return the result, or raise Airflow's exception for how the wait ended: the same in worker and triggerer."""
        if decision.status == "satisfied" and decision.result is not None:
            return decision.result
        if decision.status == "skip" or self.soft_fail or self.never_fail:
            raise sdk.AirflowSkipException(decision.message)
        raise _FAILURES.get(decision.status, sdk.AirflowFailException)(decision.message)


class _WindowWait:
    """What one execution waits for, and what its polls have found so far."""

    def __init__(self, condition: Condition, poll_policy: PollPolicy, store: PollStateStore | None) -> None:
        from airflow_provider_mqs.core.watch.window_count import WindowCounter  # noqa: PLC0415 - not to parse a DAG

        self.condition = condition
        self.poll_policy = poll_policy
        self.state = store.load() if store else PollState()
        self._store = store
        self._counter = WindowCounter(condition)

    def poll(self, hook: MqsHook, now_s: float) -> Decision:
        """Count the messages, and remember what was found; errors that no retry can help are raised."""
        try:
            now_ms = int(now_s * 1000)
            if self._counter.is_quick:
                client = hook.get_conn()
                counted = client.run(self._counter.count(client.api, now_ms))
            else:
                counted = hook.run_concurrently(lambda api: self._counter.count(api, now_ms))
        except PERMANENT:
            raise
        except MqsError as error:
            self._remember(self.state.after_error())
            return self.poll_policy.decide_on_error(error, self.state.errors)
        self._remember(self.state.after_count(counted.count))
        return decide(self.condition, counted, now_s, self.state.same)

    def _remember(self, state: PollState) -> None:
        if self._store and state != self.state:
            self._store.save(state)
        self.state = state


class PollStateStore:
    """Keeps the poll state of a try in Airflow's task state store: each poke of reschedule mode is a new process."""

    def __init__(self, store: Any, try_number: int) -> None:
        self._store = store
        self._key = f"mqs_poll_state/{try_number}"

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> PollStateStore | None:
        """Find the store; Airflow before 3.3 has none."""
        store = context.get("task_state_store")
        return None if store is None else cls(store, getattr(context.get("ti"), "try_number", 0))

    def load(self) -> PollState:
        """Read what the last poke has saved."""
        return PollState(**(self._store.get(self._key) or {}))

    def save(self, state: PollState) -> None:
        """Save what the next poke must know."""
        self._store.set(self._key, state.to_json())
