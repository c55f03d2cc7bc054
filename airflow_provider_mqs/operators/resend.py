"""``ResendMessagesOperator``: send the messages of a query again, once, and report what became of each."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, AirflowTaskTimeout, Context

from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, flag, is_absent
from airflow_provider_mqs.core.values.topic_ref import topic_uri
from airflow_provider_mqs.exceptions import ConfigurationError, ResendError
from airflow_provider_mqs.operators.base import RecordedOperator, permanent_errors_fail, push_result, run_of
from airflow_provider_mqs.tasks.dag_run import EVENTS, messages_of_events, started_by_topic, topic_ref_of
from airflow_provider_mqs.tasks.stores import stores_of_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.resend.report import Progress
    from airflow_provider_mqs.tasks.resend_job import ResendJob


class ResendMessagesOperator(RecordedOperator):
    """
    Send messages again, one request each, and push a report of what became of them.

    The service appends a copy of each message to its topic, with a new offset and time. Every consumer of the topic
    receives the copies; with ``consumer_key``, those that honour that header.

    Each message is sent once, whatever happens. A ledger holds what was sent and what may have been, so a retry, a
    Clear or another backfill of the same messages leaves out what was sent, looks for the copies of what is in doubt,
    and sends the rest. A message whose outcome cannot be found out is reported as ``unknown`` and fails the task.

    Everything is checked before the first message is sent. An empty window sends nothing and succeeds. If another run
    has sent everything already, the task is skipped. All arguments but ``brake`` are templated; ``None``, ``""`` and
    ``"None"`` mean "not given".

    Source: API document "Retransmitting a Message".

    :param messages: ``query.output``: one document of the query or a list of them; or plain
        ``{"partition": 0, "message_offset": 4}`` items with ``topic``; or JSON text of either; or ``"events"`` for the
        messages of all events that started the run, each once (if no event did, the task fails)
    :param topic: topic name; required for plain items, otherwise it must agree; with ``"events"``, only events of this
        topic count
    :param consumer_key: application key, put into a header of each copy; advisory. Default: none
    :param dry_run: check everything and report what would be sent, but send nothing; default false
    :param ordering: ``partition`` (default) keeps the order inside each partition, ``none`` is faster and keeps none
    :param concurrency: requests in flight, 1 to 256, default 16; with ``partition``, at most one per partition
    :param max_rate: messages per second; the connection's own limit applies if it is lower. Default: no limit
    :param max_messages: a larger plan fails before anything is sent; nothing is cut off. Default 100,000
    :param on_failure: ``stop`` (default) as soon as ``max_failures`` is exceeded, or ``continue`` to the end
    :param max_failures: messages that may fail or stay unknown while the task still succeeds; default 0
    :param on_unknown: what to do with a message that may or may not have been sent: ``verify`` (default) looks for its
        copy, ``fail`` counts a failure, ``resend`` sends it again, perhaps twice
    :param on_replayed: what to do with messages that another run has sent: ``skip`` (default) leaves them out, ``fail``
        fails the task before anything is sent, ``resend`` sends them again
    :param verify: look for the copy of each message at the end, and fail if one is missing; default true
    :param verify_wait: how long after its POST a message without a copy counts as not sent, and how long the check
        waits for copies: seconds or ``timedelta``; default: the connection's ``read_timeout`` plus 30 s
    :param on_unverified: what to do if nobody can tell whether each message has its copy (``verified: null``): ``warn``
        (default), or ``fail``, so that a retry looks again; nothing is sent twice
    :param canary: send and verify this many messages before the others; default 0
    :param brake: ``callable(Progress) -> bool``, called once a second at most, in a thread; the sending stops if it
        returns true or raises
    :param durable: keep a ledger and read it; default true. Without one, a failure is final, and a second try is
        refused, since it cannot know what the first has sent
    :param ledger_path: folder for the ledger, local or any ``ObjectStoragePath``; default: ``[mqs] ledger_path``, else
        Airflow's own stores
    :param allow_self_trigger: allow a resend in a run that an event of the same topic started; default false, since a
        copy that raises an event starts the next run, without end
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
        "on_unknown",
        "on_replayed",
        "verify",
        "verify_wait",
        "on_unverified",
        "canary",
        "durable",
        "ledger_path",
        "allow_self_trigger",
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
        on_unknown: str = "verify",
        on_replayed: str = "skip",
        verify: bool | str = True,
        verify_wait: timedelta | float | str | None = None,
        on_unverified: str = "warn",
        canary: int | str = 0,
        brake: Callable[[Progress], bool] | None = None,
        durable: bool | str = True,
        ledger_path: str | None = None,
        allow_self_trigger: bool | str = False,
        mqs_conn_id: str = DEFAULT_CONN_ID,
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
        self.on_unknown = on_unknown
        self.on_replayed = on_replayed
        self.verify = verify
        self.verify_wait = verify_wait
        self.on_unverified = on_unverified
        self.canary = canary
        self.brake = brake
        self.durable = durable
        self.ledger_path = ledger_path
        self.allow_self_trigger = allow_self_trigger
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id
        self._job: ResendJob | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the messages.

        :param context: Airflow's context; a plain dict will do
        :return: the report (``mqs.replay/1``), also pushed as ``return_value`` if the task fails
        :raises AirflowFailException: an argument is wrong, or something was sent and there is no ledger for a retry
        :raises AirflowSkipException: another run has sent all of it already
        :raises AirflowTaskTimeout: ``execution_timeout`` has passed
        :raises MqsError: not every message was surely sent; a retry resumes
        """
        with permanent_errors_fail():
            job = self._job = self._prepare(context)
            error = job.run()
            report = job.document(run_of(context, self.mqs_conn_id))
            if job.nothing_left and error is None and not job.dry_run and job.report.verified is not False:
                push_result(context, report)
                sentence = (
                    f"All {job.plan.count} messages were sent already ({job.sent_by}); "
                    "to send them again, set on_replayed='resend'."
                )
                self.log.warning("%s", sentence)
                raise AirflowSkipException(sentence)
            if error is not None or not (job.dry_run or job.succeeded):
                self._fail(job, report, context, error)
        if job.counts.already_sent:
            self.log.info("Left out %d messages that other runs have sent.", job.counts.already_sent)
        self._add_to_event(context, report)
        return report

    def on_kill(self) -> None:
        """Begin no further message. Only sets a flag, since Airflow may call it in a signal handler."""
        if self._job is not None:
            self._job.stop("the task was killed")

    def _prepare(self, context: Context) -> ResendJob:
        # not at the top: a DAG file is parsed far more often than a task runs
        from airflow_provider_mqs.core.resend.options import ResendOptions  # noqa: PLC0415
        from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415
        from airflow_provider_mqs.tasks.resend_job import resend_job  # noqa: PLC0415

        dry_run = flag(self.dry_run, "dry_run")
        hook = MqsHook(self.mqs_conn_id, self.instance_id)
        options = ResendOptions.read(
            hook.settings,
            consumer_key=self.consumer_key,
            ordering=self.ordering,
            concurrency=self.concurrency,
            max_rate=self.max_rate,
            max_messages=self.max_messages,
            on_failure=self.on_failure,
            max_failures=self.max_failures,
            on_unknown=self.on_unknown,
            on_replayed=self.on_replayed,
            verify=self.verify,
            verify_wait=self.verify_wait,
            on_unverified=self.on_unverified,
            canary=self.canary,
        )
        messages = self.messages
        if isinstance(messages, str) and messages.strip() == EVENTS:
            messages = messages_of_events(context, hook, None if is_absent(self.topic) else self.topic)
        stores = stores_of_task(context, self.ledger_path) if flag(self.durable, "durable") else ()
        job = resend_job(
            hook,
            messages=messages,
            topic=self.topic,
            options=options,
            stores=stores,
            run=run_of(context, self.mqs_conn_id),
            dry_run=dry_run,
            max_tries=getattr(context.get("ti"), "max_tries", None),
            brake=self.brake,
        )
        if job.plan.count and not dry_run:
            self._check_loop(context, job, stores)
            _check_try(job)
        return job

    def _check_loop(self, context: Context, job: ResendJob, stores: Sequence[Store]) -> None:
        """Refuse a resend whose copies would be sent again by the next run; warn if there is no record or ledger."""
        topic = job.plan.topic
        allowed = flag(self.allow_self_trigger, "allow_self_trigger")
        if not allowed and started_by_topic(context, topic_ref_of(job.hook, topic)):
            raise ConfigurationError(
                f"This run was started by an event of topic {topic!r}, where its copies may start the next "
                "run, without end; if no copy raises an event, set allow_self_trigger=True."
            )
        scheduled = str(getattr(context.get("dag_run"), "run_type", "")).endswith("scheduled")
        if scheduled and not stores:
            raise ConfigurationError(
                "A scheduled replay needs a record of earlier ones: its copies land in the same topic, and the next "
                "interval would send them again. Leave durable on, set ledger_path, or run on Airflow 3.3 or later."
            )
        if not stores:
            self.log.warning("There is no record of earlier replays, so their copies count as originals.")
        if self.retries and not stores:
            self.log.warning(
                "There is no ledger, so no retry can go on, and a second try is refused: leave durable on, or set "
                "ledger_path."
            )

    def _fail(self, job: ResendJob, report: dict[str, Any], context: Context, error: Exception | None) -> NoReturn:
        """Push the report, then fail the task: for good only if a retry could send something twice."""
        push_result(context, report)
        sentence = f"{job.summary()}. The report is in the XCom return_value."
        if signal.SIGALRM in job.signals:
            raise AirflowTaskTimeout(sentence) from error
        if (job.counts.sent or job.counts.unknown) and not job.session.durable:
            raise AirflowFailException(sentence) from error
        if error is not None:
            raise error
        raise ResendError(sentence)

    def _add_to_event(self, context: Context, report: Mapping[str, Any]) -> None:
        """Let the event of the topic's asset carry the report, if the DAG has the asset as an outlet."""
        events = context.get("outlet_events")
        if events is None or not report["topic"]:
            return
        uri = topic_uri(report["endpoint"], report["instance_id"], report["topic"])
        for outlet in self.outlets:
            if getattr(outlet, "uri", None) == uri:
                # consumers of the event get what was sent, not what the service said about the rest
                events[outlet].extra = {name: value for name, value in report.items() if name != "failures"}


def _check_try(job: ResendJob) -> None:
    """Refuse a try that cannot know what an earlier one has sent."""
    number = job.session.ledger.owner.run.get("try_number") or 1
    if number > 1 and not job.session.durable:
        raise ConfigurationError(
            f"This is try {number}, and no ledger says what an earlier try has sent, so messages may be sent twice. "
            "Leave durable on (or set ledger_path), so that a retry goes on where its predecessor stopped. To send all "
            "of them again, trigger a new run."
        )
