"""Renew the pins of both Airflow series: the newest versions that fit together on every Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Every package that the tests and the demo install, for Python 3.10 and newer. Renew with `make lock`.
# Airflow's versions are chosen in scripts/lock.py.
"""
# one resolution cannot hold two Airflow series
AIRFLOW = {"constraints.txt": "apache-airflow~=3.3.2", "constraints-2.11.txt": "apache-airflow~=2.11.2"}
COMPILE = [
    *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--group", "pyproject.toml:dev"),
    *("--universal", "--python-version", "3.10", "--constraints", "-", "--upgrade"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
]


def main() -> None:
    """Write one file per series."""
    for name, airflow in AIRFLOW.items():
        done = subprocess.run(COMPILE, cwd=ROOT, input=airflow, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr.strip()}")
        (ROOT / name).write_text(HEADER + done.stdout)
        print(f"{name}: {len(done.stdout.splitlines())} pins")


if __name__ == "__main__":
    main()
