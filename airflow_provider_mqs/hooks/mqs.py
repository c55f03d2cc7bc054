"""``MqsHook``: the calls of the API on an Airflow connection, each as a method and as a coroutine."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_mqs._compat import amask_secret, mask_secret
from airflow_provider_mqs.core.client.client import AsyncMqsClient, MqsClient
from airflow_provider_mqs.core.connection import fields
from airflow_provider_mqs.core.connection.settings import ConnectionSettings, path_segment
from airflow_provider_mqs.core.query import query
from airflow_provider_mqs.core.query.filters import FilterArguments, Filters
from airflow_provider_mqs.core.resend.options import check_resend
from airflow_provider_mqs.core.values import arguments
from airflow_provider_mqs.core.values.time_window import WindowArguments
from airflow_provider_mqs.exceptions import IncompleteWindowError, MqsError, NotFoundError
from airflow_provider_mqs.hooks.connection import asettings_for, settings_for
from airflow_provider_mqs.hooks.connection_check import quick_check
from airflow_provider_mqs.hooks.connection_form import widgets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from datetime import datetime

    from typing_extensions import Self, Unpack

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.core.values.message import Message, Topic

T = TypeVar("T")


class MqsHook(BaseHook):
    """
    Query and resend messages of a Huawei Cloud ROMA Connect MQS instance.

    Each method has a twin with the prefix ``a`` for coroutines. The connection is read on first use. ``with`` and
    ``async with`` close the sockets at the end; one event loop at a time may use the twins.

    :param mqs_conn_id: connection to use
    :param instance_id: instance to use; default: that of the connection
    """

    conn_name_attr = "mqs_conn_id"
    default_conn_name = arguments.DEFAULT_CONN_ID
    conn_type = fields.CONNECTION_TYPE
    hook_name = fields.HOOK_NAME

    def __init__(self, mqs_conn_id: str = default_conn_name, instance_id: str | None = None) -> None:
        super().__init__()
        self.mqs_conn_id = mqs_conn_id
        self._instance_id = None if arguments.is_absent(instance_id) else path_segment("instance_id", str(instance_id))
        self._settings: ConnectionSettings | None = None
        self._client: MqsClient | None = None
        self._async_client: AsyncMqsClient | None = None
        self._masking: set[asyncio.Task[None]] = set()

    # Airflow before 3.2 looks for these two in the class itself, not in its bases; later series read the metadata
    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra fields of the connection form."""
        return widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the standard fields of the connection form look."""
        return {
            "hidden_fields": list(fields.HIDDEN_FIELDS),
            "relabeling": dict(fields.RELABELING),
            "placeholders": dict(fields.PLACEHOLDERS),
        }

    @property
    def settings(self) -> ConnectionSettings:
        """The connection, checked; read on first use. Raises ``ConfigurationError`` if a field is wrong."""
        if self._settings is None:
            self._settings = settings_for(self.mqs_conn_id)
        return self._settings

    async def asettings(self) -> ConnectionSettings:
        """See ``settings``."""
        if self._settings is None:
            self._settings = await asettings_for(self.mqs_conn_id)
        return self._settings

    @property
    def instance_id(self) -> str:
        """The instance in use. Raises ``ConfigurationError`` if neither hook nor connection names one."""
        return self.get_conn().api.instance_id

    def get_conn(self) -> MqsClient:
        """
        Return the client for single calls.

        :return: the same one until ``close``
        :raises ConfigurationError: a field of the connection is wrong
        """
        if self._client is None:
            self._client = MqsClient(self.settings, instance_id=self._instance_id, on_secret=mask_secret)
        return self._client

    async def aget_conn(
        self, *, concurrency: int = 16, on_secret: Callable[[str], object] | None = None
    ) -> AsyncMqsClient:
        """
        Return the client for coroutines, to be used in the event loop that asked for it first.

        :param concurrency: how many requests may be in flight; only the first call decides
        :param on_secret: called with each new token instead of Airflow's masker; only the first call decides
        :return: the same one until ``aclose``
        :raises ConfigurationError: a field of the connection is wrong
        """
        if self._async_client is None:
            self._async_client = AsyncMqsClient(
                await self.asettings(),
                instance_id=self._instance_id,
                concurrency=concurrency,
                on_secret=on_secret or self._mask_soon,
            )
        return self._async_client

    def _mask_soon(self, secret: str) -> None:
        # the set keeps the task alive; a loop holds only weak references
        task = asyncio.get_running_loop().create_task(amask_secret(secret))
        self._masking.add(task)
        task.add_done_callback(self._masking.discard)

    def close(self) -> None:
        """Close the sockets of ``get_conn``; the hook may be used again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def aclose(self) -> None:
        """Close the sockets of ``aget_conn``; the hook may be used again."""
        client, self._async_client = self._async_client, None
        try:
            await asyncio.gather(*self._masking)
        finally:
            if client is not None:
                await client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def run_concurrently(self, flow_of: Callable[[MqsApi], Flow[T]], *, concurrency: int = 16) -> T:
        """
        Run a flow with many requests in flight, in an event loop of its own.

        In a coroutine, and so in a notebook, no second loop may run: there it sends one request at a time.

        :param flow_of: makes the flow from the API
        :param concurrency: how many requests may be in flight
        :return: what the flow returns
        :raises MqsError: the connection is wrong, or what the flow raises
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run_in_loop(flow_of, concurrency))
        client = self.get_conn()
        return client.run(flow_of(client.api))

    async def _run_in_loop(self, flow_of: Callable[[MqsApi], Flow[T]], concurrency: int) -> T:
        # a hook of its own, since the asynchronous client of this one may belong to another loop
        async with type(self)(self.mqs_conn_id, self._instance_id) as hook:
            hook._settings = self.settings  # noqa: SLF001 - of the same class
            client = await hook.aget_conn(concurrency=concurrency)
            return await client.run(flow_of(client.api))

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
        :param end: end of the window (exclusive), not later than now
        :param on_incomplete: ``fail``, or ``warn`` to take a result from which messages may be missing
        :param filters: ``partitions``, ``key`` and the other filter arguments of ``QueryMessagesOperator``; exact
        :return: the offsets; ``to_xcom()`` is what ``ResendMessagesOperator`` takes; an empty window has no partitions
        :raises IncompleteWindowError: messages may be missing and ``on_incomplete`` is ``fail``
        :raises MqsError: an argument or the connection is wrong, or the service refused
        """
        checked, flow_of = _prepare_query(topic, start, end, on_incomplete, filters)
        return query.check_result(self.run_concurrently(flow_of), checked)

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
        checked, flow_of = _prepare_query(topic, start, end, on_incomplete, filters)
        client = await self.aget_conn()
        return query.check_result(await client.run(flow_of(client.api)), checked)

    def iter_messages(self, topic: str, start: datetime | str | int, end: datetime | str | int) -> Iterator[Message]:
        """
        Find the messages of a window, without their contents, many requests at a time. Read-only.

        :param topic: topic name
        :param start: first moment: datetime, ISO text or epoch ms
        :param end: end of the window (exclusive), not later than now
        :return: the messages by time, partition and offset
        :raises IncompleteWindowError: messages may be missing
        :raises MqsError: an argument or the connection is wrong, or the service refused
        """
        name, now_ms = arguments.topic_name(topic), _now_ms()
        window = query.closed_window(WindowArguments.read(start=start, end=end).explicit(), now_ms)
        messages, reasons = self.run_concurrently(lambda api: query.find_messages(api, name, window, now_ms=now_ms))
        _check_complete(reasons)
        yield from messages

    async def aiter_messages(
        self, topic: str, start: datetime | str | int, end: datetime | str | int
    ) -> AsyncIterator[Message]:
        """See ``iter_messages``."""
        name, now_ms = arguments.topic_name(topic), _now_ms()
        window = query.closed_window(WindowArguments.read(start=start, end=end).explicit(), now_ms)
        client = await self.aget_conn()
        messages, reasons = await client.run(query.find_messages(client.api, name, window, now_ms=now_ms))
        _check_complete(reasons)
        for message in messages:
            yield message

    def show_instance(self) -> dict[str, Any]:
        """
        Return the service's description of the instance. Read-only.

        :return: the response as it is: ``name``, ``engine``, ``status`` …
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
        Return the topics that these credentials may see. Read-only.

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
        Return one message with its content. Read-only.

        :param topic: topic name
        :param partition: partition of the topic
        :param message_offset: offset in the partition
        :param download: whether to fetch a huge message whole; else the service shortens its value
        :return: the message
        :raises NotFoundError: there is no message at that offset, or no longer
        :raises MqsError: an argument or the connection is wrong, or the service refused
        """
        ref = _checked_ref(topic, partition, message_offset)
        client = self.get_conn()
        return _found(client.run(client.api.get_message(*ref, download=download)), ref)

    async def aget_message(self, topic: str, partition: int, message_offset: int, *, download: bool = False) -> Message:
        """See ``get_message``."""
        ref = _checked_ref(topic, partition, message_offset)
        client = await self.aget_conn()
        return _found(await client.run(client.api.get_message(*ref, download=download)), ref)

    def resend(self, topic: str, partition: int, message_offset: int, consumer_key: str | None = None) -> None:
        """
        Send one message again: the service appends a copy to the topic. A second call makes a second copy.

        There is no ledger here; ``ResendMessagesOperator`` has one. While the service throttles, this waits.

        :param topic: topic name
        :param partition: partition of the topic
        :param message_offset: offset in the partition
        :param consumer_key: the one consumer that should receive it, if consumers honour that header; default: all
        :raises ConfigurationError: an argument is wrong, or the connection does not allow this resend
        :raises ApiError: the service refused
        :raises TransportError: no response came; if ``sent`` is true, the copy may be there
        """
        ref = _checked_ref(topic, partition, message_offset)
        check_resend(self.settings, topic=topic, consumer_key=consumer_key, total=1)
        client = self.get_conn()
        client.run(client.api.resend(*ref, consumer_key))

    async def aresend(self, topic: str, partition: int, message_offset: int, consumer_key: str | None = None) -> None:
        """See ``resend``."""
        ref = _checked_ref(topic, partition, message_offset)
        check_resend(await self.asettings(), topic=topic, consumer_key=consumer_key, total=1)
        client = await self.aget_conn()
        await client.run(client.api.resend(*ref, consumer_key))

    def test_connection(self) -> tuple[bool, str]:
        """
        Check the connection, read-only and within ten seconds; ``doctor`` prints the same steps one by one.

        :return: whether all is well, and one sentence: what was found, or which step failed and the remedy
        """
        try:
            settings = self.settings
        except MqsError as error:
            return False, f"connection failed: {error}"
        return quick_check(settings, self._instance_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _prepare_query(
    topic: str, start: Any, end: Any, on_incomplete: str, filters: FilterArguments
) -> tuple[query.QueryArguments, Callable[[MqsApi], Flow[query.QueryResult]]]:
    """Check the arguments of a query; return them, and what makes the flow from the API."""
    checked = query.QueryArguments.read(
        topic=topic, start=start, end=end, filters=Filters.read(**filters), on_incomplete=on_incomplete
    )
    now_ms = _now_ms()
    window = query.closed_window(checked.window.explicit(), now_ms)
    wanted = query.Query(checked.topic, window, checked.filters, checked.on_incomplete)
    return checked, lambda api: query.query_offsets(api, wanted, now_ms=now_ms)


def _check_complete(reasons: Iterable[str]) -> None:
    if reasons:
        raise IncompleteWindowError(" ".join(reasons))


def _checked_ref(topic: str, partition: int, message_offset: int) -> tuple[str, int, int]:
    checked_offset = arguments.whole_number(message_offset, "message_offset", minimum=0)
    return arguments.topic_name(topic), arguments.partition_number(partition), checked_offset


def _found(message: Message | None, ref: tuple[str, int, int]) -> Message:
    if message is not None:
        return message
    topic, partition, message_offset = ref
    raise NotFoundError(200, "", f"No message at {topic}/{partition}/{message_offset}; it may have aged out.")
