"""A server on 127.0.0.1 that sends set responses and records what it received; made of neither transport."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

Answer = tuple[int, dict[str, str], bytes]
DROP: Answer = (0, {}, b"")
SILENCE: Answer = (-1, {}, b"")


@dataclass
class Seen:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: Any


@dataclass
class Recorder:
    """A running server: where it is, what it saw, how many sockets it accepted."""

    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    sockets: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)


@contextmanager
def recording(
    answer: Answer | Callable[[Seen], Answer] = (200, {}, b"{}"), tls: ssl.SSLContext | None = None
) -> Iterator[Recorder]:
    """Serve until the block ends; a status of 0 cuts the connection, one of -1 sends no response."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            if tls is not None:
                self.request = tls.wrap_socket(self.request, server_side=True)
            recorder.sockets += 1
            super().setup()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, body, tls and self.connection.getpeercert())
            recorder.requests.append(seen)
            status, more, content = answer(seen) if callable(answer) else answer
            if status < 0:
                recorder.stopping.wait(10)
            if status <= 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = "Content-Length" in more

        do_GET = do_POST = _serve  # noqa: N815 - the names of http.server

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Clients that hang up are what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        recorder.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield recorder
        finally:
            recorder.stopping.set()
            server.shutdown()
            thread.join(60)
