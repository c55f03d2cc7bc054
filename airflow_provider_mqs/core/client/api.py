"""
One flow per API call: what the two API documents, and ROMA Connect's neighbouring ones, say about it.

Sources: API documents "Querying Messages" and "Retransmitting a Message"; the vendor's SDK for the instance and the
topic list. Where documents contradict each other, both ways are handled here and in ``paging.py``.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_mqs.core.client.flow import Flow, Request, Response
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.values.message import Message, Page, Topic
from airflow_provider_mqs.exceptions import (
    ApiNotPublishedError,
    ConfigurationError,
    ProtocolError,
)
from airflow_provider_mqs.process_state import process_wide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.client.auth import Auth
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

_log = logging.getLogger(__name__)
_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json;charset=UTF-8",
}
_settled_styles: dict[tuple[str, str], str] = process_wide({})
"""Which query path a connection has, found once per process: (query endpoint, identity) -> ``dms`` or ``mqs``."""


class MqsApi:
    """
    The calls of one instance, as flows.

    :param settings: the connection
    :param auth: how to be let in
    :param instance_id: default the connection's
    :param policy: how often and how long to try; default from the connection
    :param clock: this machine's time in seconds since the epoch
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        auth: Auth,
        *,
        instance_id: str | None = None,
        policy: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_retries=settings.max_retries)
        self.clock = clock
        self.skew_s = 0.0
        self._auth = auth
        self._instance_id = instance_id or settings.instance_id

    @property
    def instance_id(self) -> str:
        """
        The instance that is asked.

        :raises ConfigurationError: neither the caller nor the connection names one
        """
        if not self._instance_id:
            raise ConfigurationError("instance_id is missing: put it into the connection or give it to the operator.")
        return self._instance_id

    def now_ms(self) -> int:
        """
        Give the service's time, as the ``Date`` header of its last answer to a query tells it.

        :return: epoch ms, exact to about a second
        """
        return round((self.clock() + self.skew_s) * 1000)

    def project_id(self) -> Flow[str]:
        """
        Give the project: the connection's, else the token's.

        :return: the project id
        :raises ConfigurationError: neither names one
        """
        if self.settings.project_id:
            return self.settings.project_id
        return (yield from self._auth.project_id(self.policy))

    def show_instance(self) -> Flow[dict[str, Any]]:
        """
        Ask what the instance is. Read-only.

        :return: the answer as it is: ``name``, ``engine``, ``status``, ``message_query_inst_enable`` …
        :raises ApiError: the service refused
        """
        instance = (yield from self._get(self.settings.endpoint, "/mqs", "", {})).json()
        if not isinstance(instance, dict):
            raise ProtocolError("The answer about the instance is no object; is the host an MQS endpoint?")
        return instance

    def list_topics(self) -> Flow[list[Topic]]:
        """
        Ask for the topics that these credentials may see. Read-only.

        An IAM user sees only topics of applications that they created or were authorised for.

        :return: every topic; without a ``limit`` one answer holds them all, unless the service cuts it
        :raises ApiError: the service refused
        """
        topics: dict[str, Topic] = {}
        while True:
            query = {"offset": str(len(topics))} if topics else {}
            response = yield from self._get(self.settings.endpoint, "/mqs", "/topics", query)
            found, total = Topic.page_from_api(response.json())
            news = {topic.name: topic for topic in found if topic.name not in topics}
            topics |= news
            if not news or len(topics) >= total:
                return list(topics.values())

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
        Ask for one page of the messages of a time range. Read-only; the rows carry no content.

        Source: API document "Querying Messages".

        :param topic: topic name
        :param start_ms: first millisecond
        :param end_ms: last millisecond; the document does not say whether it belongs to the range
        :param limit: rows a page, at most 50
        :param offset: a row or a page, see ``paging.py``
        :param partition: only this one, where the service heeds it
        :return: the page
        :raises ApiError: the service refused
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
        Ask for one message with its content. Read-only.

        Source: API document "Querying Messages".

        :param topic: topic name
        :param partition: partition of the topic
        :param message_offset: position in the partition
        :param download: whether to have a huge message whole
        :return: the message, or ``None`` where the answer holds none of that place
        :raises ApiError: the service refused; for an offset that is gone the code is not documented
        """
        query = {
            "topic": topic,
            "partition": str(partition),
            "message_offset": str(message_offset),
            "download": "true" if download else "false",
        }
        response = yield from self._query(query)
        place = (partition, message_offset)
        try:
            page = Page.from_api(response.json(), topic)
            found = next((m for m in page.messages if (m.partition, m.message_offset) == place), None)
        except ProtocolError:
            if not download:
                raise
            found = None
        if found or not download:
            return found
        # the document does not say whether a download is JSON or the bare content, which may look like an answer, too
        message = yield from self.get_message(topic, partition, message_offset)
        return message and replace(message, value=response.body.decode(errors="replace"))

    def resend(self, topic: str, partition: int, message_offset: int, consumer_key: str | None = None) -> Flow[None]:
        """
        Send one message again: the service appends a copy to the topic. Not idempotent, so never repeated in doubt.

        Source: API document "Retransmitting a Message".

        :param topic: topic name
        :param partition: partition of the topic
        :param message_offset: position in the partition
        :param consumer_key: application key, put into a header of the copy; left out of the request when not set
        :raises ApiError: the service refused
        :raises TransportError: no answer came; the copy may be there where ``sent`` is true
        :raises ProtocolError: the answer speaks of another message, or is no JSON; the copy may be there
        """
        body: dict[str, Any] = {"topic": topic, "partition": partition, "message_offset": message_offset}
        if consumer_key is not None:
            body["consumer_key"] = consumer_key
        path = yield from self._path("/mqs", "/messages/action?action_id=resend")
        request = Request(
            "POST", self.settings.endpoint + path, _HEADERS, json.dumps(body).encode(), safe_to_repeat=False
        )
        response = yield from self._auth.send(request, self.policy)
        _check_echo(response, body)

    def _query(self, query: Mapping[str, str]) -> Flow[Response]:
        """Ask on the path that this connection has; with ``api_style`` ``auto``, find out which."""
        settings = self.settings
        ask = partial(self._get, settings.query_endpoint, tail="/messages", query=query)
        key = (settings.query_endpoint, settings.identity)
        style = _style_of(settings)
        if style == "auto":
            style = _settled_styles.get(key, style)
        if style != "auto":
            return (yield from ask(_PREFIXES[style]))
        try:
            response = yield from ask(_PREFIXES["dms"])
            style = "dms"
        except ApiNotPublishedError:
            response = yield from ask(_PREFIXES["mqs"])
            style = "mqs"
        _settled_styles[key] = style
        _log.info("The query path of this connection is api_style %r.", style)
        return response

    def _get(self, endpoint: str, prefix: str, tail: str, query: Mapping[str, str]) -> Flow[Response]:
        path = yield from self._path(prefix, tail)
        url = f"{endpoint}{path}{'?' if query else ''}{_encode(query)}"
        response = yield from self._auth.send(Request("GET", url, _HEADERS), self.policy)
        self.skew_s = _skew_s(response, self.clock(), self.skew_s)
        return response

    def _path(self, prefix: str, tail: str) -> Flow[str]:
        project = yield from self.project_id()
        instance = quote(self.instance_id, safe="")
        return f"/v2/{quote(project, safe='')}{prefix}/instances/{instance}{tail}"


def _skew_s(response: Response, now_s: float, known_s: float) -> float:
    """Tell how far the service's clock is ahead; what was known holds where the answer does not say."""
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp() - now_s
    except (KeyError, ValueError, OverflowError):
        return known_s


_PREFIXES = {"dms": "", "mqs": "/mqs"}


def _style_of(settings: ConnectionSettings) -> str:
    """Hosts named ``roma.*`` serve the query under ``/mqs/``; on them the other path belongs to another API."""
    is_roma = settings.query_endpoint.split("://", 1)[-1].startswith("roma.")
    return "mqs" if settings.api_style == "auto" and is_roma else settings.api_style


def _encode(query: Mapping[str, str]) -> str:
    """Spaces as %20, never ``+``: the signature is made of exactly what is sent."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query.items())


def _check_echo(response: Response, sent: Mapping[str, Any]) -> None:
    body = response.json()
    for name in ("topic", "partition", "message_offset"):
        if isinstance(body, dict) and body.get(name) not in (None, sent[name]):
            raise ProtocolError(f"The answer to a resend names another {name} than was asked for.")
