"""``airflow mqs``: the same commands inside Airflow's own command line."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.cli.cli_config import ActionCommand, GroupCommand

import airflow_provider_mqs
from airflow_provider_mqs.cli.airflow_commands import get_commands
from airflow_provider_mqs.cli.commands import COMMANDS
from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

ROOT = Path(airflow_provider_mqs.__file__).parents[1]
TAKES_COMMANDS = pytest.mark.skipif(AIRFLOW < (3, 2), reason="a provider cannot add commands before Airflow 3.2")


def _commands() -> dict[str, ActionCommand]:
    (group,) = get_commands()
    assert isinstance(group, GroupCommand)
    assert group.name == "mqs"
    return {command.name: command for command in group.subcommands}


def _parser(command: ActionCommand) -> argparse.ArgumentParser:
    """Build a parser as Airflow does."""
    parser = argparse.ArgumentParser()
    for arg in command.args:
        arg.add_to_parser(parser)
    parser.set_defaults(func=command.func)
    return parser


def _python(*words: str) -> str:
    """Run Python with the package that is being tested, even if another one is installed; return what it prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_airflow_has_every_command() -> None:
    """The group has what ``python -m airflow_provider_mqs`` has."""
    assert _commands().keys() == COMMANDS.keys() == {"doctor", "emulator", "query", "resend"}


def test_exit_code_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Airflow drops what a command returns, so it ends the process itself."""
    args = _parser(_commands()["query"]).parse_args(["--topic", "orders"])
    with pytest.raises(SystemExit) as caught:
        args.func(args)
    assert caught.value.code == 2
    assert "set either --start or --lookback" in capsys.readouterr().err


def test_parser_can_be_used_twice() -> None:
    """The arguments are declared once."""
    parser = _parser(_commands()["query"])
    assert [parser.parse_args(["--topic", topic]).topic for topic in "ab"] == ["a", "b"]


def test_commands_are_imported_when_they_are_called() -> None:
    """Airflow builds all parsers in every call; that must not import the emulator, nor any client."""
    code = (
        "import argparse, sys\n"
        "from airflow_provider_mqs.cli.airflow_commands import get_commands\n"
        "for command in get_commands()[0].subcommands:\n"
        "    for arg in command.args:\n"
        "        arg.add_to_parser(argparse.ArgumentParser())\n"
        "heavy = ('aiohttp', 'airflow_provider_mqs.hooks', 'airflow_provider_mqs.emulator')\n"
        "print(sorted(set(heavy) & set(sys.modules)))"
    )
    assert _python("-c", code).splitlines()[-1] == "[]"


@TAKES_COMMANDS
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_airflow(name: str) -> None:
    """Airflow's own parser shows the arguments of each command."""
    option = {"doctor": "--probe-topic", "emulator": "--fault", "query": "--lookback", "resend": "--on-replayed"}
    assert option[name] in _python("-m", "airflow", "mqs", name, "--help")


@TAKES_COMMANDS
def test_query_of_airflow(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under ``airflow``, too, only the document goes to stdout."""
    # Airflow would say so on stdout before it knows the command
    monkeypatch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
    end = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    mqs.seed("orders", 30, end - timedelta(hours=1), end)
    words = ["query", "--topic", "orders", "--start", (end - timedelta(hours=1)).isoformat(), "--end", end.isoformat()]
    document: dict[str, Any] = json.loads(_python("-m", "airflow", "mqs", *words))
    assert document["count"] == 30
