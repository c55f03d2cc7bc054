"""Where ledgers and records are kept: JSON values by key, in memory or in a folder."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_mqs.exceptions import StoreError

_KEY = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Store(Protocol):
    """Keeps JSON values by key; what one worker writes, the next one reads."""

    @property
    def name(self) -> str:
        """What it is, for logs and errors."""

    def get(self, key: str) -> Any | None:
        """
        Read a value.

        :param key: letters, digits, ``.``, ``_``, ``-``
        :return: the value, ``None`` where there is none
        :raises StoreError: it cannot be read
        """

    def set(self, key: str, value: Any) -> None:
        """
        Write a value, whole or not at all.

        :param key: letters, digits, ``.``, ``_``, ``-``
        :param value: anything that JSON can hold, but ``None``
        :raises StoreError: it could not be written
        """


class FileStore:
    """
    Keeps each value in a file of a folder, ``<key>.json``.

    A local file is written under another name, made safe on disk, then renamed, so that a crash leaves the old value or
    the new one. On object storage one PUT does the same.

    :param folder: a ``pathlib.Path``, or an ``ObjectStoragePath``; made when first written to
    """

    def __init__(self, folder: Any) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """What it is, for logs and errors."""
        return f"the folder {self.folder}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileStore) and str(other.folder) == str(self.folder)

    def __hash__(self) -> int:
        return hash(str(self.folder))

    def get(self, key: str) -> Any | None:
        """See ``Store``."""
        path = self._path(key)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except Exception as error:
            # an object storage raises errors of its own
            raise StoreError(
                f"{path} cannot be read ({type(error).__name__}): restore it, or remove it if you know what was sent."
            ) from error

    def set(self, key: str, value: Any) -> None:
        """See ``Store``."""
        path, text = self._path(key), json.dumps(value)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if isinstance(path, Path):
                _replace(path, text)
            else:
                path.write_text(text, encoding="utf-8")
        except Exception as error:
            raise StoreError(
                f"{path} cannot be written ({type(error).__name__}): check that the folder is there and may be written."
            ) from error

    def _path(self, key: str) -> Any:
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key[:60]!r} cannot be the name of a file.")
        return self.folder / f"{key}.json"


@dataclass(frozen=True, slots=True)
class ReplayStores:
    """
    Where a replay is remembered; nowhere by default.

    :param ledger: where later tries of the same task look; ``None`` where only records are kept
    :param records: where other replays and queries look; each holds all that it was told
    """

    ledger: Store | None = None
    records: tuple[Store, ...] = ()

    @property
    def stores(self) -> tuple[Store, ...]:
        """All of them, each once, in the order in which they are written."""
        own = () if self.ledger is None or self.ledger in self.records else (self.ledger,)
        return (*own, *self.records)


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - the rename is the point
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
