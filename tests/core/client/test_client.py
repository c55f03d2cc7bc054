"""The two clients on the local service: one login for all, flows side by side if possible, and nothing left open."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.auth import TokenAuth
from airflow_provider_mqs.core.client.client import AsyncMqsClient, MqsClient
from airflow_provider_mqs.core.client.flow import Flow, Parallel, Request, Response, Sleep, Wait
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import AuthenticationError, ProtocolError, ServerError
from tests.core.client.recorder import recording
from tests.support import END_MS, START_MS, settings_for, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_mqs.testing import MqsEmulator

SOON = RetryPolicy(base_s=0.001, cap_s=0.001)


def settings(emulator: MqsEmulator, auth_type: str = "password", **extra: Any) -> ConnectionSettings:
    connection = emulator.connection(auth_type, **extra)
    connection.pop("conn_type")
    return ConnectionSettings.parse(**connection)


async def gather(client: AsyncMqsClient, *flows: Flow[Any]) -> list[Any]:
    return await asyncio.gather(*(client.run(flow) for flow in flows), return_exceptions=True)


async def test_fifty_flows_cost_one_login(mqs_emulator: MqsEmulator) -> None:
    """However many requests need a token at once, one of them fetches it."""
    mqs_emulator.faults.latency_s = 0.05
    mqs_emulator.faults.latency_operations = frozenset({"login"})

    async with AsyncMqsClient(settings(mqs_emulator), concurrency=50) as client:
        results = await gather(client, *(client.api.show_instance() for _ in range(50)))

    assert {result["engine"] for result in results} == {"kafka"}
    assert len(mqs_emulator.requests("login")) == 1
    assert len(mqs_emulator.requests("instance")) == 50
    assert client.requests == 51


def test_threads_and_loops_share_one_login(mqs_emulator: MqsEmulator) -> None:
    """Synchronous clients in threads and asynchronous ones in loops of their own wait for the same login."""
    mqs_emulator.faults.latency_s = 0.1
    mqs_emulator.faults.latency_operations = frozenset({"login"})
    together = threading.Barrier(8)

    def synchronous() -> int:
        together.wait(60)
        with MqsClient(settings(mqs_emulator)) as client:
            return len(client.run(client.api.show_instance()))

    def asynchronous() -> int:
        async def several() -> int:
            async with AsyncMqsClient(settings(mqs_emulator)) as client:
                return sum(map(len, await gather(client, *(client.api.show_instance() for _ in range(5)))))

        together.wait(60)
        return asyncio.run(several())

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(run) for run in [synchronous, asynchronous] * 4]
        assert all(one.result(timeout=20) for one in found)

    assert len(mqs_emulator.requests("login")) == 1
    assert len(mqs_emulator.requests("instance")) == 4 + 4 * 5


async def test_wrong_password_is_sent_once_however_many_wait(mqs_emulator: MqsEmulator) -> None:
    """All get the error of the one login, and the user is not locked."""
    mqs_emulator.faults.latency_s = 0.05
    wrong = {**mqs_emulator.connection(), "password": "wrong"}
    wrong.pop("conn_type")

    async with AsyncMqsClient(ConnectionSettings.parse(**wrong)) as client:
        results = await gather(client, *(client.api.show_instance() for _ in range(20)))
        results += await gather(client, client.api.show_instance())

    assert [type(result) for result in results] == [AuthenticationError] * 21
    assert len(mqs_emulator.requests()) == 1


async def test_cancelled_login_leaves_nobody_waiting(mqs_emulator: MqsEmulator) -> None:
    """Another flow takes over."""
    mqs_emulator.faults.latency_s = 0.1
    mqs_emulator.faults.latency_operations = frozenset({"login"})

    async with AsyncMqsClient(settings(mqs_emulator)) as client:
        first, second, third = (asyncio.create_task(client.run(client.api.show_instance())) for _ in range(3))
        await until(lambda: mqs_emulator.requests("login"))
        first.cancel()
        second.cancel()
        result = await asyncio.wait_for(third, 10)

    assert result["engine"] == "kafka"
    assert first.cancelled()
    assert second.cancelled()


async def test_waiter_that_is_cancelled_cancels_nobody_else(mqs_emulator: MqsEmulator) -> None:
    """The login goes on, and the others get its token."""
    mqs_emulator.faults.latency_s = 0.1
    mqs_emulator.faults.latency_operations = frozenset({"login"})

    async with AsyncMqsClient(settings(mqs_emulator)) as client:
        first, second, third = (asyncio.create_task(client.run(client.api.show_instance())) for _ in range(3))
        await until(lambda: mqs_emulator.requests("login"))
        second.cancel()
        results = await asyncio.wait_for(asyncio.gather(first, third), 10)

    assert [result["engine"] for result in results] == ["kafka"] * 2
    assert second.cancelled()
    assert len(mqs_emulator.requests("login")) == 1


async def test_tokens_that_die_at_once_cost_one_login_each(mqs_emulator: MqsEmulator) -> None:
    """Twenty flows that find the same token invalid fetch one new token together."""
    async with AsyncMqsClient(settings(mqs_emulator), concurrency=20) as client:
        await client.run(client.api.show_instance())
        mqs_emulator.faults.token_requests = 1
        mqs_emulator.faults.latency_s = 0.05

        async def revive() -> None:
            await until(lambda: len(mqs_emulator.requests("instance")) == 21)
            mqs_emulator.faults.token_requests = None

        flows = (client.api.show_instance() for _ in range(20))
        results, _ = await asyncio.gather(gather(client, *flows), revive())

    assert [result["engine"] for result in results] == ["kafka"] * 20
    assert len(mqs_emulator.requests("login")) == 2


@pytest.mark.parametrize("auth_type", ["password", "access_key", "token"])
def test_every_auth_type_works_on_the_synchronous_transport(mqs_emulator: MqsEmulator, auth_type: str) -> None:
    """The service accepts each call with each kind of credentials."""
    mqs_emulator.seed("orders", 3, START_MS, END_MS)

    with MqsClient(settings(mqs_emulator, auth_type)) as client:
        page = client.run(client.api.query_page("orders", START_MS, END_MS, limit=50, offset=0))
        client.run(client.api.resend("orders", 0, page.messages[0].message_offset, "key A/ü"))

    assert page.total == 3
    assert mqs_emulator.messages("orders")[-1].headers == {"consumer_key": "key A/ü"}


@pytest.mark.parametrize("auth_type", ["password", "access_key", "token"])
async def test_every_auth_type_works_on_the_asynchronous_transport(mqs_emulator: MqsEmulator, auth_type: str) -> None:
    """The service accepts each call with each kind of credentials."""
    mqs_emulator.seed("orders", 3, START_MS, END_MS)

    async with AsyncMqsClient(settings(mqs_emulator, auth_type)) as client:
        page = await client.run(client.api.query_page("orders", START_MS, END_MS, limit=50, offset=0))
        await client.run(client.api.resend("orders", 0, page.messages[0].message_offset, "key A/ü"))

    assert page.total == 3
    assert mqs_emulator.messages("orders")[-1].headers == {"consumer_key": "key A/ü"}


async def test_temporary_keys_work(mqs_emulator: MqsEmulator) -> None:
    """The security token is signed and sent."""
    connection = mqs_emulator.connection("access_key", temporary=True)
    connection.pop("conn_type")

    async with AsyncMqsClient(ConnectionSettings.parse(**connection)) as client:
        assert (await client.run(client.api.show_instance()))["engine"] == "kafka"


def test_waits_are_slept_and_logged(mqs_emulator: MqsEmulator, caplog: pytest.LogCaptureFixture) -> None:
    """The log says why and how long, without a secret."""
    slept: list[float] = []
    mqs_emulator.faults.throttle_429 = Rule(next=1)

    with MqsClient(settings(mqs_emulator), sleep=slept.append) as client:
        client.run(client.api.show_instance())

    assert slept == [1.0]
    assert "Trying again in 1.0 s (attempt 1: HTTP 429 APIGW.0308" in caplog.text
    assert mqs_emulator.identity.password not in caplog.text


async def test_asynchronous_client_waits_too(mqs_emulator: MqsEmulator) -> None:
    """A throttled request is sent again."""
    mqs_emulator.faults.throttle_404 = Rule(next=2)

    async with AsyncMqsClient(settings(mqs_emulator), policy=SOON) as client:
        await client.run(client.api.show_instance())

    assert [line.status for line in mqs_emulator.requests("instance")] == [404, 404, 200]


async def test_redirects_are_not_followed(mqs_emulator: MqsEmulator) -> None:
    """Neither client follows; the error says what to do."""
    with recording() as elsewhere:
        mqs_emulator.faults.redirect_to = elsewhere.url
        mqs_emulator.faults.redirect = Rule(next=2)
        async with AsyncMqsClient(settings(mqs_emulator)) as client:
            with pytest.raises(ProtocolError, match="redirect"):
                await client.run(client.api.show_instance())
        with MqsClient(settings(mqs_emulator)) as other, pytest.raises(ProtocolError, match="redirect"):
            other.run(other.api.show_instance())

    assert elsewhere.sockets == 0


def test_closed_clients_may_be_used_again(mqs_emulator: MqsEmulator) -> None:
    """Closing closes the sockets and nothing else; closing twice is fine."""
    client = MqsClient(settings(mqs_emulator))
    client.run(client.api.show_instance())
    client.close()
    client.close()

    assert client.run(client.api.show_instance())["engine"] == "kafka"
    client.close()


async def test_closed_asynchronous_clients_may_be_used_again(mqs_emulator: MqsEmulator) -> None:
    """Closing closes the sockets and nothing else; closing twice is fine."""
    client = AsyncMqsClient(settings(mqs_emulator))
    await client.run(client.api.show_instance())
    await client.aclose()
    await client.aclose()

    assert (await client.run(client.api.show_instance()))["engine"] == "kafka"
    await client.aclose()


def number(value: int) -> Flow[int]:
    return value
    yield


def test_synchronous_parallel_runs_one_after_the_other() -> None:
    """The synchronous client returns the results in order, too."""

    def flow() -> Flow[list[int]]:
        results: list[int] = yield Parallel(number(value) for value in range(5))
        return results

    assert MqsClient(settings_for()).run(flow()) == [0, 1, 2, 3, 4]


async def test_parallel_results_come_in_order() -> None:
    """Whichever flow ends first, the results are in the order of the flows."""

    def slow(value: int) -> Flow[int]:
        yield Sleep((5 - value) / 1000, "later ones end sooner")
        return value

    def flow() -> Flow[list[int]]:
        results: list[int] = yield Parallel(slow(value) for value in range(5))
        return results

    assert await AsyncMqsClient(settings_for()).run(flow()) == [0, 1, 2, 3, 4]


async def test_parallel_reads_its_flows_a_few_ahead() -> None:
    """A million flows are never in memory at once: no more are started than may be in flight."""
    begun: list[int] = []
    ended: list[int] = []
    most = 0

    def one(value: int) -> Flow[None]:
        nonlocal most
        most = max(most, len(begun) - len(ended))
        yield Sleep(0, "give way")
        ended.append(value)

    def flows() -> Iterator[Flow[None]]:
        for value in range(1_000_000):
            if value == 2000:
                raise ProtocolError("Enough.")
            begun.append(value)
            yield one(value)

    def flow() -> Flow[None]:
        yield Parallel(flows())

    with pytest.raises(ProtocolError, match="Enough"):
        await AsyncMqsClient(settings_for(), concurrency=8).run(flow())

    assert len(begun) == 2000
    assert most <= 8


async def test_first_error_stops_the_others() -> None:
    """No other flow is started or goes on, and those in progress are closed."""
    begun: list[int] = []
    closed: list[int] = []

    def one(value: int) -> Flow[None]:
        begun.append(value)
        try:
            yield Sleep(0, "give way")
            if value == 3:
                raise ServerError(500)
            yield Sleep(3600, "for ever")
        finally:
            closed.append(value)

    def flow() -> Flow[str]:
        try:
            yield Parallel(one(value) for value in range(100))
        except ServerError:
            return "seen"
        return "missed"

    assert await AsyncMqsClient(settings_for(), concurrency=5).run(flow()) == "seen"
    assert begun == [0, 1, 2, 3, 4]
    assert sorted(closed) == begun


async def test_cancelling_stops_all_flows() -> None:
    """A cancelled task leaves no worker running."""
    began, closed = asyncio.Event(), []

    def one(value: int) -> Flow[None]:
        try:
            began.set()
            yield Sleep(3600, "for ever")
        finally:
            closed.append(value)

    def flow() -> Flow[None]:
        yield Parallel(one(value) for value in range(3))

    task = asyncio.create_task(AsyncMqsClient(settings_for()).run(flow()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sorted(closed) == [0, 1, 2]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_requests_in_flight_are_limited(mqs_emulator: MqsEmulator) -> None:
    """However many flows run side by side, the client's limit holds."""
    async with AsyncMqsClient(settings(mqs_emulator), concurrency=3) as client:
        await client.run(client.api.show_instance())
        transport: Any = client._transport
        send, now, most = transport.send, 0, 0

        async def counted(request: Request) -> Any:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                return await send(request)
            finally:
                now -= 1

        transport.send = counted
        await gather(client, *(client.api.show_instance() for _ in range(20)))

    assert most == 3


