"""What the commands share: the connection, a document on stdout, all else on stderr, an error as one sentence."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from airflow_provider_mqs.exceptions import ConfigurationError, MqsError

if TYPE_CHECKING:
    import argparse

Emit = Callable[[Mapping[str, Any]], None]
"""Writes the document of a command."""

OK: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
SIGNALLED: Final = 128
"""Add the number of the signal that ended a command."""
INTERRUPTED: Final = SIGNALLED + 2


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which connection and instance to use; ``doctor`` has these too."""
    parser.add_argument(
        "--conn-id",
        default="mqs_default",
        help="connection id; the variable AIRFLOW_CONN_<ID> is enough (default: mqs_default)",
    )
    parser.add_argument("--instance-id", help="instance to use (default: that of the connection)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which connection to use, and where the document goes."""
    add_connection_arguments(parser)
    parser.add_argument("--output", metavar="FILE", help="file for the JSON document (default: standard output)")


def run_command(args: argparse.Namespace, work: Callable[[argparse.Namespace, Emit], int]) -> int:
    """
    Do the work of a command and return its exit code: 2 if it refused its arguments, 1 if it failed, 130 after Ctrl-C.

    Only the document goes to stdout.
    """
    read_connections_of_the_database()
    emit = partial(_write, path=args.output, stdout=sys.stdout)
    try:
        _check_output(args.output)
        with _logs_on_stderr():
            return work(args, emit)
    except ConfigurationError as error:
        return say(str(error), REFUSED)
    except MqsError as error:
        return say(str(error), FAILED)
    except KeyboardInterrupt:
        return say("Interrupted.", INTERRUPTED)


def read_connections_of_the_database() -> None:
    """Let Airflow 3 look for connections in its database too, as ``airflow connections test`` does."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def say(sentence: str, code: int = OK) -> int:
    """Print a sentence to stderr and return the exit code."""
    print(sentence, file=sys.stderr, flush=True)
    return code


@contextmanager
def _logs_on_stderr() -> Iterator[None]:
    """Send what is printed and logged to stderr; Airflow logs to stdout."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr), ExitStack() as before:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stdout:
                before.callback(handler.setStream, handler.setStream(sys.stderr))
        yield


def _check_output(path: str | None) -> None:
    """Refuse a file that cannot be written before anything is sent, or the report would be lost at the end."""
    if path is None:
        return
    file = Path(path)
    if not os.access(file if file.exists() else file.parent, os.W_OK) or file.is_dir():
        raise ConfigurationError(f"--output {path[:200]!r} cannot be written: name a file in an existing folder.")


def _write(document: Mapping[str, Any], path: str | None, stdout: TextIO) -> None:
    text = f"{json.dumps(document)}\n"
    try:
        if path is None:
            stdout.write(text)
            stdout.flush()
        else:
            Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise MqsError(f"The document cannot be written ({error.strerror}).") from error
