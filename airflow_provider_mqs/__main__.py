"""``python -m airflow_provider_mqs``: finds the command and imports only that one."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.cli.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM: Final = "python -m airflow_provider_mqs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` is what follows the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Work with Huawei Cloud ROMA Connect MQS without a running Airflow.",
        epilog="\n".join(f"{name:10} {summary}" for name, (_, summary) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=sorted(COMMANDS), help="what to do; each has its own --help")
    command = parser.parse_args(words[:1]).command
    module_name, summary = COMMANDS[command]
    with redirect_stdout(sys.stderr):
        # Airflow logs while it is imported, but stdout is for documents
        module = import_module(module_name)
    own = argparse.ArgumentParser(prog=f"{_PROGRAM} {command}", description=f"{summary}.")
    module.add_arguments(own)
    return int(module.run(own.parse_args(words[1:])))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # while something was imported; a running command handles it itself
        sys.exit(128 + signal.SIGINT)
