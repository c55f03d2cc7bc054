"""
Take one measurement: the service runs in one process, the contestant in another, and neither in this one.

As a program, this module is the contestant's process: its argument is a job, and it prints what it measured.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import CONTESTANTS, read_by
from benchmarks.job import Job
from benchmarks.scenario import PROJECT, START_MS, TOPIC, Scenario, fingerprint

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement: of the contestant's process, then what the service counted."""

    wall_s: float  # without imports
    cpu_s: float  # user and system
    memory: int  # bytes by which the process grew at its peak
    xcom: int  # bytes of what a task would push
    requests: int
    connections: int
    logins: int
    max_in_flight: int
    busy: float  # share of the time that the service's process worked


class Bench:
    """The service and a private Airflow home, for any number of measurements."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mqs-bench-")))
        command = [sys.executable, "-m", "benchmarks.server"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._server = self._stack.enter_context(process)
        assert self._server.stdout
        self.port = int(self._server.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()  # closes the service's input, which ends it

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    def set_up(self, scenario: Scenario) -> None:
        """Fill the service again, and set its counts to 0."""
        _admin(self.port, "PUT", "scenario", asdict(scenario))

    def counts(self) -> dict[str, Any]:
        """Return what the service has counted since it was filled."""
        return counts_at(self.port)

    def run(self, job: Job) -> Result:
        """Run a contestant once, and check that it read or resent every message exactly once."""
        self.set_up(job.scenario)
        with tempfile.TemporaryDirectory(dir=self._folder) as ledgers:
            found = self.child("benchmarks.measuring", replace(job, url=self.url, folder=ledgers))
        counts = self.counts()
        whole = fingerprint(job.scenario.refs())
        assert whole in (found.pop("read"), counts["resent"]), f"{job} missed a message, or had it twice."
        names = ("requests", "connections", "logins", "max_in_flight", "busy")
        return Result(**found, **{name: counts[name] for name in names})

    def capacity(self, scenario: Scenario, rounds: int = 50) -> tuple[float, float]:
        """Return the pages a second that the service serves at most, and how busy it is then."""
        self.set_up(replace(scenario, latency_ms=0))
        window = f"topic={TOPIC}&start_time={START_MS}&end_time={START_MS + 3_600_000}&limit=50&offset=0"
        request = f"GET /v2/{PROJECT}/messages?{window} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(request)
            size = len(connection.recv(1 << 20))
            began_s = time.perf_counter()
            for _ in range(rounds):
                connection.sendall(request * 100)  # at once, so that the service never waits for this process
                left = 100 * size
                while left:
                    left -= len(connection.recv(min(left, 1 << 20)))
            took_s = time.perf_counter() - began_s
        return 100 * rounds / took_s, self.counts()["busy"]

    def child(self, program: str, job: Any) -> dict[str, Any]:
        """Do a job in a process of its own, and return the JSON that it printed last."""
        command = [sys.executable, "-m", program, json.dumps(asdict(job))]
        own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        own |= {"AIRFLOW_HOME": str(self._folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        done = subprocess.run(
            command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{job} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured


def counts_at(port: int) -> dict[str, Any]:
    """Return what the service on a port has counted since it was filled."""
    return _admin(port, "GET", "counts")


def _admin(port: int, method: str, name: str, body: Any = None) -> dict[str, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)) as connection:
        connection.request(method, f"/admin/{name}", json.dumps(body))
        decoded: dict[str, Any] = json.loads(connection.getresponse().read())
    return decoded


def measured(job: Job) -> dict[str, Any]:
    """Measure the work of a contestant in this process."""
    work = CONTESTANTS[job.contestant](job)
    gc.collect()
    memory = resident()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    output = work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "memory": max(0, peak - memory),
        "xcom": len(json.dumps(output.xcom)) if output.xcom is not None else 0,
        "read": fingerprint(read_by(output)),
    }


def resident() -> int:
    """Return the bytes in memory now; the peak so far if the system does not say."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    outcome = measured(Job(**{**wanted, "scenario": Scenario(**wanted["scenario"])}))
    print(f"\n{json.dumps(outcome)}")
