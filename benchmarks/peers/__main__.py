"""Run the sensors, keep what was observed, and write the table of the page."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import ROOT
from benchmarks.report import write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peers.peer import Peer

RAW = Path(__file__).with_name("observed.json")
PAGE = ROOT / "docs/waiting.md"


def peers() -> dict[str, Callable[[], Peer]]:
    """Name the sensors; importing them is what needs their packages."""
    from benchmarks.peers.kafka import Kafka
    from benchmarks.peers.rest import Http, Ours
    from benchmarks.peers.sqs import Sqs

    return {one.name: one for one in (Ours, Sqs, Kafka, Http)}


def observe(names: Sequence[str]) -> dict[str, Any]:
    """Run everything, in an Airflow of its own."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="false", AIRFLOW__CORE__UNIT_TEST_MODE="true")
        from benchmarks.peers.observing import run

        made = peers()
        found = {name: run(made[name]()) for name in names or made}
    versions = {"Airflow": version("apache-airflow"), "Python": platform.python_version()}
    return {"versions": versions, "peers": found}


def lines(document: Any, depth: int = 5, indent: str = "") -> str:
    """Write JSON with a line for each case and mode."""
    if not depth or not document or not isinstance(document, dict):
        return json.dumps(document)
    inner = indent + " "
    members = (f"{inner}{json.dumps(name)}: {lines(value, depth - 1, inner)}" for name, value in document.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def main() -> None:
    """Observe, or write the page again of what was observed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", nargs="*", default=(), help="sensors, for a look only: nothing is written")
    parser.add_argument("--again", action="store_true", help="run nothing, take the last observations")
    wanted = parser.parse_args()
    if wanted.only:
        print(json.dumps(observe(wanted.only), indent=1))
        return
    if not wanted.again:
        RAW.write_text(lines(observe(())) + "\n")
    from benchmarks.peers.table import page

    write(PAGE, page(json.loads(RAW.read_text())))


if __name__ == "__main__":
    main()
