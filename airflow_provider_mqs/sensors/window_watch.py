"""One execution of the sensor in a worker: what it is told, what is looked for, and what earlier looks left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.values.arguments import choice, optional_number, texts, topic_name, whole_number
from airflow_provider_mqs.core.values.time_window import WindowArguments, duration_s
from airflow_provider_mqs.core.watch.condition import (
    ON_CLOSED_EMPTY,
    SETTLE_S,
    Condition,
    Decision,
    PollPolicy,
    PollState,
    decide,
)
from airflow_provider_mqs.core.watch.window_count import WindowCounter
from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.tasks.permanent_errors import PERMANENT
from airflow_provider_mqs.tasks.window import window_of_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.query.filters import Filters
    from airflow_provider_mqs.core.watch.condition import WindowCount
    from airflow_provider_mqs.hooks.mqs import MqsHook


class WindowWatch:
    """
    Look at a window, and remember how that went.

    :param condition: what is waited for
    :param filters: which messages count
    :param poll_policy: how many errors are too many
    :param memory: keeps what looks leave between the processes of reschedule mode, default nothing does
    """

    def __init__(
        self, condition: Condition, filters: Filters, poll_policy: PollPolicy, memory: PollStateStore | None = None
    ) -> None:
        self.condition = condition
        self.poll_policy = poll_policy
        self._counter = WindowCounter(condition, filters)
        self._memory = memory
        self.looks = memory.load() if memory else PollState()

    def look(self, hook: MqsHook) -> Decision:
        """
        Look once, unless the window is not final yet: then the service is not asked.

        :param hook: asked, and closed
        :return: the verdict; an error that may pass means to wait, until there were too many in a row
        :raises MqsError: one of the errors that asking again cannot mend
        """
        now_s = time.time()
        if now_s < self.condition.final_s:
            return decide(self.condition, None, now_s)
        try:
            with hook:
                found = self._count(hook, int(now_s * 1000))
        except PERMANENT:
            raise
        except MqsError as error:
            self._remember(self.looks.failed())
            return self.poll_policy.judge(error, self.looks.errors)
        self._remember(self.looks.found(found.count))
        return decide(self.condition, found, now_s, self.looks.same)

    def _count(self, hook: MqsHook, now_ms: int) -> WindowCount:
        if not self._counter.is_quick:
            return hook.run_concurrently(lambda api: self._counter.count(api, now_ms))
        client = hook.get_conn()
        return client.run(self._counter.count(client.api, now_ms))

    def _remember(self, looks: PollState) -> None:
        if self._memory and looks != self.looks:
            self._memory.save(looks)
        self.looks = looks


class PollStateStore:
    """
    What the looks of a try leave, in Airflow's task state store (3.3 and later).

    :param store: the store of this task
    :param try_number: a new try starts anew
    """

    def __init__(self, store: Any, try_number: int) -> None:
        self._store = store
        self._key = f"mqs_looks/{try_number}"

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> PollStateStore | None:
        """
        Find the store.

        :param context: Airflow's context
        :return: the memory, or ``None`` where this Airflow has no store
        """
        store = context.get("task_state_store")
        return None if store is None else cls(store, getattr(context.get("ti"), "try_number", 0))

    def load(self) -> PollState:
        """
        Read it.

        :return: that of no look, where nothing was saved
        """
        return PollState(**(self._store.get(self._key) or {}))

    def save(self, looks: PollState) -> None:
        """
        Write it.

        :param looks: what this look and earlier ones left
        """
        self._store.set(self._key, looks.to_json())


def condition_of(context: Mapping[str, Any], arguments: Mapping[str, Any], filters: Filters) -> Condition:
    """
    Read and check what a sensor waits for.

    :param context: Airflow's context
    :param arguments: of the sensor, rendered
    :param filters: which messages count
    :return: the condition
    :raises ConfigurationError: an argument is wrong, or nothing gives a window
    """

    def number(name: str, minimum: int) -> int:
        return whole_number(arguments[name], name, minimum=minimum)

    topic = topic_name(arguments["topic"])
    window = window_of_task(
        context,
        WindowArguments.read(start=arguments["start"], end=arguments["end"], lookback=arguments["lookback"]),
        topic=topic,
        mqs_conn_id=arguments["mqs_conn_id"],
        instance_id=arguments["instance_id"],
    )
    settle_s = duration_s(arguments["settle"], "settle")
    return Condition(
        topic=topic,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        source=window.source,
        min_messages=number("min_messages", 0),
        min_per_partition=optional_number(arguments["min_per_partition"], "min_per_partition", minimum=0),
        expected_keys=texts(arguments["expected_keys"], "expected_keys"),
        stable_polls=number("stable_polls", 1),
        settle_s=SETTLE_S if settle_s is None else settle_s,
        on_closed_empty=choice(arguments["on_closed_empty"], "on_closed_empty", ON_CLOSED_EMPTY),
        filters=filters.to_xcom(),
    )


def poll_policy_of(arguments: Mapping[str, Any]) -> PollPolicy:
    """
    Read and check how long a sensor waits between two looks.

    :param arguments: of the sensor, rendered, those of Airflow's base class among them
    :return: the policy
    :raises ConfigurationError: an argument is wrong
    """
    most = whole_number(arguments["max_consecutive_errors"], "max_consecutive_errors", minimum=1)
    max_wait = arguments["max_wait"]
    return PollPolicy(
        poke_interval_s=arguments["poke_interval"],
        exponential_backoff=arguments["exponential_backoff"],
        max_wait_s=max_wait.total_seconds() if max_wait else None,
        max_errors=None if arguments["silent_fail"] else most,
    )
