"""
Create the virtual environment of this repository with the pinned versions. Fast when nothing has changed.

The room's job: from any Python that has ``venv`` to a ready ``.venv``, with the standard library alone. Where
packages come from is decided by the machine's own settings of pip and uv.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# where version managers keep interpreters that are not on the PATH
MANAGED = (".pyenv/versions/3.{}.*/bin/python3", ".local/share/uv/python/cpython-3.{}.*/bin/python3")
PROBE = "import sys; print(*sys.version_info[:2]); import venv, ensurepip"


class Series(NamedTuple):
    """An Airflow series: where it is installed, its pins, and the Python versions that it runs on."""

    venv: Path
    pins: Path
    oldest: tuple[int, int]
    newest: tuple[int, int]

    @property
    def pythons(self) -> str:
        """Say which versions fit."""
        return "{}.{} to {}.{}".format(*self.oldest, *self.newest)


SERIES = {
    "3.3": Series(ROOT / ".venv", ROOT / "constraints.txt", (3, 10), (3, 14)),
    "2.11": Series(ROOT / ".venv-2.11", ROOT / "constraints-2.11.txt", (3, 10), (3, 12)),
}


def candidates(series: Series) -> list[str]:
    """List the interpreter that runs this file, then others of a fitting version that can be found."""
    minors = range(series.newest[1], series.oldest[1] - 1, -1)
    on_path = [shutil.which(f"python3.{minor}") for minor in minors]
    managed = [str(p) for minor in minors for place in MANAGED for p in Path.home().glob(place.format(minor))]
    return [sys.executable, *filter(None, on_path), *managed]


def problem(python: str, series: Series) -> str | None:
    """Say why an interpreter cannot be used, None when it can."""
    probe = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
    version = tuple(int(part) for part in probe.stdout.split())
    if not version:
        return f"{python} does not start."
    if not series.oldest <= version <= series.newest:
        return f"{python} is Python {version[0]}.{version[1]}; this needs {series.pythons}."
    if probe.returncode:
        return f"{python} has no venv/ensurepip: install it (Debian, Ubuntu: apt install python3-venv)."
    return None


def find_python(series: Series) -> str:
    """Take the first interpreter that fits, or leave with one sentence about the nearest miss."""
    problems = []
    for python in candidates(series):
        found = problem(python, series)
        if found is None:
            return python
        problems.append(found)
    no_venv = [text for text in problems if "ensurepip" in text]
    sys.exit((no_venv or problems)[0])


def fingerprint(series: Series) -> str:
    """Hash what the environment depends on: the place, the Python that was asked for, the files."""
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for path in (
        series.pins,
        ROOT / "pyproject.toml",
        ROOT / "airflow_provider_mqs/__init__.py",
        Path(__file__),
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def succeeds(*command: str | Path) -> bool:
    """Run a command in the repository and say whether it succeeded."""
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode == 0


def install(python: Path, series: Series) -> bool:
    """Install the pins, then this package, with uv where it works here, else with pip."""
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    uv = (python, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python)
    for installer in (uv, pip):
        if installer is uv and not succeeds(*pip, "-c", series.pins, "uv"):
            continue
        # the pins are the whole closure, build backend included: nothing else is resolved or downloaded
        itself = ("--no-deps", "--no-build-isolation", "--editable", ".")
        if succeeds(*installer, "-r", series.pins) and succeeds(*installer, *itself):
            return True
        print(f"That did not work with {installer[2]}.", flush=True)
    return False


def main() -> None:
    """Bring the environment of the chosen series up to date."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--airflow", choices=SERIES, default="3.3", help="series (default: %(default)s)")
    series = SERIES[parser.parse_args().airflow]
    stamp, python = series.venv / "fingerprint", series.venv / "bin/python"
    wanted = fingerprint(series)
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return
    base = find_python(series)
    print(
        f"Installing the versions of {series.pins.name} into {series.venv.name}, once: about a minute.",
        flush=True,
    )
    if not succeeds(base, "-m", "venv", "--clear", series.venv):
        sys.exit(f"{base} could not create {series.venv}; the reason is above.")
    if not install(python, series):
        sys.exit("The packages could not be installed; the reason is above. pip's own settings say where from.")
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
