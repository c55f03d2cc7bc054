"""The commands as ``airflow mqs …``, if Airflow lets a provider add commands (3.2 and later)."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

from airflow_provider_mqs.cli.commands import COMMANDS

if TYPE_CHECKING:
    import argparse


def get_commands() -> list[CLICommand]:
    """Return the commands, as one group."""
    commands = [
        ActionCommand(name, help=summary, func=partial(run_and_exit, module), args=(_Arguments(module),))
        for name, (module, summary) in COMMANDS.items()
    ]
    return [GroupCommand("mqs", help="Work with Huawei Cloud ROMA Connect MQS", subcommands=commands)]


def run_and_exit(module: str, args: argparse.Namespace) -> NoReturn:
    """Run a command and end the process with its exit code, since Airflow drops what a command returns."""
    sys.exit(import_module(module).run(args))


class _Arguments(Arg):
    """Declares the arguments of a command when it is called: Airflow builds all parsers whatever the user calls."""

    def __init__(self, module: str) -> None:
        super().__init__(flags=("arguments",))  # type: ignore[no-untyped-call]  # Airflow's is
        self._module = module

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments once the parser is used."""
        parse = parser.parse_known_args

        def parse_known_args(*words: Any) -> Any:
            parser.parse_known_args = parse  # type: ignore[method-assign]  # declared once
            import_module(self._module).add_arguments(parser)
            return parse(*words)

        parser.parse_known_args = parse_known_args  # type: ignore[method-assign,assignment]  # argparse has no hook