@pytest.mark.parametrize("fails", [False, True])
def test_wait_shares_another_flows_end(fails: bool) -> None:
    """Its result lets a flow in another thread go on, and its error is raised there, too."""
    ended: Future[None] = Future()

    def flow() -> Flow[str]:
        try:
            yield Wait(ended)
        except ServerError:
            return "failed"
        return "went on"

    with ThreadPoolExecutor(2) as pool:
        synchronous = pool.submit(MqsClient(settings_for()).run, flow())
        asynchronous = pool.submit(lambda: asyncio.run(AsyncMqsClient(settings_for()).run(flow())))
        if fails:
            ended.set_exception(ServerError(503))
        else:
            ended.set_result(None)

        assert {synchronous.result(10), asynchronous.result(10)} == {"failed" if fails else "went on"}


async def test_many_clients_log_in_once(mqs_emulator: MqsEmulator) -> None:
    """One login for twenty clients of the same connection."""
    clients = [AsyncMqsClient(settings(mqs_emulator), concurrency=4) for _ in range(20)]

    await asyncio.gather(*(client.run(client.api.show_instance()) for client in clients))
    for client in clients:
        await client.aclose()

    assert len(mqs_emulator.requests("login")) == 1
    assert len(mqs_emulator.requests("instance")) == 20


