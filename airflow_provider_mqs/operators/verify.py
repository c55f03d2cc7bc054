"""``VerifyReplayOperator``: find the copies of many replays, with one reading of the topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context

from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID
from airflow_provider_mqs.exceptions import ResendError
from airflow_provider_mqs.operators.base import RecordedOperator, permanent_errors_fail, push_result, run_of
from airflow_provider_mqs.tasks.stores import stores_of_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from airflow_provider_mqs.tasks.verify_job import VerifyJob


class VerifyReplayOperator(RecordedOperator):
    """
    Find the copies of many replays together, with one reading of the topic; sends nothing.

    After the batches of a mapped resend, or for yesterday's replays that ended with ``verified: null``. A replay that
    knows its copies already costs no request, so a second run has nothing to do. What is found goes into the record of
    replays: later queries leave these copies out, and their windows are complete again.

    The task fails if a message that was sent has no copy, and, unless ``on_unverified`` is ``warn``, if nobody can
    tell. Its result is pushed in either case. Without replays there is nothing to do, and it succeeds. All arguments
    are templated; ``None``, ``""`` and ``"None"`` mean "not given".

    Source: API document "Querying Messages".

    :param replays: ``resend.output``: the report of a resend or a list of them, also of mapped tasks; or JSON text.
        Reports of dry runs count for nothing
    :param topic: topic name; without ``replays``, all replays of this topic that do not know their copies
    :param start: only replays that sent something at this time or later: datetime, ISO text or epoch ms
    :param end: only replays that sent something before this time: datetime, ISO text or epoch ms
    :param verify_wait: how long to wait for copies that are not in sight, from the last message that was sent: seconds
        or ``timedelta``; default: the connection's ``read_timeout`` plus 30 s
    :param on_unverified: what to do if nobody can tell whether each message has its copy: ``fail`` (default), so that a
        retry looks again, or ``warn``
    :param max_requests: fail before the topic is read if that may take more requests; default no limit. The log says
        how many it may take
    :param ledger_path: ``ledger_path`` of the resends; needed only if they set one
    :param concurrency: requests in flight, 1 to 256, default 16
    :param mqs_conn_id: connection, default ``mqs_default``
    :param instance_id: instance, default the connection's
    """

    template_fields: Sequence[str] = (
        "replays",
        "topic",
        "start",
        "end",
        "verify_wait",
        "on_unverified",
        "max_requests",
        "ledger_path",
        "concurrency",
        "mqs_conn_id",
        "instance_id",
    )
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        replays: Any = None,
        topic: str | None = None,
        start: datetime | str | int | None = None,
        end: datetime | str | int | None = None,
        verify_wait: timedelta | float | str | None = None,
        on_unverified: str = "fail",
        max_requests: int | str | None = None,
        ledger_path: str | None = None,
        concurrency: int | str = 16,
        mqs_conn_id: str = DEFAULT_CONN_ID,
        instance_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.replays = replays
        self.topic = topic
        self.start = start
        self.end = end
        self.verify_wait = verify_wait
        self.on_unverified = on_unverified
        self.max_requests = max_requests
        self.ledger_path = ledger_path
        self.concurrency = concurrency
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        # Airflow 2 makes ``None`` of the output of a mapped task that had nothing to map
        self._has_replays = replays is not None
        self._job: VerifyJob | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Find the copies.

        :param context: Airflow's context; a plain dict will do
        :return: the result (``mqs.proof/1``), also pushed as ``return_value`` if the task fails
        :raises AirflowFailException: an argument is wrong, or the service refuses for good
        :raises AirflowTaskTimeout: ``execution_timeout`` has passed
        :raises MqsError: a copy is missing, or could not be found out; a retry looks again
        """
        # not at the top: a DAG file is parsed far more often than a task runs
        from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415
        from airflow_provider_mqs.tasks.verify_job import VerifyArguments, VerifyJob  # noqa: PLC0415

        with permanent_errors_fail():
            hook = MqsHook(self.mqs_conn_id, self.instance_id)
            arguments = VerifyArguments.read(
                hook.settings,
                hook.instance_id,
                replays=[] if self.replays is None and self._has_replays else self.replays,
                topic=self.topic,
                start=self.start,
                end=self.end,
                verify_wait=self.verify_wait,
                on_unverified=self.on_unverified,
                max_requests=self.max_requests,
                concurrency=self.concurrency,
            )
            run = run_of(context, self.mqs_conn_id)
            job = self._job = VerifyJob(hook, arguments, stores_of_task(context, self.ledger_path), run)
            error = job.run()
            result = job.document()
            if error is None and job.succeeded:
                return result
            push_result(context, result)
            if job.timed_out:
                raise AirflowTaskTimeout(result["summary"]) from error
            raise error or ResendError(f"{result['summary']} The result is in the XCom return_value.")

    def on_kill(self) -> None:
        """Stop looking. Only sets a flag, since Airflow may call it in a signal handler."""
        if self._job is not None:
            self._job.stop("the task was killed")
