"""
What goes in and out of the emulator, as plain values: no socket, no clock, no idea of MQS.

The service is driven with these by its tests directly and by the aiohttp shell in ``server.py``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ABSOLUTE = re.compile(r"^https?://[^/?]*")

JSON = "application/json;charset=utf8"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """
    One request as it came over the wire.

    :param method: upper-case verb
    :param path: path as it was sent, still percent-encoded, without the query
    :param query: decoded query parameters; of a repeated name the last one counts
    :param headers: header values by lower-case name
    :param body: raw bytes
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(
        cls, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpRequest:
        """
        Take a request target apart.

        :param method: upper-case verb
        :param target: path and query as they were sent, or the whole URL
        :param headers: header values by name of any case; default none
        :param body: raw bytes; default none
        :return: the request
        """
        # a client that goes through a proxy names the whole URL, so that this service can stand in for a proxy too
        path, _, query = _ABSOLUTE.sub("", target).partition("?")
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        return cls(method, path, dict(parse_qsl(query, keep_blank_values=True)), lower, body)

    def json(self) -> Any:
        """
        Decode the body.

        :return: the decoded value
        :raises ValueError: when the body is no JSON
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """
    One answer, and what the shell does around it.

    :param status: HTTP status
    :param headers: header values by name
    :param body: raw bytes
    :param delay_s: seconds that the shell waits before it sends the answer
    :param drop: ``True`` when the shell cuts the connection instead of answering
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    drop: bool = False

    def json(self) -> Any:
        """
        Decode the body.

        :return: the decoded value
        :raises ValueError: when the body is no JSON
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What an operation would do: its answer, and its effect, which a fault can delay.

    :param response: the answer of a healthy service
    :param effect: called with the time in ms at which the effect happens; ``None`` for reads
    """

    response: HttpResponse
    effect: Callable[[int], object] | None = None


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """
    Build a JSON answer.

    :param status: HTTP status
    :param value: what to encode
    :param headers: further headers; default none
    :return: the answer
    """
    return HttpResponse(status, {"Content-Type": JSON, **(headers or {})}, json.dumps(value).encode())
