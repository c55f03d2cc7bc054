"""``airflow mqs …``: the same commands, where Airflow lets a provider add some (3.2 and later)."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_provider_mqs.cli.commands import COMMANDS

if TYPE_CHECKING:
    import argparse

    from airflow.cli.cli_config import CLICommand


def get_commands() -> list[CLICommand]:
    """
    Give the commands to Airflow.

    :return: one group
    """
    commands = [
        ActionCommand(name, help=summary, func=_Command(module), args=(_Arguments(module),))
        for name, (module, summary) in COMMANDS.items()
    ]
    return [GroupCommand("mqs", help="Work with Huawei Cloud ROMA Connect MQS", subcommands=commands)]


class _Command:
    """
    Runs a command, and ends the process with its exit code.

    :param module: has ``run(args) -> exit code``
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __call__(self, args: argparse.Namespace) -> NoReturn:
        sys.exit(import_module(self._module).run(args))


class _Arguments(Arg):
    """
    Declares the arguments of a command when it is parsed: Airflow builds all parsers whatever the user calls.

    :param module: has ``add_arguments(parser)``
    """

    def __init__(self, module: str) -> None:
        super().__init__(flags=("arguments",))  # type: ignore[no-untyped-call]  # Airflow's is
        self._module = module

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        """
        Wait until the parser is used.

        :param parser: of the command
        """
        parse = parser.parse_known_args

        def parse_known_args(*words: Any) -> Any:
            parser.parse_known_args = parse  # type: ignore[method-assign]  # declared once
            import_module(self._module).add_arguments(parser)
            return parse(*words)

        parser.parse_known_args = parse_known_args  # type: ignore[method-assign,assignment]  # argparse has no hook
