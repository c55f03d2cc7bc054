"""Which step of a connection is blamed for what."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import AuthenticationError
from airflow_provider_mqs.hooks.connection_check import STEPS, CheckResult, check_connection, diagnose
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.testing import running_emulator
from tests.core.client.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

pytestmark = pytest.mark.usefixtures("connect")
OTHER_PROJECT = "fedcba9876543210fedcba9876543210"


def _results() -> list[CheckResult]:
    with MqsHook() as hook:
        hook.get_conn().api.policy = RetryPolicy(max_retries=0)
        return list(check_connection(hook.get_conn()))


def test_good_connection_passes_every_step(hour: tuple[int, int]) -> None:
    """Each step has a result, in order, and none fails."""
    found = _results()
    assert tuple(result.step for result in found) == STEPS
    assert all(result.ok is not False for result in found)


@pytest.mark.parametrize(
    ("fields", "step", "remedy"),
    [
        ({"host": "https://mqs.invalid", "extra": {"project_id": "p"}}, "endpoint", "'host'"),
        ({"password": "wrong"}, "login", "'password'"),
        ({"extra": {"domain_name": "wrong"}}, "login", "'domain_name'"),
        ({"auth_type": "access_key", "password": "wrong"}, "login", "secret access key"),
        ({"auth_type": "token", "extra": {"auth_token": "wrong"}}, "login", "'auth_token'"),
        ({"extra": {"iam_endpoint": "http://127.0.0.1:9"}}, "login", "'iam_endpoint'"),
        ({"extra": {"project_id": "nowhere"}}, "project", "'project_id'"),
        ({"extra": {"project_id": OTHER_PROJECT}}, "instance", "'project_id'"),
        ({"extra": {"instance_id": "640bb069-151e-4d5e-bd1b-00000000dead"}}, "instance", "'instance_id'"),
        ({"extra": {"instance_id": "short"}}, "instance", "'instance_id'"),
    ],
)
def test_wrong_field_is_blamed(connect: Callable[..., None], fields: dict[str, Any], step: str, remedy: str) -> None:
    """The last result names the step that failed and the field to correct."""
    connect(**fields)
    last = _results()[-1]
    assert (last.step, last.ok) == (step, False)
    assert remedy in last.text


def test_closed_port(connect: Callable[..., None]) -> None:
    """If nobody listens, the endpoint is to blame."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        connect(host=f"http://127.0.0.1:{taken.getsockname()[1]}")
        last = _results()[-1]
    assert (last.step, last.ok) == ("endpoint", False)
    assert "firewall" in last.text


def test_https_to_a_http_server(connect: Callable[..., None], mqs_emulator: MqsEmulator) -> None:
    """A server that speaks no TLS can be reached, and fails at TLS."""
    connect(host=mqs_emulator.url.replace("http:", "https:"))
    *before, last = _results()
    assert [result.step for result in before] == ["endpoint"]
    assert (last.step, last.ok) == ("TLS", False)


def test_wrong_path_prefix(connect: Callable[..., None], mqs_emulator: MqsEmulator) -> None:
    """A gateway without this API is not an MQS endpoint."""
    connect(host=f"{mqs_emulator.url}/elsewhere")
    last = _results()[-1]
    assert (last.step, last.ok) == ("endpoint", False)
    assert "path prefix" in last.text


def test_connection_without_instance(connect: Callable[..., None]) -> None:
    """If the connection names no instance, the result says so and is no failure."""
    connect(extra={"instance_id": None})
    found = _results()
    assert [(result.step, result.ok) for result in found[-2:]] == [("instance", None), ("permission", None)]


@pytest.mark.parametrize(
    ("fault", "operation", "step"),
    [
        ("error_403", "login", "login"),
        ("error_403", "instance", "permission"),
        ("error_403", "topics", "permission"),
        ("redirect", "login", "login"),
        ("redirect", "instance", "endpoint"),
        ("error_500", "login", "login"),
        ("error_500", "instance", "instance"),
        ("error_500", "topics", "permission"),
        ("throttle_429", "topics", "permission"),
        ("drop_before", "instance", "instance"),
    ],
)
def test_fault_is_blamed_on_its_step(fault: str, operation: str, step: str, mqs_emulator: MqsEmulator) -> None:
    """Each error of the service is blamed on the step that it is about."""
    setattr(mqs_emulator.faults, fault, Rule(next=9, operations=frozenset({operation})))
    last = _results()[-1]
    assert (last.step, last.ok) == (step, False)


def test_other_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that does not run Kafka has no partitions to replay."""
    with MqsHook() as hook:
        client = hook.get_conn()
        monkeypatch.setattr(type(client.api), "show_instance", lambda _: iter_result({"engine": "reliability"}))
        last = list(check_connection(client))[-2]
    assert (last.step, last.ok) == ("instance", False)
    assert "Kafka" in last.text


def iter_result(value: dict[str, Any]) -> Any:
    """Make a flow without any step."""
    return value
    yield


@pytest.mark.parametrize(
    ("extra", "ok", "text"),
    [({}, False, "'ca_bundle'"), ({"ca_bundle": True}, True, "trusted"), ({"verify_tls": False}, None, "not checked")],
)
def test_certificate(
    extra: dict[str, Any], ok: bool | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate is refused, trusted by its CA's file, or not checked at all; the step says which."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("server", address="127.0.0.1"))
    extra = {name: str(authority.path) if name == "ca_bundle" else value for name, value in extra.items()}
    with running_emulator(tls=context) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", emulator.connection_json(**extra))
        (tls,) = [result for result in _results() if result.step == "TLS"]
    assert tls.ok is ok
    assert text in tls.text


def test_credentials_of_another_project() -> None:
    """The service's own code for that blames the project, whatever the status."""
    with MqsHook() as hook:
        error = AuthenticationError(401, "DMS.10240104", "Project mismatch.")
        found = diagnose("instance", error, hook.settings)
    assert (found.step, found.ok) == ("project", False)
    assert "'project_id'" in found.text
