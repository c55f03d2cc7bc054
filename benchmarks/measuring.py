"""
Take one measurement: the service in one process, the contestant in another, nothing of either in this one.

As a program it is the contestant's process: it reads a job from its argument and prints what it measured.
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
from benchmarks.shape import PROJECT, START_MS, TOPIC, Shape, fingerprint

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_S = 300


@dataclass(frozen=True, slots=True)
class Result:
    """
    One measurement.

    :param wall_s: seconds of the work, without imports
    :param cpu_s: processor seconds of the contestant's process, user and system
    :param memory: bytes by which its memory grew at the peak
    :param xcom: bytes of what a task would push
    :param requests: how many the service counted
    :param connections: how many were opened
    :param logins: how many tokens were fetched
    :param max_in_flight: requests that were in flight at once
    :param busy: share of the time that the service's process worked
    """

    wall_s: float
    cpu_s: float
    memory: int
    xcom: int
    requests: int
    connections: int
    logins: int
    max_in_flight: int
    busy: float


class Bench:
    """The service, and a private Airflow home, for as many measurements as wanted."""

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
        """Where the service is."""
        return f"http://127.0.0.1:{self.port}"

    def shape(self, shape: Shape) -> None:
        """Fill the service anew."""
        _admin(self.port, "PUT", "shape", asdict(shape))

    def counts(self) -> dict[str, Any]:
        """Give what the service counted since it was filled."""
        return counts_at(self.port)

    def run(self, job: Job) -> Result:
        """Run a contestant once, and check that it read or sent everything exactly once."""
        self.shape(job.shape)
        with tempfile.TemporaryDirectory(dir=self._folder) as ledgers:
            found = self.child("benchmarks.measuring", replace(job, url=self.url, folder=ledgers))
        counts = self.counts()
        whole = fingerprint(job.shape.places())
        assert whole in (found.pop("read"), counts["resent"]), f"{job} missed something, or had it twice."
        names = ("requests", "connections", "logins", "max_in_flight", "busy")
        return Result(**found, **{name: counts[name] for name in names})

    def capacity(self, shape: Shape, rounds: int = 50) -> tuple[float, float]:
        """Give pages a second that the service serves when asked as fast as it can, and how busy it is then."""
        self.shape(replace(shape, latency_ms=0))
        window = f"topic={TOPIC}&start_time={START_MS}&end_time={START_MS + 3_600_000}&limit=50&offset=0"
        request = f"GET /v2/{PROJECT}/messages?{window} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(request)
            size = len(connection.recv(1 << 20))
            began_s = time.perf_counter()
            for _ in range(rounds):
                _pipelined(connection, request, 100, size)
            took_s = time.perf_counter() - began_s
        return 100 * rounds / took_s, self.counts()["busy"]

    def child(self, program: str, job: Any) -> dict[str, Any]:
        """Do a job in a process of its own, and give what that printed last."""
        command = [sys.executable, "-m", program, json.dumps(asdict(job))]
        own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        own |= {"AIRFLOW_HOME": str(self._folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        done = subprocess.run(
            command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{job} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured


def counts_at(port: int) -> dict[str, Any]:
    """Give what the service on a port counted since it was filled."""
    return _admin(port, "GET", "counts")


def _admin(port: int, method: str, name: str, body: Any = None) -> dict[str, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
        connection.request(method, f"/admin/{name}", json.dumps(body))
        decoded: dict[str, Any] = json.loads(connection.getresponse().read())
    return decoded


def _pipelined(connection: socket.socket, request: bytes, times: int, size: int) -> None:
    """Ask many times at once, and read until everything has come."""
    connection.sendall(request * times)
    left = times * size
    while left:
        left -= len(connection.recv(min(left, 1 << 20)))


def measured(job: Job) -> dict[str, Any]:
    """Do the work of a contestant in this process."""
    work = CONTESTANTS[job.contestant](job)
    gc.collect()
    memory = resident()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    haul = work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "memory": max(0, peak - memory),
        "xcom": len(json.dumps(haul.xcom)) if haul.xcom is not None else 0,
        "read": fingerprint(read_by(haul)),
    }


def resident() -> int:
    """Give the bytes in memory at this moment; the peak so far where the system does not say."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    outcome = measured(Job(**{**wanted, "shape": Shape(**wanted["shape"])}))
    print(f"\n{json.dumps(outcome)}")
