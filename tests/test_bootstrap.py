"""Which Python the first command takes, what it says if none fits, and when it installs again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from scripts import bootstrap

if TYPE_CHECKING:
    from pathlib import Path

ANY = bootstrap.Series(bootstrap.ROOT, bootstrap.SERIES["3.3"].pins, (3, 10), (3, 99))


def test_the_running_python_comes_first() -> None:
    """`make test PYTHON=python3.12` uses that Python if it fits."""
    assert bootstrap.candidates(ANY)[0] == sys.executable


@pytest.mark.parametrize("bounds", [((3, 1), (3, 2)), ((3, 98), (3, 99))])
def test_an_unfit_python_is_named(bounds: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """For a Python that is too new or too old, one sentence names its version and those that fit."""
    problem = bootstrap.problem(sys.executable, ANY._replace(oldest=bounds[0], newest=bounds[1]))
    assert problem is not None
    assert f"is Python 3.{sys.version_info.minor}; this needs 3.{bounds[0][1]} to 3.{bounds[1][1]}." in problem


def test_missing_venv_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's Python without python3-venv has no ensurepip; the sentence names the package."""
    (tmp_path / "ensurepip.py").write_text("raise ModuleNotFoundError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(bootstrap, "candidates", lambda _: [sys.executable])
    with pytest.raises(SystemExit, match=r"no venv/ensurepip: install it .*apt install python3-venv"):
        bootstrap.find_python(ANY)


def test_a_python_that_does_not_start_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version manager's stub for an inactive version is not taken."""
    stub = tmp_path / "python3.12"
    stub.write_text("#!/bin/sh\nexit 127\n")
    stub.chmod(0o755)
    monkeypatch.setattr(bootstrap, "candidates", lambda _: [str(stub), sys.executable])
    assert bootstrap.find_python(ANY) == sys.executable


def test_the_environment_is_made_again_if_the_pins_change(tmp_path: Path) -> None:
    """And only then."""
    pins = tmp_path / "constraints.txt"
    pins.write_text("a==1\n")
    before = bootstrap.fingerprint(ANY._replace(pins=pins))
    assert bootstrap.fingerprint(ANY._replace(pins=pins)) == before
    pins.write_text("a==2\n")
    assert bootstrap.fingerprint(ANY._replace(pins=pins)) != before
