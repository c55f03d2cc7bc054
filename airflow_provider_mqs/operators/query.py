"""``QueryMessagesOperator``: the offsets of a window, as XCom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, Context, conf

from airflow_provider_mqs.core.values.arguments import DEFAULT_CONN_ID, choice, optional_number
from airflow_provider_mqs.exceptions import ConfigurationError, EmptyWindowError
from airflow_provider_mqs.operators.base import RecordedOperator, permanent_errors_fail
from airflow_provider_mqs.tasks.dag_run import topic_ref_of, window_of
from airflow_provider_mqs.tasks.filtered import FilteredOperator
from airflow_provider_mqs.tasks.stores import stores_of_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from airflow_provider_mqs.core.offsets.document import Offsets

_MAX_XCOM_BYTES = 4 * 1024 * 1024
_MAX_MAP_LENGTH = 1024


class QueryMessagesOperator(FilteredOperator, RecordedOperator):
    """
    Find the messages of a window and push their offsets to XCom, ready for ``ResendMessagesOperator``.

    Read-only: a second run asks again and pushes what it finds then. Without ``start``, ``end`` and ``lookback`` the
    window is the run's data interval, that of the events of the topic that started it (from the earliest start to the
    latest end, so it may hold other messages, too), or the interval that its schedule implies; the log says which. All
    arguments but ``message_filter`` are templated; ``None``, ``""`` and ``"None"`` mean "not set". Filters are exact.

    Source: API document "Querying Messages".

    :param topic: topic name
    :param start: first moment of the window: datetime, ISO text or epoch ms
    :param end: end of the window (exclusive): datetime, ISO text or epoch ms
    :param lookback: length of a window that ends when the run's interval does: seconds or ``timedelta``; ignored with a
        warning if ``start`` and ``end`` are both set
    {filter_params}
    :param max_messages: fail if the window holds more; nothing is cut off. Default no limit
    :param batch_size: push a list of batches of this many offsets, for ``.expand(messages=query.output)``; default one
        document
    :param on_empty: what an empty window does to the task: ``succeed`` (default), ``skip`` or ``fail``
    :param on_incomplete: what to do if messages may be missing: ``fail`` (default), or ``warn``, which also lets the
        resend take the offsets
    :param exclude_copies: whether to leave out the copies that earlier replays put into the window; default true. If
        the record of a replay does not say which rows are its copies, the window is incomplete
    :param ledger_path: ``ledger_path`` of the resends of this topic; needed only if they set one
    :param clamp_to_now: whether a window that ends in the future ends now; default false: it is refused
    :param concurrency: requests in flight, 1 to 256, default 16
    :param mqs_conn_id: connection, default ``mqs_default``
    :param instance_id: instance, default the connection's
    """

    template_fields: Sequence[str] = (
        "topic",
        "start",
        "end",
        "lookback",
        *FilteredOperator.filter_template_fields,
        "max_messages",
        "batch_size",
        "on_empty",
        "on_incomplete",
        "exclude_copies",
        "ledger_path",
        "clamp_to_now",
        "concurrency",
        "mqs_conn_id",
        "instance_id",
    )
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        topic: str,
        start: datetime | str | int | None = None,
        end: datetime | str | int | None = None,
        lookback: timedelta | float | str | None = None,
        max_messages: int | str | None = None,
        batch_size: int | str | None = None,
        on_empty: str = "succeed",
        on_incomplete: str = "fail",
        exclude_copies: bool | str = True,
        ledger_path: str | None = None,
        clamp_to_now: bool | str = False,
        concurrency: int | str = 16,
        mqs_conn_id: str = DEFAULT_CONN_ID,
        instance_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.start = start
        self.end = end
        self.lookback = lookback
        self.max_messages = max_messages
        self.batch_size = batch_size
        self.on_empty = on_empty
        self.on_incomplete = on_incomplete
        self.exclude_copies = exclude_copies
        self.ledger_path = ledger_path
        self.clamp_to_now = clamp_to_now
        self.concurrency = concurrency
        self.mqs_conn_id = mqs_conn_id
        self.instance_id = instance_id

    def execute(self, context: Context) -> dict[str, Any] | list[dict[str, Any]]:
        """
        Query the window.

        :param context: Airflow's context; a dict with the two ends of a data interval is enough
        :return: the offsets (``mqs.offsets/1``), or with ``batch_size`` a list of batches, empty for an empty window
        :raises AirflowFailException: an argument or the connection is wrong, or the service refuses for good
        :raises AirflowSkipException: the window is empty and ``on_empty`` is ``skip``
        :raises MqsError: the service failed, or messages may be missing; a retry may help
        """
        # not at the top: a DAG file is parsed far more often than a task runs
        from airflow_provider_mqs.core.query.query import QueryArguments  # noqa: PLC0415
        from airflow_provider_mqs.hooks.mqs import MqsHook  # noqa: PLC0415
        from airflow_provider_mqs.tasks.query_job import run_query  # noqa: PLC0415

        with permanent_errors_fail():
            arguments = QueryArguments.read(
                topic=self.topic,
                start=self.start,
                end=self.end,
                lookback=self.lookback,
                filters=self.read_filters(),
                on_incomplete=self.on_incomplete,
                max_messages=self.max_messages,
                exclude_copies=self.exclude_copies,
                clamp_to_now=self.clamp_to_now,
                concurrency=self.concurrency,
            )
            on_empty = choice(self.on_empty, "on_empty", ("succeed", "skip", "fail"))
            batch_size = optional_number(self.batch_size, "batch_size", minimum=1)
            records = stores_of_task(context, self.ledger_path) if arguments.exclude_copies else ()
            with MqsHook(self.mqs_conn_id, self.instance_id) as hook:
                window = window_of(context, arguments.window, lambda: topic_ref_of(hook, arguments.topic))
                offsets = run_query(hook, arguments, window, records)
            if not offsets.count:
                sentence = f"There is no message of topic {offsets.topic!r} in {offsets.window} that matches."
                if on_empty == "skip":
                    raise AirflowSkipException(sentence)
                if on_empty == "fail":
                    raise EmptyWindowError(sentence)
                self.log.info("%s", sentence)
            return _to_xcom(offsets, batch_size)


def _to_xcom(offsets: Offsets, batch_size: int | None) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the XCom; refuse one over which Airflow would fail the task after all the work is done."""
    if batch_size is None:
        document = offsets.to_xcom()
        _check_bytes([document], offsets.count)
        return document
    most = conf.getint("core", "max_map_length", fallback=_MAX_MAP_LENGTH)
    if offsets.count > most * batch_size:
        raise ConfigurationError(
            f"batch_size={batch_size} makes {-(-offsets.count // batch_size)} batches, but [core] max_map_length "
            f"allows {most}: set batch_size to {-(-offsets.count // most)} or more."
        )
    batches = [batch.to_xcom() for batch in offsets.batches(batch_size)]
    _check_bytes(batches, offsets.count)
    return batches


def _check_bytes(documents: list[dict[str, Any]], count: int) -> None:
    most = conf.getint("mqs", "max_xcom_bytes", fallback=_MAX_XCOM_BYTES)
    size = max((len(json.dumps(document)) for document in documents), default=0)
    if size > most:
        raise ConfigurationError(
            f"The XCom would take {size} bytes, but [mqs] max_xcom_bytes allows {most}: "
            f"set batch_size to {max(1, count * most // size // 2)} or less."
        )
