"""
A service that speaks just enough of the API, in a process of its own, and does as little as possible for each request.

Every row is serialised before the first request, in the order of time, so that a page is a slice of one long text. The
admin calls (``PUT /admin/shape``, ``GET /admin/counts``) are answered at once and not counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from benchmarks.shape import END_MS, PAGE_SIZE, PROJECT, TOPIC, MessageRef, Shape, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

_REASONS = {200: b"OK", 201: b"Created", 404: b"Not Found", 429: b"Too Many Requests"}


class Log:
    """
    The rows of the topic.

    :param shape: what it holds; copies come on top
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._text = bytearray()
        self._ends = array("q", [0])
        self._times = array("q")
        self._copies: dict[MessageRef, int] = {}
        self._next = [shape.count(partition) for partition in range(shape.partitions)]
        for number, (partition, offset) in enumerate(shape.places()):
            self._append(partition, offset, shape.timestamp(number), number)

    def between(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Give the first row of a time range and the one behind its last; the end belongs to it."""
        return bisect_left(self._times, start_ms), bisect_right(self._times, end_ms)

    def rows(self, first: int, end: int) -> bytes:
        """Give rows as JSON, without brackets."""
        return bytes(self._text[self._ends[first] : max(self._ends[first], self._ends[end] - 1)])

    def find(self, place: MessageRef) -> int | None:
        """Give the number of the row at a place, ``None`` where there is none."""
        partition, offset = place
        if 0 <= partition < self._shape.partitions and 0 <= offset < self._shape.count(partition):
            return offset * self._shape.partitions + partition
        return self._copies.get(place)

    def copy(self, place: MessageRef, now_ms: int) -> bool:
        """Append a copy of a message, with its key and a fresh time; false where there is no such message."""
        number = self.find(place)
        if number is None:
            return False
        partition = place[0]
        self._copies[partition, self._next[partition]] = len(self._times)
        self._append(partition, self._next[partition], max(now_ms, END_MS), number)
        self._next[partition] += 1
        return True

    def _append(self, partition: int, offset: int, time_ms: int, number: int) -> None:
        row = (
            f'{{"topic":"{TOPIC}","partition":{partition},"message_offset":{offset},"timestamp":{time_ms},'
            f'"key":"order-{number}","size":512,"huge_message":false,"message_id":"","app_id":"shop","tag":""}},'
        )
        self._text += row.encode()
        self._ends.append(len(self._text))
        self._times.append(time_ms)


@dataclass(slots=True)
class Counts:
    """What was asked since the shape was set; admin calls do not count."""

    requests: int = 0
    connections: int = 0
    logins: int = 0
    topic_lists: int = 0
    pages: int = 0
    resends: int = 0
    throttled: int = 0
    max_in_flight: int = 0
    max_open: int = 0


def _moment() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Service:
    """The state, and the answer to each request."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.in_flight = 0
        self.open = 0
        self._resent: list[MessageRef] = []
        self._debt = 0.0
        self._date = (0, b"")
        self._set(Shape())

    def begin(self) -> None:
        """Count a request that has come."""
        self.in_flight += 1
        self.counts.requests += 1
        self.counts.max_in_flight = max(self.counts.max_in_flight, self.in_flight)
        if self.counts.requests == 1:
            self._began = _moment()

    def end(self) -> None:
        """Count a request that was answered."""
        self.in_flight -= 1
        self._ended = _moment()

    def opened(self) -> None:
        """Count a connection, when its first request has come."""
        self.open += 1
        self.counts.connections += 1
        self.counts.max_open = max(self.counts.max_open, self.open)

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """Answer a request at once; the connection holds the answer back."""
        path, _, text = target.partition("?")
        query = dict(pair.split("=", 1) for pair in text.split("&")) if text else {}
        if path.endswith("/messages"):
            return self._throttled() or self._query(query)
        if path.endswith("/messages/action"):
            return self._throttled() or self._resend(json.loads(body))
        if path.endswith("/topics"):
            self.counts.topic_lists += 1
            topic = {"name": TOPIC, "partition": self.shape.partitions, "retention_time": 1_000_000}
            return self._response(200, {"total": 1, "size": 1, "topics": [topic]})
        if path.endswith("/auth/tokens"):
            return self._login()
        if path == "/admin/shape" and method == "PUT":
            self._set(Shape(**json.loads(body)))
        return self._response(200, self._account()) if path.startswith("/admin/") else self._response(404, {})

    def _set(self, shape: Shape) -> None:
        self.shape = shape
        self.counts = Counts()
        self._log = Log(shape)
        self._resent.clear()
        self._began, self._ended = (0.0, 0.0), (1.0, 0.0)

    def _account(self) -> dict[str, Any]:
        wall_s, busy_s = (end - began for began, end in zip(self._began, self._ended, strict=True))
        return {**asdict(self.counts), "open": self.open, "busy": busy_s / wall_s, "resent": fingerprint(self._resent)}

    def _throttled(self) -> bytes:
        self._debt += self.shape.throttle
        if self._debt < 1:
            return b""
        self._debt -= 1
        self.counts.throttled += 1
        return self._response(429, {"error_code": "APIGW.0308", "error_msg": "The throttling threshold is reached."})

    def _query(self, query: Mapping[str, str]) -> bytes:
        if "message_offset" in query:
            number = self._log.find((int(query["partition"]), int(query["message_offset"])))
            rows = b"" if number is None else self._log.rows(number, number + 1)
            return self._page(rows, int(number is not None), int(number is not None))
        self.counts.pages += 1
        first, end = self._log.between(int(query["start_time"]), int(query["end_time"]))
        reach = end if self.shape.cap is None else min(end, first + self.shape.cap)
        limit, offset = min(int(query["limit"]), PAGE_SIZE), int(query["offset"])
        skipped = {"row": offset, "page0": offset * limit, "page1": max(0, offset - 1) * limit}[self.shape.paging]
        begin, stop = min(first + skipped, reach), min(first + skipped + limit, reach)
        return self._page(self._log.rows(begin, stop), (reach if self.shape.hides_total else end) - first, stop - begin)

    def _page(self, rows: bytes, total: int, size: int) -> bytes:
        return self._response(200, b'{"messages":[%b],"total":%d,"size":%d}' % (rows, total, size))

    def _resend(self, body: Mapping[str, Any]) -> bytes:
        place = body["partition"], body["message_offset"]
        if not self._log.copy(place, time.time_ns() // 1_000_000):
            return self._response(404, {"error_code": "MQS.00404001", "error_msg": "There is no such message."})
        self.counts.resends += 1
        self._resent.append(place)
        return self._response(200, body)

    def _login(self) -> bytes:
        self.counts.logins += 1
        life = {"issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2026-01-02T00:00:00.000000Z"}
        token = {"token": {**life, "project": {"id": PROJECT}}}
        return self._response(201, token, b"X-Subject-Token: " + b"t" * 2000 + b"\r\n")

    def _response(self, status: int, body: bytes | Mapping[str, Any], headers: bytes = b"") -> bytes:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        now_s = int(time.time())
        if self._date[0] != now_s:
            self._date = now_s, formatdate(now_s, usegmt=True).encode()
        return b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
            status,
            _REASONS[status],
            self._date[1],
            len(content),
            headers,
            content,
        )


class Connection(asyncio.Protocol):
    """
    One kept-alive connection; reads whole requests and answers each after the latency.

    :param service: the state
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._counted = False
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it as closed."""
        del exc
        self._service.open -= self._counted

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and answer the requests that are whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) >= 4:  # noqa: PLR2004 - the length of the mark
            head = bytes(self._buffer[:end])
            size = end + _content_length(head)
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[end:size])
            del self._buffer[:size]
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        service = self._service
        if target.startswith("/admin/"):
            self._transport.write(service.answer(method, target, body))
            return
        if not self._counted:
            self._counted = True
            service.opened()
        service.begin()
        answer = service.answer(method, target, body)
        if service.shape.latency_ms:
            self._loop.call_later(service.shape.latency_ms / 1000, self._finish, answer)
        else:
            self._finish(answer)

    def _finish(self, answer: bytes) -> None:
        self._service.end()
        if not self._transport.is_closing():
            self._transport.write(answer)


def _content_length(head: bytes) -> int:
    mark = b"\r\ncontent-length:"
    at = head.lower().find(mark)
    return 0 if at < 0 else int(head[at + len(mark) : head.index(b"\r\n", at + len(mark))])


async def serve() -> None:
    """Serve on a free port of the loopback, whose number is printed, until standard input ends with the parent."""
    service = Service()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    gc.disable()  # nothing here makes cycles, and a pause would look like latency
    asyncio.run(serve())
