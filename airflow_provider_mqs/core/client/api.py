"""
One flow per API call.

Sources: API documents "Querying Messages" and "Retransmitting a Message"; the vendor's SDK for the instance and the
topic list. Where the documents contradict each other, both readings are handled, here and in ``paging.py``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from airflow_provider_mqs.core.client.errors import error_of, names_error
from airflow_provider_mqs.core.client.flow import Flow, Request, Response
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.values.message import Message, Page, Topic
from airflow_provider_mqs.exceptions import ApiNotPublishedError, ConfigurationError, ProtocolError
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.core.client.auth import Auth
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_log = logging.getLogger(__name__)
_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json;charset=UTF-8",
}
_PREFIXES: Final = {"dms": "", "mqs": "/mqs"}
_known_styles: dict[tuple[str, str], str] = process_wide({})
"""Which query path a connection has, found once per process: (query endpoint, identity) -> ``dms`` or ``mqs``."""


class MqsApi:
    """The calls of one instance, as flows; each raises ``ApiError`` if the service refuses it."""

    def __init__(
        self,
        settings: ConnectionSettings,
        auth: Auth,
        *,
        instance_id: str | None = None,
        policy: RetryPolicy | None = None,
        service_clock: ServiceClock | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_retries=settings.max_retries)
        self.service_clock = service_clock or ServiceClock()
        self.monotonic = self.service_clock.monotonic
        self._auth = auth
        self._instance_id = instance_id or settings.instance_id

    @property
    def instance_id(self) -> str:
        """The instance of all calls; ``ConfigurationError`` if neither the caller nor the connection names one."""
        if not self._instance_id:
            raise ConfigurationError("instance_id is missing: enter it in the connection, or pass it to the operator.")
        return self._instance_id

    def now_ms(self) -> int:
        """Return the service's time in epoch ms, exact to about a second."""
        return self.service_clock.now_ms()

    def earliest_ms(self) -> int:
        """Return the earliest time that it may be at the service, epoch ms."""
        return self.service_clock.earliest_ms()

    def latest_ms(self) -> int:
        """Return the latest time that it may be at the service, epoch ms."""
        return self.service_clock.latest_ms()

    def project_id(self) -> Flow[str]:
        """Return the connection's project, else the token's."""
        if self.settings.project_id:
            return self.settings.project_id
        return (yield from self._auth.project_id(self.policy, self.service_clock))

    def show_instance(self) -> Flow[dict[str, Any]]:
        """Return the service's description of the instance, such as ``name``, ``engine`` and ``status``."""
        instance = (yield from self._get(self.settings.endpoint, "/mqs", "", {})).json()
        if not isinstance(instance, dict):
            raise ProtocolError("The answer about the instance is not a JSON object; is the host an MQS endpoint?")
        return instance

    def list_topics(self) -> Flow[list[Topic]]:
        """
        Return the topics that these credentials may see.

        An IAM user sees only topics of applications that they created or were authorised for. Without a ``limit`` one
        answer holds them all, unless the service cuts it.
        """
        return (yield from self.find_topics())[0]

    def find_topics(self, wanted: str | None = None) -> Flow[tuple[list[Topic], bool]]:
        """
        Return the topics that these credentials may see, and whether the list is whole.

        One that was not cut is as long as its ``total`` says, but that is a hint: a ``wanted`` topic is looked for on
        one page more. What ``offset`` counts is not documented: it is tried as a number of topics, then of pages.
        """
        topics: dict[str, Topic] = {}
        total = 0

        def read(offset: int) -> Flow[bool]:
            nonlocal total
            query = {"offset": str(offset)} if offset else {}
            response = yield from self._get(self.settings.endpoint, "/mqs", "/topics", query)
            found, said = Topic.page_from_api(response.json())
            before, total = len(topics), max(total, said or 0)
            topics.update((topic.name, topic) for topic in found if topic.name not in topics)
            return len(topics) > before

        grown = yield from read(0)
        while grown and (len(topics) < total or wanted not in {None, *topics}):
            grown = yield from read(len(topics))
        page = 1
        while len(topics) < total and page <= total and ((yield from read(page)) or page == 1):
            page += 1
        return list(topics.values()), len(topics) >= total

    def query_page(
        self,
        topic: str,
        start_ms: int,
        end_ms: int,
        *,
        limit: int,
        offset: int,
        partition: int | None = None,
    ) -> Flow[Page]:
        """
        Return one page of the messages of a time range, without their contents.

        The document does not say whether ``end_ms`` belongs to the range, nor whether ``partition`` narrows it; for the
        meaning of ``offset`` see ``paging.py``.
        """
        query = {
            "topic": topic,
            "asc": "true",
            "start_time": str(start_ms),
            "end_time": str(end_ms),
            "limit": str(limit),
            "offset": str(offset),
        }
        if partition is not None:
            query["partition"] = str(partition)
        return Page.from_api((yield from self._query(query)).json(), topic)

    def get_message(
        self, topic: str, partition: int, message_offset: int, *, download: bool = False
    ) -> Flow[Message | None]:
        """
        Return one message with its content, or ``None`` if the answer does not hold it.

        ``download`` returns a huge message whole. The error code of an offset that is gone is not documented.
        """
        query = {
            "topic": topic,
            "partition": str(partition),
            "message_offset": str(message_offset),
            "download": "true" if download else "false",
        }
        response = yield from self._query(query, content_expected=download)
        ref = (partition, message_offset)
        try:
            page = Page.from_api(response.json(), topic)
            found = next((m for m in page.messages if (m.partition, m.message_offset) == ref), None)
        except ProtocolError:
            if not download:
                raise
            found = None
        if found or not download:
            return found
        # the document does not say whether a download is JSON or the bare content, which may itself be JSON
        message = yield from self.get_message(topic, partition, message_offset)
        content = response.body.decode(errors="replace")
        if message and names_error(response) and not (message.value and content.startswith(message.value)):
            raise error_of(response)
        return message and replace(message, value=content)

    def resend(self, topic: str, partition: int, message_offset: int, consumer_key: str | None = None) -> Flow[None]:
        """
        Send one message again: the service appends a copy to the topic.

        Not idempotent: after a ``TransportError`` whose ``sent`` is true, or a ``ProtocolError``, the copy may be
        there. ``consumer_key`` becomes a header of the copy, and is left out of the request if it is ``None``.
        """
        body: dict[str, Any] = {"topic": topic, "partition": partition, "message_offset": message_offset}
        if consumer_key is not None:
            body["consumer_key"] = consumer_key
        path = yield from self._path("/mqs", "/messages/action?action_id=resend")
        request = Request(
            "POST", self.settings.endpoint + path, _HEADERS, json.dumps(body).encode(), safe_to_repeat=False
        )
        response = yield from self._auth.send(request, self.policy, self.service_clock)
        echo = response.json()
        for name in ("topic", "partition", "message_offset"):
            if isinstance(echo, dict) and not (echo.get(name) is None or _means(echo[name], body[name])):
                raise ProtocolError(f"The answer to a resend is about another {name} than the request.")

    def _query(self, query: Mapping[str, str], *, content_expected: bool = False) -> Flow[Response]:
        """Query on the path that this connection has; with ``api_style`` ``auto``, find out which."""
        settings = self.settings
        get = partial(
            self._get, settings.query_endpoint, tail="/messages", query=query, content_expected=content_expected
        )
        style: str = settings.api_style
        if style == "auto" and urlsplit(settings.query_endpoint).netloc.startswith("roma."):
            style = "mqs"  # on these hosts the other path belongs to another API
        if style != "auto":
            return (yield from get(_PREFIXES[style]))
        key = (settings.query_endpoint, settings.identity)
        if key in _known_styles:
            return (yield from get(_PREFIXES[_known_styles[key]]))
        try:
            response = yield from get(_PREFIXES["dms"])
            style = "dms"
        except ApiNotPublishedError:
            response = yield from get(_PREFIXES["mqs"])
            style = "mqs"
        if key not in _known_styles:  # many may have found it at the same time
            _log.info("The query path of this connection is api_style %r.", style)
        _known_styles[key] = style
        return response

    def _get(
        self, endpoint: str, prefix: str, tail: str, query: Mapping[str, str], *, content_expected: bool = False
    ) -> Flow[Response]:
        path = yield from self._path(prefix, tail)
        # spaces as %20, never "+": the signature covers exactly what is sent
        text = "&".join([f"{_quoted(name)}={_quoted(value)}" for name, value in query.items()])
        url = f"{endpoint}{path}?{text}" if query else f"{endpoint}{path}"
        request = Request("GET", url, _HEADERS, content_expected=content_expected)
        return (yield from self._auth.send(request, self.policy, self.service_clock))

    def _path(self, prefix: str, tail: str) -> Flow[str]:
        project = yield from self.project_id()
        return f"/v2/{_quoted(project)}{prefix}/instances/{_quoted(self.instance_id)}{tail}"


@lru_cache(maxsize=256)  # nearly all texts are in the request before as well
def _quoted(text: str) -> str:
    return quote(text, safe="~")


def _means(echoed: Any, sent: str | int) -> bool:
    """Whether the value in an answer is the one that was sent; a number may come as text, or as a float."""
    if type(echoed) is type(sent):
        return bool(echoed == sent)
    if not isinstance(sent, int):
        return False
    if isinstance(echoed, str):
        try:
            echoed = int(echoed) if echoed.isdecimal() else float(echoed)
        except ValueError:
            return False
    return echoed == float(sent) if isinstance(echoed, float) else type(echoed) is int and echoed == sent
