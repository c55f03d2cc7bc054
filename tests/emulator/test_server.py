"""The socket: latency, cut connections, many clients, a clean stop."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.testing import MqsEmulator, running_emulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client(mqs_emulator: MqsEmulator) -> Iterator[http.client.HTTPConnection]:
    """Provide a keep-alive connection to the service."""
    connection = http.client.HTTPConnection("127.0.0.1", mqs_emulator.port, timeout=10)
    yield connection
    connection.close()


def _token(emulator: MqsEmulator) -> dict[str, str]:
    return {"X-Auth-Token": emulator.service.iam.issue(emulator.identity.project_id)[0]}


def _instance(emulator: MqsEmulator) -> str:
    return f"/v2/{emulator.identity.project_id}/mqs/instances/{emulator.identity.instance_id}"


def _resend(emulator: MqsEmulator, client: http.client.HTTPConnection) -> int:
    body = json.dumps({"topic": "orders", "partition": 0, "message_offset": 0})
    client.request("POST", _instance(emulator) + "/messages/action?action_id=resend", body, _token(emulator))
    answer = client.getresponse()
    answer.read()
    return answer.status


def _wait_for_a_request(emulator: MqsEmulator) -> None:
    end_s = time.monotonic() + 10
    while not emulator.requests():
        assert time.monotonic() < end_s, "No request came."
        time.sleep(0.001)


def test_responses_are_sent_as_the_service_makes_them(
    mqs_emulator: MqsEmulator, client: http.client.HTTPConnection
) -> None:
    """With their status, headers and body, and with the service's own date."""
    mqs_emulator.faults.clock_offset_s = -86400
    client.request("GET", _instance(mqs_emulator), headers=_token(mqs_emulator))
    answer = client.getresponse()
    assert json.load(answer)["status"] == "RUNNING"
    assert answer.headers["Content-Type"] == "application/json;charset=utf8"
    assert answer.headers["X-Request-Id"] == mqs_emulator.requests()[0].trace
    yesterday = time.strftime("%a, %d %b %Y", time.gmtime(time.time() - 86400))
    assert answer.headers.get_all("Date") == [answer.headers["Date"]]
    assert answer.headers["Date"].startswith(yesterday)


def test_a_service_that_tells_no_date_sends_none(mqs_emulator: MqsEmulator, client: http.client.HTTPConnection) -> None:
    """Not even that of this machine, which would be the truth."""
    mqs_emulator.behave(date_header=False)
    client.request("GET", _instance(mqs_emulator), headers=_token(mqs_emulator))
    answer = client.getresponse()
    answer.read()

    assert (answer.status, answer.getheader("Date")) == (200, None)


def test_a_request_target_may_be_a_whole_url(mqs_emulator: MqsEmulator, client: http.client.HTTPConnection) -> None:
    """That is what a proxy receives, so the service can stand in for one."""
    client.request("GET", "http://roma.example.com" + _instance(mqs_emulator), headers=_token(mqs_emulator))
    assert client.getresponse().status == 200


def test_latency_delays_the_response(mqs_emulator: MqsEmulator, client: http.client.HTTPConnection) -> None:
    """It takes at least as long as the latency."""
    mqs_emulator.faults.latency_s = 0.05
    begin = time.perf_counter()
    client.request("GET", _instance(mqs_emulator))
    assert client.getresponse().status == 401
    assert time.perf_counter() - begin >= 0.05


@pytest.mark.parametrize(("fault", "copies"), [("drop_before", {}), ("drop_after", {(0, 0): 1})])
def test_a_cut_connection_brings_no_response(
    mqs_emulator: MqsEmulator, client: http.client.HTTPConnection, fault: str, copies: dict[tuple[int, int], int]
) -> None:
    """The client cannot tell whether the append happened."""
    mqs_emulator.append("orders")
    setattr(mqs_emulator.faults, fault, Rule(next=1))
    with pytest.raises(ConnectionError):
        _resend(mqs_emulator, client)
    assert mqs_emulator.resend_counts("orders") == copies
    assert [one.status for one in mqs_emulator.requests("resend")] == [0]
    client.close()
    assert _resend(mqs_emulator, client) == 200


def test_admin_routes_are_served(mqs_emulator: MqsEmulator, client: http.client.HTTPConnection) -> None:
    """They are on the same port."""
    client.request("PUT", "/admin/faults", json.dumps({"latency_s": 0.001}))
    assert json.load(client.getresponse())["latency_s"] == 0.001
    assert mqs_emulator.faults.latency_s == 0.001


def test_many_clients_at_once_lose_nothing(mqs_emulator: MqsEmulator) -> None:
    """Eight connections append to one partition, and every offset is used once."""
    mqs_emulator.append("orders")

    def work(_: int) -> list[int]:
        with closing(http.client.HTTPConnection("127.0.0.1", mqs_emulator.port, timeout=10)) as connection:
            return [_resend(mqs_emulator, connection) for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8), timeout=30)) == [[200] * 25] * 8
    assert [one.message_offset for one in mqs_emulator.messages("orders")] == list(range(201))


def test_it_stops_at_once_with_a_request_and_an_idle_connection_open() -> None:
    """It leaves no thread and no socket behind."""
    before = set(threading.enumerate())
    with running_emulator() as emulator:
        emulator.faults.latency_s = 60
        waiting = socket.create_connection(("127.0.0.1", emulator.port))
        waiting.sendall(f"GET {_instance(emulator)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        idle = socket.create_connection(("127.0.0.1", emulator.port))
        _wait_for_a_request(emulator)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 1
    assert set(threading.enumerate()) == before
    assert waiting.recv(1) == b""
    waiting.close()
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", emulator.port))


def test_a_response_that_nobody_waits_for_ends_with_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves no task in the loop, of which asyncio would complain."""
    loops: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def spy() -> asyncio.AbstractEventLoop:
        loops.append(make())
        return loops[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", spy)
    with running_emulator() as emulator:
        emulator.faults.latency_s = 50.0
        client = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=10)
        client.request("GET", _instance(emulator), headers=_token(emulator))
        _wait_for_a_request(emulator)
        client.close()
        emulator.faults.latency_s = 0.0
        client.request("GET", _instance(emulator), headers=_token(emulator))
        assert client.getresponse().status == 200
    client.close()

    assert asyncio.all_tasks(loops[0]) == set()


def test_a_taken_port_is_an_error(mqs_emulator: MqsEmulator) -> None:
    """It leaves no thread behind."""
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="address already in use"), running_emulator(port=mqs_emulator.port):
        raise AssertionError("unreachable")
    assert set(threading.enumerate()) == before