@pytest.mark.parametrize(("trouble", "level"), [(True, "WARNING"), (False, "DEBUG")])
async def test_wait_is_a_warning_only_if_there_is_trouble(
    trouble: bool, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A normal run that waits for copies warns of nothing."""

    def flow() -> Flow[None]:
        yield Sleep(0, "copies may still become visible", trouble=trouble)

    with caplog.at_level("DEBUG", logger="airflow_provider_mqs"):
        MqsClient(settings_for()).run(flow())
        await AsyncMqsClient(settings_for()).run(flow())

    assert [record.levelname for record in caplog.records] == [level] * 2


class Canned:
    """A transport in memory, whose answers come from a clock of the test."""

    def __init__(self, now_s: list[float]) -> None:
        self.now_s = now_s
        self.closed = 0

    def send(self, request: Request) -> Response:
        assert request.url.startswith("http://127.0.0.1:1/")
        self.now_s[0] += 7
        return Response(200, {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}, b'{"engine": "kafka"}')

    def close(self) -> None:
        self.closed += 1


class AsyncCanned(Canned):
    """The same, to be awaited."""

    async def send(self, request: Request) -> Response:  # type: ignore[override]  # see there
        return super().send(request)

    async def close(self) -> None:  # type: ignore[override]  # see there
        super().close()


async def test_transport_and_clocks_of_the_caller_are_used() -> None:
    """A simulation gives its own, and may go on after the client was closed."""
    now_s, wall_s = [1000.0], 5.0
    transport = AsyncCanned(now_s)
    clock = ServiceClock(lambda: now_s[0], lambda: wall_s)
    client = AsyncMqsClient(settings_for(), auth=TokenAuth("t"), service_clock=clock, transport=transport)

    for _ in range(2):
        async with client:
            assert await client.run(client.api.show_instance()) == {"engine": "kafka"}

    assert transport.closed == 2
    assert client.api.monotonic() == 1014
    assert client.api.now_ms() == pytest.approx(1_700_000_007_500, abs=20)


def test_transport_and_clocks_of_the_caller_are_used_synchronously_too() -> None:
    """The same seams."""
    now_s = [1000.0]
    transport = Canned(now_s)
    clock = ServiceClock(lambda: now_s[0], lambda: 5.0)
    client = MqsClient(settings_for(), auth=TokenAuth("t"), service_clock=clock, transport=transport)

    for _ in range(2):
        with client:
            assert client.run(client.api.show_instance()) == {"engine": "kafka"}

    assert transport.closed == 2
    assert client.api.monotonic() == 1014


def test_a_triggerers_loop_does_not_wait_for_the_import_of_the_transport() -> None:
    """It takes 150 ms, so another thread does it; the interpreter is a fresh one."""
    command = [sys.executable, "-c", _WHO_IMPORTS]
    root = Path(__file__).parents[3]
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=root)

    assert "refused as expected, " in loaded.stdout
    assert "transport imported by main thread: [False]" in loaded.stdout


_WHO_IMPORTS = """
import asyncio, sys, threading
from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.flow import Request
from airflow_provider_mqs.exceptions import TransportError
from tests.support import settings_for

class Watch:
    seen = []
    def find_spec(self, name, path=None, target=None):
        if name.endswith(".transport_aiohttp"):
            self.seen.append(threading.current_thread() is threading.main_thread())

async def ask():
    async with AsyncMqsClient(settings_for()) as client:
        try:
            await client.perform(Request("GET", "http://127.0.0.1:1", {}))
        except TransportError:
            print("refused as expected,", end=" ")

sys.meta_path.insert(0, Watch())
asyncio.run(ask())
print("transport imported by main thread:", Watch.seen)
"""
