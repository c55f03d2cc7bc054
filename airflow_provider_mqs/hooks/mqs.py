"""``MqsHook``: the calls of the API on an Airflow connection, for coroutines and for everybody else."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs._compat import mask_secret
from airflow_provider_mqs.core.client.client import MqsClient
from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.query.query import Query, find_messages, query_offsets
from airflow_provider_mqs.core.resend.guard_rails import check_resend
from airflow_provider_mqs.core.values.arguments import choice, partition_number, topic_name, whole_number
from airflow_provider_mqs.core.values.time_window import TimeWindow, instant_ms, iso
from airflow_provider_mqs.exceptions import ConfigurationError, IncompleteWindowError, MqsError, NotFoundError
from airflow_provider_mqs.hooks import connection_form as form
from airflow_provider_mqs.hooks.base import MqsBaseHook
from airflow_provider_mqs.hooks.connection_check import STEPS, CheckResult, findings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from datetime import datetime

    from typing_extensions import Unpack

    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.core.query.filters import FilterArguments
    from airflow_provider_mqs.core.values.message import Message, Topic

_TEST_S: Final = 10.0
_TEST_REQUEST_S: Final = 4.0
_TOLD: Final = frozenset({"endpoint", "instance", "permission"})


class MqsHook(MqsBaseHook):
    """
    Query and resend messages of a Huawei Cloud ROMA Connect MQS instance.

    Each method has a twin with the prefix ``a`` for coroutines. The connection is read on first use. With ``with`` or
    ``async with`` the sockets are closed at the end; one event loop at a time may use the twins.

    :param mqs_conn_id: connection to use
    :param instance_id: instance to ask; default the connection's
    """

    # Airflow before 3.2 looks for these two in the class itself, not in its bases; later series read the metadata
    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Build the connection form's fields."""
        return form.widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Say how the standard fields of the connection form look."""
        return form.behaviour()

    def query(
        self,
        topic: str,
        start: datetime | str | int,
        end: datetime | str | int,
        *,
        on_incomplete: str = "fail",
        **filters: Unpack[FilterArguments],
    ) -> Offsets:
        """
        Find the offsets of a window, many requests at a time. Read-only.

        :param topic: topic name
        :param start: first moment: datetime, ISO text or epoch ms
        :param end: the moment behind the last, not later than now
        :param on_incomplete: ``fail``, or ``warn`` where some messages may be missing from the result
        :param filters: which messages count, as for ``QueryMessagesOperator``: see ``FilterArguments``
        :return: the offsets; ``to_xcom()`` is what ``ResendMessagesOperator`` takes; an empty window has no partitions
        :raises IncompleteWindowError: messages may be missing and ``on_incomplete`` is ``fail``
        :raises MqsError: an argument or the connection is wrong, or the service refused
        """
        query = _query(topic, start, end, on_incomplete, Filters.read(**filters))
        found = self.run_concurrently(lambda api: query_offsets(api, query, now_ms=_now_ms()))
        self._tell(found.doubts, found.notes, on_incomplete)
        return found.offsets

    async def aquery(
        self,
        topic: str,
        start: datetime | str | int,
        end: datetime | str | int,
        *,
        on_incomplete: str = "fail",
        **filters: Unpack[FilterArguments],
    ) -> Offsets:
        """See ``query``."""
        query = _query(topic, start, end, on_incomplete, Filters.read(**filters))
        client = await self.aget_conn()
        found = await client.run(query_offsets(client.api, query, now_ms=_now_ms()))
        self._tell(found.doubts, found.notes, on_incomplete)
        return found.offsets

    def iter_messages(self, topic: str, start: datetime | str | int, end: datetime | str | int) -> Iterator[Message]:
        """
        Find the messages of a window, without their contents, many requests at a time. Read-only.

        :param topic: topic name
        :param start: first moment: datetime, ISO text or epoch ms
        :param end: the moment behind the last
        :return: the messages by time, partition and offset
        :raises IncompleteWindowError: messages may be missing
        :raises MqsError: an argument or the connection is wrong, or the service refused
        """
        name, window = topic_name(topic), _window(start, end)
        messages, doubts = self.run_concurrently(lambda api: find_messages(api, name, window, now_ms=_now_ms()))
        self._tell(doubts, (), "fail")
        yield from messages

    async def aiter_messages(
        self, topic: str, start: datetime | str | int, end: datetime | str | int
    ) -> AsyncIterator[Message]:
        """See ``iter_messages``."""
        name, window = topic_name(topic), _window(start, end)
        client = await self.aget_conn()
        messages, doubts = await client.run(find_messages(client.api, name, window, now_ms=_now_ms()))
        self._tell(doubts, (), "fail")
        for message in messages:
            yield message

    def show_instance(self) -> dict[str, Any]:
        """
        Ask what the instance is. Read-only.

        :return: the answer as it is: ``name``, ``engine``, ``status`` …
        :raises MqsError: the connection is wrong, or the service refused
        """
        client = self.get_conn()
        return client.run(client.api.show_instance())

    async def ashow_instance(self) -> dict[str, Any]:
        """See ``show_instance``."""
        client = await self.aget_conn()
        return await client.run(client.api.show_instance())

    def list_topics(self) -> list[Topic]:
        """
        Ask for the topics that these credentials may see. Read-only.

        :return: the topics, with partitions and retention
        :raises MqsError: the connection is wrong, or the service refused
        """
        client = self.get_conn()
        return client.run(client.api.list_topics())

    async def alist_topics(self) -> list[Topic]:
        """See ``list_topics``."""
        client = await self.aget_conn()
        return await client.run(client.api.list_topics())

    def get_message(self, topic: str, partition: int, message_offset: int, *, download: bool = False) -> Message:
        """
        Ask for one message with its content. Read-only.

        :param topic: topic name
        :param partition: partition of the topic
        :param message_offset: position in the partition
        :param download: whether to have a huge message whole; else the service shortens its value
        :return: the message
        :raises NotFoundError: there is no message at that place, or no longer
        :raises MqsError: an argument or the connection is wrong, or the service refused
        """
        place = _place(topic, partition, message_offset)
        client = self.get_conn()
        return _found(client.run(client.api.get_message(*place, download=download)), place)

    async def aget_message(self, topic: str, partition: int, message_offset: int, *, download: bool = False) -> Message:
        """See ``get_message``."""
        place = _place(topic, partition, message_offset)
        client = await self.aget_conn()
        return _found(await client.run(client.api.get_message(*place, download=download)), place)

    def resend(self, topic: str, partition: int, message_offset: int, consumer_key: str | None = None) -> None:
        """
        Send one message again: the service appends a copy to the topic. A second call makes a second copy.

        There is no ledger here; ``ResendMessagesOperator`` has one.

        :param topic: topic name
        :param partition: partition of the topic
        :param message_offset: position in the partition
        :param consumer_key: the one consumer that shall have it, where consumers honour that header; default all
        :raises ConfigurationError: an argument is wrong, or the connection does not allow this resend
        :raises ApiError: the service refused
        :raises TransportError: no answer came; where ``sent`` is true, the copy may be there
        """
        place = _place(topic, partition, message_offset)
        check_resend(self.settings, topic=topic, consumer_key=consumer_key, total=1)
        client = self.get_conn()
        client.run(client.api.resend(*place, consumer_key))

    async def aresend(self, topic: str, partition: int, message_offset: int, consumer_key: str | None = None) -> None:
        """See ``resend``."""
        place = _place(topic, partition, message_offset)
        check_resend(await self.asettings(), topic=topic, consumer_key=consumer_key, total=1)
        client = await self.aget_conn()
        await client.run(client.api.resend(*place, consumer_key))

    def test_connection(self) -> tuple[bool, str]:
        """
        Check the connection, read-only and within ten seconds; ``doctor`` prints the same steps one by one.

        :return: whether all is well, and one sentence that names the step that failed and the remedy
        """
        try:
            settings = self.settings
        except MqsError as error:
            return False, f"connection failed: {error}"
        return _verdict(self._findings_in_time(settings))

    def _tell(self, doubts: Iterable[str], notes: Iterable[str], on_incomplete: str) -> None:
        for note in notes:
            self.log.warning("%s", note)
        reasons = " ".join(doubts)
        if reasons and on_incomplete == "fail":
            raise IncompleteWindowError(reasons)
        if reasons:
            self.log.warning("The window may be incomplete: %s", reasons)

    def _findings_in_time(self, settings: ConnectionSettings) -> list[CheckResult]:
        """Collect what is found in ten seconds; in a thread, since a name look-up heeds no timeout."""
        hurried = replace(
            settings,
            max_retries=0,
            connect_timeout_s=min(settings.connect_timeout_s, _TEST_REQUEST_S),
            read_timeout_s=min(settings.read_timeout_s, _TEST_REQUEST_S),
        )
        client = MqsClient(hurried, instance_id=self._instance_id, on_secret=mask_secret)
        found: list[CheckResult] = []

        def collect() -> None:
            with closing(client):
                found.extend(findings(client))

        thread = threading.Thread(target=collect, name="mqs-test-connection", daemon=True)
        thread.start()
        thread.join(_TEST_S)
        if thread.is_alive():
            found.append(
                CheckResult(_step_after(found), "no answer in time: try again, or run the doctor command", ok=False)
            )
        return found


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _query(topic: str, start: Any, end: Any, on_incomplete: str, filters: Filters) -> Query:
    window = _window(start, end)
    if window.end_ms > _now_ms():
        raise ConfigurationError(
            f"end must not be later than now, as messages may still arrive; got {iso(window.end_ms)}."
        )
    return Query(topic_name(topic), window, filters, choice(on_incomplete, "on_incomplete", ("fail", "warn")))


def _window(start: Any, end: Any) -> TimeWindow:
    start_ms, end_ms = instant_ms(start, "start"), instant_ms(end, "end")
    if start_ms is None or end_ms is None:
        raise ConfigurationError("start and end are both needed: datetime, ISO text or epoch ms.")
    return TimeWindow(start_ms, end_ms)


def _place(topic: str, partition: int, message_offset: int) -> tuple[str, int, int]:
    return topic_name(topic), partition_number(partition), whole_number(message_offset, "message_offset", minimum=0)


def _found(message: Message | None, place: tuple[str, int, int]) -> Message:
    if message is not None:
        return message
    topic, partition, message_offset = place
    raise NotFoundError(200, "", f"No message at {topic}/{partition}/{message_offset}; it may have aged out.")


def _step_after(found: list[CheckResult]) -> str:
    return STEPS[min(len(found), len(STEPS) - 1)]


def _verdict(found: list[CheckResult]) -> tuple[bool, str]:
    last = found[-1]
    if last.ok is False:
        return False, f"{last.step} failed: {last.text}."
    return True, "; ".join(f"{finding.step}: {finding.text}" for finding in found if finding.step in _TOLD) + "."
