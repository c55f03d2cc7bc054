"""Renew the pins of both Airflow series and the benchmarks: the newest that fit together everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Every package that the tests and the demo install, for Python 3.10 and newer. Renew with `make lock`.
# Airflow's versions are chosen in scripts/lock.py.
"""
BENCH = "constraints-bench.txt"
BENCH_HEADER = """\
# What `make bench` installs beside constraints.txt. Renew with `make lock`.
"""
# one resolution cannot hold two Airflow series; message queues came with Airflow 3
AIRFLOW = {
    "constraints.txt": ("apache-airflow~=3.3.2", "--extra", "messaging"),
    "constraints-2.11.txt": ("apache-airflow~=2.11.2",),
}
COMPILE = [
    *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"),
    *("--universal", "--python-version", "3.10", "--constraints", "-", "--upgrade"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
]


def resolve(name: str, group: str, constraints: str, *more: str) -> str:
    """Resolve the package with a dependency group, or leave with what uv says."""
    command = [*COMPILE, "--group", f"pyproject.toml:{group}", *more]
    done = subprocess.run(command, cwd=ROOT, input=constraints, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip()}")
    return done.stdout


def write(name: str, header: str, pins: str) -> None:
    """Write a file of pins."""
    (ROOT / name).write_text(header + pins)
    print(f"{name}: {len(pins.splitlines())} pins")


def main() -> None:
    """Write one file per series, and one of what the benchmarks need on top of the newest."""
    for name, (airflow, *extras) in AIRFLOW.items():
        write(name, HEADER, resolve(name, "dev", airflow, *extras))
    pinned = (ROOT / "constraints.txt").read_text()
    known = set(pinned.splitlines())
    more = [pin for pin in resolve(BENCH, "bench", pinned).splitlines(keepends=True) if pin.strip() not in known]
    write(BENCH, BENCH_HEADER, "".join(more))


if __name__ == "__main__":
    main()
