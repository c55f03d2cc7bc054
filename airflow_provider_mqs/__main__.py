"""``python -m airflow_provider_mqs``: finds the command; each is imported only when it is asked for."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM: Final = "python -m airflow_provider_mqs"
# command -> (module with add_arguments(parser) and run(args) -> exit code, what it does);
# the emulator's module needs no Airflow
_COMMANDS: Final = {
    "doctor": (
        "airflow_provider_mqs.cli.doctor",
        "check a connection step by step, and measure how the service answers",
    ),
    "emulator": ("airflow_provider_mqs.emulator.command", "run a local MQS service"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    :param argv: the words behind the program's name; default those of this process
    :return: exit code
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Work with Huawei Cloud ROMA Connect MQS without a running Airflow.",
        epilog="\n".join(f"{name:10} {summary}" for name, (_, summary) in _COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=sorted(_COMMANDS), help="what to do; each has its own --help")
    command = parser.parse_args(words[:1]).command
    module_name, summary = _COMMANDS[command]
    module = import_module(module_name)
    own = argparse.ArgumentParser(prog=f"{_PROGRAM} {command}", description=f"{summary[0].upper()}{summary[1:]}.")
    module.add_arguments(own)
    return int(module.run(own.parse_args(words[1:])))


if __name__ == "__main__":
    sys.exit(main())
