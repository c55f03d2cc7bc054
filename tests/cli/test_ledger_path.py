"""Where commands keep ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_mqs.cli.ledger_path import stores_of_command
from airflow_provider_mqs.core.ledger.stores import FileStore


def _folder(path: str | None = None) -> str:
    [store] = stores_of_command(path)
    assert isinstance(store, FileStore)
    return str(store.folder)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a home without XDG folders."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


def test_default_is_the_state_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder follows the XDG specification, where a relative path counts as not set."""
    home = "/home/somebody/.local/state/airflow-provider-mqs"
    assert _folder() == home
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert _folder() == home
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert _folder() == "/state/airflow-provider-mqs"


def test_configured_folder_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """``[mqs] ledger_path`` is that of the operators; the argument takes precedence."""
    monkeypatch.setenv("AIRFLOW__MQS__LEDGER_PATH", "/shared")
    assert _folder() == "/shared"
    assert _folder("/mine") == "/mine"


def test_path_may_be_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a command line ``.`` and ``~`` mean what they always mean."""
    monkeypatch.chdir(tmp_path)
    assert _folder("ledgers") == str(Path.cwd() / "ledgers")
    assert _folder("~/ledgers") == "/home/somebody/ledgers"
