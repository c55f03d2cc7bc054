"""
Where ledgers and the replay record are kept: JSON values by key, in anything that implements ``Store``.

A value is written whole or not at all, and what one worker writes, the next one reads. That is all a store promises: it
cannot compare and set, list its keys or expire values. Any error while reading or writing must become a ``StoreError``,
after which nothing is sent. The stores of Airflow itself are in ``tasks/stores``.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_mqs.exceptions import StoreError

_KEY = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Store(Protocol):
    """JSON values by key; a key consists of up to 200 letters, digits, ``.``, ``_`` and ``-``."""

    @property
    def name(self) -> str:
        """What logs and errors call it."""

    def get(self, key: str) -> Any | None:
        """Return a value, ``None`` if there is none."""

    def set(self, key: str, value: Any) -> None:
        """Write a value that JSON can hold, other than ``None``."""


class FileStore:
    """
    A folder with one file for each value, ``<key>.json``; a ``pathlib.Path`` or an ``ObjectStoragePath``.

    A local file is written under another name, flushed to disk and renamed, so that a crash leaves the old value or the
    new one. On object storage a single PUT does the same.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """What logs and errors call it."""
        return f"the folder {self.folder}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileStore) and str(other.folder) == str(self.folder)

    def __hash__(self) -> int:
        return hash(str(self.folder))

    def get(self, key: str) -> Any | None:
        """Return a value, ``None`` if there is none."""
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
        """Write a value; the folder is created if it does not exist."""
        path, text = self._path(key), json.dumps(value)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if isinstance(path, Path):
                _replace_file(path, text)
            else:
                path.write_text(text, encoding="utf-8")
        except Exception as error:
            raise StoreError(
                f"{path} cannot be written ({type(error).__name__}): check that the folder exists and is writable."
            ) from error

    def _path(self, key: str) -> Any:
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key[:60]!r} cannot be the name of a file.")
        return self.folder / f"{key}.json"


def _replace_file(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            # without it, some file systems survive a power cut with the new name and no content
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - the rename is the point
        _flush_folder(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _flush_folder(folder: Path) -> None:
    """Flush the names of files, which are in their folder; not every file system lets a folder be flushed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
