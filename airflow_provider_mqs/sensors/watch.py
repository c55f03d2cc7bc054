"""One execution of the sensor in a worker: what is looked for, and how many looks in a row have failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.hooks.failing import PERMANENT
from airflow_provider_mqs.models.verdict import Condition, Patience, Verdict, decide
from airflow_provider_mqs.replay.count import WindowCounter
from airflow_provider_mqs.replay.query import Query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.hooks.mqs import MqsHook
    from airflow_provider_mqs.models.verdict import Counted
    from airflow_provider_mqs.replay.filters import Filters


class Watch:
    """
    Look at a window, and count the errors.

    :param condition: what is waited for
    :param filters: which messages count
    :param patience: how many errors are too many
    :param memory: keeps the number of errors between the processes of reschedule mode, default nothing does
    """

    def __init__(
        self, condition: Condition, filters: Filters, patience: Patience, memory: ErrorMemory | None = None
    ) -> None:
        self.condition = condition
        self.patience = patience
        self._counter = WindowCounter(Query(condition.topic, condition.window, filters), condition.min_messages)
        self._memory = memory
        self.errors = memory.load() if memory else 0

    def look(self, hook: MqsHook) -> Verdict:
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
            self._remember(self.errors + 1)
            return self.patience.judge(error, self.errors)
        self._remember(0)
        return decide(self.condition, found, now_s)

    def _count(self, hook: MqsHook, now_ms: int) -> Counted:
        if not self._counter.is_quick:
            return hook.run_concurrently(lambda api: self._counter.count(api, now_ms))
        client = hook.get_conn()
        return client.run(self._counter.count(client.api, now_ms))

    def _remember(self, errors: int) -> None:
        if self._memory and errors != self.errors:
            self._memory.save(errors)
        self.errors = errors


class ErrorMemory:
    """
    The number of errors in a row, in Airflow's task state store (3.3 and later).

    :param store: the store of this task
    :param try_number: a new try starts at none
    """

    def __init__(self, store: Any, try_number: int) -> None:
        self._store = store
        self._key = f"mqs_errors_in_a_row/{try_number}"

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> ErrorMemory | None:
        """
        Find the store.

        :param context: Airflow's context
        :return: the memory, or ``None`` where this Airflow has no store
        """
        store = context.get("task_state_store")
        return None if store is None else cls(store, getattr(context.get("ti"), "try_number", 0))

    def load(self) -> int:
        """
        Read the number.

        :return: 0 where nothing was saved
        """
        return int(self._store.get(self._key) or 0)

    def save(self, errors: int) -> None:
        """
        Write the number.

        :param errors: how many in a row
        """
        self._store.set(self._key, errors)
