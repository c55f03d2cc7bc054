"""The socket: a thin aiohttp server over the service that adds what needs time or a connection."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web  # this file is the socket; it is imported only to serve

from airflow_provider_mqs.emulator import admin
from airflow_provider_mqs.emulator.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from ssl import SSLContext

    from airflow_provider_mqs.emulator.service import Service

_T = TypeVar("_T")

HOST = "127.0.0.1"
_SHUTDOWN_S = 0.05


class _Answer(web.Response):
    """An answer with no ``Date`` but the service's; aiohttp adds that of this machine, which would be the truth."""

    async def _prepare_headers(self) -> None:
        dated = "Date" in self.headers
        await super()._prepare_headers()
        if not dated:
            del self.headers["Date"]


@asynccontextmanager
async def serving(service: Service, port: int = 0, tls: SSLContext | None = None) -> AsyncIterator[int]:
    """Listen on 127.0.0.1 while a block runs, and yield the port; the service is not closed."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        parsed = HttpRequest.parse(request.method, request.raw_path, dict(request.headers), await request.read())
        is_admin = parsed.path.startswith(admin.PREFIX)
        response = admin.handle(service, parsed) if is_admin else service.handle(parsed)
        if response.delay_s:
            await asyncio.sleep(response.delay_s)
        if response.drop:
            # aiohttp closes the connection of a handler that is cancelled, without an answer
            raise asyncio.CancelledError
        return _Answer(status=response.status, headers=response.headers, body=response.body)

    runner = web.ServerRunner(web.Server(respond, access_log=None), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port, ssl_context=tls)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@contextmanager
def serving_in_thread(service: Service, port: int = 0, tls: SSLContext | None = None) -> Iterator[int]:
    """Listen as :func:`serving` does, from a thread with its own event loop, for programs that have none."""
    loop, listening = asyncio.new_event_loop(), serving(service, port, tls)
    thread = threading.Thread(target=loop.run_forever, name="mqs-emulator", daemon=True)
    thread.start()

    def wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    async def cancel_others() -> None:
        # responses that a latency would send much later; a closed loop with open tasks is a warning of asyncio
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        chosen = wait_for(listening.__aenter__())
        try:
            yield chosen
        finally:
            wait_for(listening.__aexit__(None, None, None))
    finally:
        wait_for(cancel_others())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
