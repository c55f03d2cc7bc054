"""How the hook opens a connection, and what it hides from the logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_mqs.hooks import base
from airflow_provider_mqs.hooks import connection as hook_connection
from airflow_provider_mqs.hooks.mqs import MqsHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator

pytestmark = pytest.mark.usefixtures("connect")


def test_nothing_is_read_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook made while a DAG file is parsed looks nothing up."""
    monkeypatch.delenv("AIRFLOW_CONN_MQS_DEFAULT")
    assert MqsHook().mqs_conn_id == "mqs_default"


def test_airflow_makes_the_hook_by_itself() -> None:
    """``BaseHook.get_hook`` finds the class by the connection's type."""
    hook = BaseHook.get_hook("mqs_default")
    assert isinstance(hook, MqsHook)
    assert hook.mqs_conn_id == "mqs_default"


def test_instance_of_the_argument_comes_first(mqs_emulator: MqsEmulator) -> None:
    """An operator may name another instance; what a template makes of nothing is nothing."""
    assert MqsHook(instance_id="other").get_conn().api.instance_id == "other"
    assert MqsHook(instance_id="None").get_conn().api.instance_id == mqs_emulator.identity.instance_id


def test_token_of_a_login_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token made at run time is hidden from logs, as the password is."""
    hidden: list[str] = []
    monkeypatch.setattr(base, "mask_secret", hidden.append)
    monkeypatch.setattr(hook_connection, "mask_secret", hidden.append)
    MqsHook().show_instance()
    password, token = hidden
    assert password == "demo-password"
    assert len(token) > 50


async def test_token_of_a_login_is_masked_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a coroutine, where masking must not block the loop."""
    hidden: list[str] = []

    async def hide(secret: str) -> None:
        hidden.append(secret)

    monkeypatch.setattr(base, "amask_secret", hide)
    monkeypatch.setattr(hook_connection, "amask_secret", hide)
    async with MqsHook() as hook:
        await hook.ashow_instance()
    assert hidden[0] == "demo-password"
    assert len(hidden[1]) > 50


async def test_asynchronous_client_is_one(mqs_emulator: MqsEmulator) -> None:
    """One client serves all calls of a hook, with the concurrency that was asked for first."""
    async with MqsHook() as hook:
        client = await hook.aget_conn(concurrency=3)
        assert client is await hook.aget_conn()
        assert client.concurrency == 3
    await hook.aclose()


def test_secrets_stay_out_of_repr(connect: Callable[..., None]) -> None:
    """Neither hook nor client nor settings show a secret."""
    connect(extra={"proxy": "http://user:proxy-password@127.0.0.1:3128"})
    hook = MqsHook()
    client = hook.get_conn()
    shown = f"{hook!r} {client!r} {client.settings!r} {client.api!r} {vars(hook)}"
    assert "demo-password" not in shown
    assert "proxy-password" not in shown
