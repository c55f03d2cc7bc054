"""Where commands keep ledgers, so that a second call resumes, and a query knows the copies of a resend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mqs.tasks.stores import stores_of_run

if TYPE_CHECKING:
    import argparse

    from airflow_provider_mqs.core.ledger.stores import ReplayStores

_NAME = "airflow-provider-mqs"


def add_argument(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    """
    Declare ``--ledger-path``.

    :param parser: of a command, or a group of it
    """
    parser.add_argument(
        "--ledger-path",
        metavar="FOLDER",
        help="folder of the ledgers, local or a URL that ObjectStoragePath knows "
        f"(default: ledger_path of section mqs in airflow.cfg, else $XDG_STATE_HOME/{_NAME} or ~/.local/state/{_NAME})",
    )


def ledger_folder(path: str | None) -> ReplayStores:
    """
    Find the folder; nothing is made before it is written to.

    :param path: what the user said, relative to the working directory; ``None`` for the default
    :return: the folder, for ledgers and for the record of replays
    :raises ConfigurationError: the folder is on a storage that is not installed
    """
    if path is not None and "://" not in path:
        path = str(Path(path).expanduser().absolute())
    found = stores_of_run({}, path)
    return found if found.records else stores_of_run({}, str(_state_home() / _NAME))


def _state_home() -> Path:
    """Give the user's folder for state that outlives a process (XDG Base Directory Specification)."""
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    # what is relative there counts as not set
    return home if home.is_absolute() else Path.home() / ".local" / "state"
