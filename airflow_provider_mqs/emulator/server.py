"""The socket: a thin aiohttp shell over the service that adds what needs time or a connection."""

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


@asynccontextmanager
async def serving(service: Service, port: int = 0, tls: SSLContext | None = None) -> AsyncIterator[int]:
    """
    Listen on 127.0.0.1 for the time of a block; the service is not closed by it.

    :param service: what answers
    :param port: default any free one
    :param tls: server side context; default plain HTTP
    :return: the port
    :raises OSError: when the port is taken
    """

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await _answer(service, request)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port, ssl_context=tls)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _answer(service: Service, request: web.BaseRequest) -> web.StreamResponse:
    target, body = request.raw_path, await request.read()
    ours = HttpRequest.parse(request.method, target, dict(request.headers), body)
    response = admin.handle(service, ours) if ours.path.startswith(admin.PREFIX) else service.handle(ours)
    if response.delay_s:
        await asyncio.sleep(response.delay_s)
    if response.drop:
        # aiohttp closes the connection of a handler that is cancelled, without an answer
        raise asyncio.CancelledError
    return web.Response(status=response.status, headers=response.headers, body=response.body)


async def _end_the_others() -> None:
    """Cancel what still runs in this loop: answers that were to come much later."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def serving_in_thread(service: Service, port: int = 0, tls: SSLContext | None = None) -> Iterator[int]:
    """
    Listen from a thread with its own event loop, for programs that have none.

    :param service: what answers
    :param port: default any free one
    :param tls: server side context; default plain HTTP
    :return: the port
    :raises OSError: when the port is taken
    """
    loop, listening = asyncio.new_event_loop(), serving(service, port, tls)
    thread = threading.Thread(target=loop.run_forever, name="mqs-emulator", daemon=True)
    thread.start()

    def wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    try:
        chosen = wait_for(listening.__aenter__())
        try:
            yield chosen
        finally:
            wait_for(listening.__aexit__(None, None, None))
    finally:
        wait_for(_end_the_others())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
