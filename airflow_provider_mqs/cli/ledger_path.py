"""``--ledger-path``: where commands keep ledgers, so that a second call resumes and a query knows earlier copies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mqs.tasks.stores import choose_stores, configured_store, open_folder

if TYPE_CHECKING:
    import argparse

    from airflow_provider_mqs.core.ledger.stores import Store

_NAME = "airflow-provider-mqs"


def add_argument(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    """
    Declare ``--ledger-path``.

    :param parser: of a command, or a group of it
    """
    parser.add_argument(
        "--ledger-path",
        metavar="FOLDER",
        help="folder of the ledgers: a path, or a URL of ObjectStoragePath "
        f"(default: ledger_path of section mqs in airflow.cfg, else $XDG_STATE_HOME/{_NAME} or ~/.local/state/{_NAME})",
    )


def stores_of_command(ledger_path: str | None) -> tuple[Store, ...]:
    """
    Choose the stores of a command: one folder for ledgers and indexes.

    :param ledger_path: what the user gave, relative to the working directory; ``None`` for the default
    :return: the stores; nothing is created before it is written to
    :raises ConfigurationError: the folder is on a storage that is not installed
    """
    if ledger_path is not None and "://" not in ledger_path:
        ledger_path = str(Path(ledger_path).expanduser().absolute())
    state_home = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():  # the XDG Base Directory Specification: then it counts as not set
        state_home = Path.home() / ".local" / "state"
    return choose_stores(configured_store(ledger_path) or open_folder(str(state_home / _NAME)))
