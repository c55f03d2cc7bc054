"""``ResendMessagesOperator``: send the messages of a query again, and report what became of each."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_mqs.exceptions import ConfigurationError, ResendError
from airflow_provider_mqs.hooks.failing import permanent_errors_fail
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.models.guard_rails import check_resend
from airflow_provider_mqs.models.names import choice, flag, is_absent, number_above_0, whole_number
from airflow_provider_mqs.models.plan import Plan, plan_of, receivers_of
from airflow_provider_mqs.models.report import Report, report_document
from airflow_provider_mqs.models.window import iso
from airflow_provider_mqs.replay.resend import Resender, Sending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_mqs.models.settings import ConnectionSettings


class ResendMessagesOperator(BaseOperator):
    """
    Send messages again, one request each, and push a report of what became of them.

    The service appends a copy of each message to its topic, with a new offset and time. Who receives the copies: every
    consumer of the topic, or, with ``consumer_key``, those that honour that header. A resend is not idempotent: a
    message whose outcome is not known is reported as ``unknown`` and never sent again blindly. A second run sends
    everything a second time. Once a message was posted, a failure is final: Airflow's own retries would send twice.

    Everything is checked before the first message is sent. An empty window sends nothing and succeeds. All arguments
    are templated; ``None``, ``""`` and ``"None"`` mean "not given".

    Source: API document "Retransmitting a Message".

    :param messages: ``query.output``; one document of the query, a list of them, plain
        ``{"partition": 0, "message_offset": 4}`` items with ``topic``, or JSON text of any of these
    :param topic: topic name; needed for plain items, else it must agree
    :param consumer_key: application key, put into a header of each copy; advisory. Default none
    :param dry_run: whether to check and report everything, and send nothing; default false
    :param ordering: ``partition`` (default) keeps the order inside each partition, ``none`` is faster and keeps none
    :param concurrency: requests in flight, 1 to 256, default 16; with ``partition``, at most one a partition
    :param max_rate: messages a second; the connection's own limit holds where it is lower. Default no limit
    :param max_messages: a plan with more fails before anything is sent; nothing is cut off. Default 100,000
    :param on_failure: ``stop`` (default) as soon as ``max_failures`` is passed, or ``continue`` to the end
    :param max_failures: messages that may fail or stay unknown while the task still succeeds; default 0
    :param mqs_conn_id: connection, default ``mqs_default``
    :param instance_id: instance, default the connection's
    """

    template_fields: Sequence[str] = (
        "messages",
        "topic",
        "consumer_key",
        "dry_run",
        "ordering",
        "concurrency",
        "max_rate",
        "max_messages",
        "on_failure",
        "max_failures",
        "mqs_conn_id",
        "instance_id",
    )
    ui_color = "#fce8e6"

    def __init__(
        self,
        *,
        messages: Any,
        topic: str | None = None,
        consumer_key: str | None = None,
        dry_run: bool | str = False,
        ordering: str = "partition",
        concurrency: int | str = 16,
        max_rate: float | str | None = None,
        max_messages: int | str = 100_000,
        on_failure: str = "stop",
        max_failures: int | str = 0,
        mqs_conn_id: str = MqsHook.default_conn_name,
        instance_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.messages = messages
        self.topic = topic
        self.consumer_key = consumer_key
        # hides a method that only renders templates, and that only ``airflow tasks test --dry-run`` of Airflow 2 calls
        self.dry_run = dry_run  # type: ignore[method-assign,assignment]  # the contract's name for the argument
        self.ordering = ordering
        self.concurrency = concurrency
        self.max_rate = max_rate
        self.max_messages = max_messages
        self.on_failure = on_failure
        self.max_failures = max_failures
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        self._resender: Resender | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the messages.

        :param context: Airflow's context; a plain dict will do
        :return: the report (``mqs.replay/1``); pushed as ``return_value`` also when the task fails
        :raises AirflowFailException: something is wrong with the arguments, or a message may not have been sent
        :raises MqsError: nothing was sent, and a retry may help
        """
        with permanent_errors_fail():
            hook = MqsHook(self.mqs_conn_id, self.instance_id)
            dry_run = flag(self.dry_run, "dry_run")
            plan = self._plan(hook)
            sending = self._sending(hook.settings, plan)
            concurrency = whole_number(self.concurrency, "concurrency", minimum=1, maximum=256)
        self._announce(plan, sending, dry_run=dry_run)
        report, started_at = Report(plan.count), _now()
        interruption = None
        if plan.count and not dry_run:
            self._warn_about_retries(context)
            interruption = self._run(hook, plan, sending, report, concurrency)
        document = {
            **report_document(report, plan, endpoint=hook.settings.host, instance_id=hook.instance_id),
            "consumer_key": sending.consumer_key,
            "dry_run": dry_run,
            "started_at": started_at,
            "finished_at": _now(),
            "rate": round(self._resender.progress.rate, 1) if self._resender else 0.0,
            "run": _run_of(context, self.mqs_conn_id),
        }
        tolerable = report.failed + report.unknown <= sending.max_failures and not report.not_attempted
        if interruption or not (dry_run or tolerable):
            self._fail(report, document, context, interruption)
        return document

    def on_kill(self) -> None:
        """Start no further message. May be called in a signal handler, so it only sets a flag."""
        if self._resender is not None:
            self._resender.stop("the task was killed")

    def _plan(self, hook: MqsHook) -> Plan:
        topic = None if is_absent(self.topic) else self.topic
        plan = plan_of(self.messages, topic, endpoint=hook.settings.host, instance_id=hook.instance_id)
        most = whole_number(self.max_messages, "max_messages", minimum=1)
        if plan.count > most:
            raise ConfigurationError(
                f"messages holds {plan.count} messages, more than max_messages={most}: "
                "send a shorter window, or raise the limit."
            )
        return plan

    def _sending(self, settings: ConnectionSettings, plan: Plan) -> Sending:
        consumer_key = None if is_absent(self.consumer_key) else str(self.consumer_key)
        if plan.count:
            check_resend(settings, topic=plan.topic, consumer_key=consumer_key, total=plan.total)
        wanted = None if is_absent(self.max_rate) else number_above_0(self.max_rate, "max_rate")
        allowed = None if settings.max_rate is None else settings.max_rate * plan.share
        return Sending(
            consumer_key=consumer_key,
            ordering=choice(self.ordering, "ordering", ("partition", "none")),
            max_rate=min((rate for rate in (wanted, allowed) if rate is not None), default=None),
            on_failure=choice(self.on_failure, "on_failure", ("stop", "continue")),
            max_failures=whole_number(self.max_failures, "max_failures", minimum=0),
        )

    def _announce(self, plan: Plan, sending: Sending, *, dry_run: bool) -> None:
        if plan.repeats:
            self.log.warning("%d items were given more than once; each message is sent once.", plan.repeats)
        if not plan.count:
            self.log.info("There is nothing to send.")
            return
        self.log.info(
            "%s %d messages of topic %r, ordering %s, %s. Who receives the copies: %s.",
            "Would resend" if dry_run else "Resending",
            plan.count,
            plan.topic,
            sending.ordering,
            f"at most {sending.max_rate:g} a second" if sending.max_rate else "no rate limit",
            receivers_of(sending.consumer_key),
        )
        for number, ranges in plan.partitions.items():
            self.log.info(
                "Partition %d: offsets %d to %d in %d runs.", number, ranges[0][0], ranges[-1][1], len(ranges)
            )

    def _warn_about_retries(self, context: Context) -> None:
        try_number = getattr(context.get("ti"), "try_number", 1)
        if isinstance(try_number, int) and try_number > 1:
            self.log.warning(
                "This is try %d. If an earlier one was killed while it sent, what it sent is sent again now.",
                try_number,
            )

    def _run(
        self, hook: MqsHook, plan: Plan, sending: Sending, report: Report, concurrency: int
    ) -> BaseException | None:
        """Send; return what broke in, since a timeout or a signal must not lose the report."""
        try:
            asyncio.run(self._send(hook, plan, sending, report, concurrency))
        except BaseException as error:  # noqa: BLE001 - raised again when the report is pushed
            return error
        finally:
            self.log.info("%s.", _counts(report))
        return None

    async def _send(self, hook: MqsHook, plan: Plan, sending: Sending, report: Report, concurrency: int) -> None:
        async with hook:
            client = await hook.aget_conn(concurrency=concurrency)
            self._resender = Resender(client, plan, sending, report)
            try:
                await self._resender.run()
            finally:
                report.requests = client.requests

    def _fail(
        self, report: Report, document: dict[str, Any], context: Context, interruption: BaseException | None
    ) -> NoReturn:
        """Push the report, then fail the task: for good, where a retry would send something twice."""
        ti = context.get("ti")
        if ti is not None:
            ti.xcom_push(key="return_value", value=document)
        reason = type(interruption).__name__ if interruption else getattr(self._resender, "stopped", "")
        sentence = ": ".join(filter(None, [_counts(report), reason])) + ". The report is in the XCom return_value."
        if report.sent or report.unknown:
            raise AirflowFailException(sentence) from interruption
        raise interruption or ResendError(sentence)


def _counts(report: Report) -> str:
    return (
        f"{report.sent} of {report.requested} messages sent, {report.failed} failed, {report.unknown} unknown, "
        f"{report.not_attempted} not attempted"
    )


def _now() -> str:
    return iso(time.time_ns() // 1_000_000)


def _run_of(context: Mapping[str, Any], conn_id: str) -> dict[str, Any]:
    ti = context.get("ti")
    run = {name: getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}
    return {**run, "conn_id": conn_id}
