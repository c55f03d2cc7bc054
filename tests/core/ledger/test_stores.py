"""A store keeps a value whole or not at all, and raises an error if it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_provider_mqs.core.ledger.stores import FileStore
from airflow_provider_mqs.exceptions import StoreError
from tests.support import MemoryStore


def test_values_come_back(tmp_path: Path) -> None:
    """A folder is created when it is first written to; the store of the tests behaves alike."""
    for store in (MemoryStore(), FileStore(tmp_path / "new" / "folder")):
        assert store.get("a.key") is None
        store.set("a.key", {"done": [[1, 2]]})
        store.set("a.key", {"done": [[1, 3]]})
        assert store.get("a.key") == {"done": [[1, 3]]}
        assert store.name


def test_a_failed_write_leaves_the_old_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves no temporary file either."""
    store = FileStore(tmp_path)
    store.set("key", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="cannot be written"):
        store.set("key", 2)

    assert store.get("key") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


def test_a_write_is_flushed_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after it loses neither the content nor the name, which is in the folder."""
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(str(Path(f"/proc/self/fd/{handle}").readlink())))

    FileStore(tmp_path).set("key", 1)

    assert [Path(one).parent for one in flushed] == [tmp_path, tmp_path.parent]
    assert flushed[1] == str(tmp_path)


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "key.json").write_text('{"done": [[1, ')

    with pytest.raises(StoreError, match=r"key\.json cannot be read"):
        FileStore(tmp_path).get("key")


def test_a_key_must_be_a_file_name(tmp_path: Path) -> None:
    """Nothing is read or written outside the folder."""
    with pytest.raises(StoreError, match="name of a file"):
        FileStore(tmp_path).get("../key")


def test_stores_of_one_folder_are_equal(tmp_path: Path) -> None:
    """Whoever names it."""
    assert FileStore(tmp_path) == FileStore(Path(str(tmp_path)))
    assert len({FileStore(tmp_path), FileStore(tmp_path), FileStore(tmp_path / "other")}) == 2
    assert FileStore(tmp_path) != MemoryStore()


def test_object_storage_is_written_in_one_piece(tmp_path: Path) -> None:
    """One PUT replaces the whole value."""

    class Storage:
        """A path of a storage that is no local one."""

        def __init__(self, path: Path) -> None:
            self.path = path

        def __truediv__(self, name: str) -> Storage:
            return Storage(self.path / name)

        def mkdir(self, **_: object) -> None: ...

        def read_text(self, encoding: str) -> str:
            return self.path.read_text(encoding)

        def write_text(self, text: str, encoding: str) -> None:
            self.path.write_text(text, encoding)

    store = FileStore(Storage(tmp_path))
    store.set("key", [1])

    assert store.get("key") == [1]
