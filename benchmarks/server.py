"""
A service that knows just enough of the API, as a program that does as little as possible for each request.

Every row is serialised before the first request, in the order of time, so that a page is a slice of one long text. The
admin calls (``PUT /admin/scenario``, ``GET /admin/counts``) are answered at once and not counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from benchmarks.scenario import END_MS, PAGE_SIZE, PROJECT, TOPIC, MessageRef, Scenario, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REASONS = {200: b"OK", 201: b"Created", 404: b"Not Found", 429: b"Too Many Requests"}


class Log:
    """The rows of the topic: the messages of the scenario, followed by copies."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._text = bytearray()
        self._ends = array("q", [0])
        self._times = array("q")
        self._copies: dict[MessageRef, int] = {}
        self._next = [scenario.count(partition) for partition in range(scenario.partitions)]
        for number, (partition, offset) in enumerate(scenario.refs()):
            self._append(partition, offset, scenario.timestamp(number), number)

    def between(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Return the first row of a time range (end inclusive) and the row after its last."""
        return bisect_left(self._times, start_ms), bisect_right(self._times, end_ms)

    def rows(self, first: int, end: int) -> bytes:
        """Return rows as JSON, without brackets."""
        return bytes(self._text[self._ends[first] : max(self._ends[first], self._ends[end] - 1)])

    def find(self, ref: MessageRef) -> int | None:
        """Return the number of the row of a message; ``None`` if there is no such message."""
        partition, offset = ref
        if 0 <= partition < self._scenario.partitions and 0 <= offset < self._scenario.count(partition):
            return offset * self._scenario.partitions + partition
        return self._copies.get(ref)

    def copy(self, ref: MessageRef, now_ms: int) -> bool:
        """Append a copy of a message, with its key and the current time; false if there is no such message."""
        number = self.find(ref)
        if number is None:
            return False
        partition = ref[0]
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
    """What was asked since the scenario was set, without admin calls."""

    requests: int = 0
    connections: int = 0
    logins: int = 0
    topic_lists: int = 0
    pages: int = 0
    resends: int = 0
    throttled: int = 0
    max_in_flight: int = 0
    max_open: int = 0


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Service:
    """The state of the service, and its answer to each request."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.in_flight = 0
        self.open = 0
        self._resent: list[MessageRef] = []
        self._debt = 0.0
        self._date = (0, b"")
        self._set(Scenario())

    def begin(self) -> None:
        """Count a request that has arrived."""
        self.in_flight += 1
        self.counts.requests += 1
        self.counts.max_in_flight = max(self.counts.max_in_flight, self.in_flight)
        if self.counts.requests == 1:
            self._began = _clocks()

    def end(self) -> None:
        """Count a request that has been answered."""
        self.in_flight -= 1
        self._ended = _clocks()

    def opened(self) -> None:
        """Count a connection when its first request has arrived."""
        self.open += 1
        self.counts.connections += 1
        self.counts.max_open = max(self.counts.max_open, self.open)

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """Return the response at once; the connection delays it by the latency."""
        path, _, text = target.partition("?")
        query = dict(pair.split("=", 1) for pair in text.split("&")) if text else {}
        if path.endswith("/messages"):
            return self._throttled() or self._query(query)
        if path.endswith("/messages/action"):
            return self._throttled() or self._resend(json.loads(body))
        if path.endswith("/topics"):
            self.counts.topic_lists += 1
            topic = {"name": TOPIC, "partition": self.scenario.partitions, "retention_time": 1_000_000}
            return self._response(200, {"total": 1, "size": 1, "topics": [topic]})
        if path.endswith("/auth/tokens"):
            return self._login()
        if path == "/admin/scenario" and method == "PUT":
            self._set(Scenario(**json.loads(body)))
        return self._response(200, self._numbers()) if path.startswith("/admin/") else self._response(404, {})

    def _set(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.counts = Counts()
        self._log = Log(scenario)
        self._resent.clear()
        self._began, self._ended = (0.0, 0.0), (1.0, 0.0)

    def _numbers(self) -> dict[str, Any]:
        wall_s, busy_s = (end - began for began, end in zip(self._began, self._ended, strict=True))
        return {**asdict(self.counts), "open": self.open, "busy": busy_s / wall_s, "resent": fingerprint(self._resent)}

    def _throttled(self) -> bytes:
        self._debt += self.scenario.throttle
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
        reach = end if self.scenario.cap is None else min(end, first + self.scenario.cap)
        limit, offset = min(int(query["limit"]), PAGE_SIZE), int(query["offset"])
        skipped = {"row": offset, "page0": offset * limit, "page1": max(0, offset - 1) * limit}[self.scenario.paging]
        begin, stop = min(first + skipped, reach), min(first + skipped + limit, reach)
        total = (reach if self.scenario.hides_total else end) - first
        return self._page(self._log.rows(begin, stop), total, stop - begin)

    def _page(self, rows: bytes, total: int, size: int) -> bytes:
        return self._response(200, b'{"messages":[%b],"total":%d,"size":%d}' % (rows, total, size))

    def _resend(self, body: Mapping[str, Any]) -> bytes:
        ref = body["partition"], body["message_offset"]
        if not self._log.copy(ref, time.time_ns() // 1_000_000):
            return self._response(404, {"error_code": "MQS.00404001", "error_msg": "There is no such message."})
        self.counts.resends += 1
        self._resent.append(ref)
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
    """One kept-alive connection, which reads whole requests and answers each after the latency."""

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
        """Buffer bytes, and answer the requests that are complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) >= 4:  # noqa: PLR2004 - the length of the mark
            head = bytes(self._buffer[:end])
            length = _CONTENT_LENGTH.search(head)
            size = end + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[end:size])
            del self._buffer[:size]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
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
        if service.scenario.latency_ms:
            self._loop.call_later(service.scenario.latency_ms / 1000, self._finish, answer)
        else:
            self._finish(answer)

    def _finish(self, answer: bytes) -> None:
        self._service.end()
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve() -> None:
    """Serve on a free port of 127.0.0.1, print its number, and stop when standard input ends with the parent."""
    service = Service()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    gc.disable()  # nothing here makes cycles, and a pause would look like latency
    asyncio.run(serve())
