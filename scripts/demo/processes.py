"""Programs in the background: each is started in a session of its own, watched, and stopped with its children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from typing_extensions import Self

T = TypeVar("T")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL_LINES = 12


class DemoError(Exception):
    """An error for people to read: one sentence, and the last lines of the logs that explain it."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(path: Path) -> str:
    """Return the last lines of a log, under a heading."""
    lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:] if path.exists() else []
    return "\n".join([f"--- last lines of {path}", *lines])


def session(process: psutil.Process) -> int | None:
    """Return the leader of a living process's session, which a child keeps even if it loses its parent."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (OSError, psutil.Error):
        return None


def in_sessions(leaders: set[int]) -> list[psutil.Process]:
    """List the living processes of these sessions."""
    return [process for process in psutil.process_iter() if session(process) in leaders]


class Processes:
    """The programs of one demo, in the environment ``env``; leaving the ``with`` block stops them all."""

    def __init__(self, logs: Path, env: Mapping[str, str], patience_s: float = 5.0) -> None:
        self.logs = logs  # folder of their logs
        self.env = dict(env)
        self.patience_s = patience_s  # time that a program has to end before it is killed
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, *command: str) -> None:
        """Start a program, whose output goes to a log of that name."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def finish(self, name: str, timeout_s: float) -> None:
        """Wait for a program that ends by itself; an exit code other than 0, or no end in time, is an error."""
        try:
            code = self.started[name].wait(timeout_s)
            problem = f"failed with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            problem = f"did not end within {timeout_s:.0f} s"
        if problem:
            raise DemoError(f"{name} {problem}.\n{tail(self.logs / f'{name}.log')}")
        del self.started[name]

    def check(self) -> None:
        """Raise an error if a program that should be running has ended."""
        for name, process in list(self.started.items()):  # another thread may start one
            if process.poll() is not None:
                log = tail(self.logs / f"{name}.log")
                raise DemoError(f"{name} ended unexpectedly with exit code {process.returncode}.\n{log}")

    def until(self, what: str, answer: Callable[[], T | None], timeout_s: float, pause_s: float = 0.25) -> T:
        """
        Call ``answer`` until it returns a value; it is an error if a program ends, or if the time is over.

        One more call follows when the time is over, so that a slow machine does not fail only for being slow.
        """
        end_s = time.monotonic() + timeout_s
        over = False
        while not over:
            over = time.monotonic() >= end_s
            self.check()
            if (found := answer()) is not None:
                return found
            time.sleep(0 if over else min(pause_s, timeout_s))
        logs = "\n".join(tail(self.logs / f"{name}.log") for name in self.started)
        raise DemoError(f"Gave up after {timeout_s:.0f} s of waiting for this: {what}.\n{logs}")

    def foreign_listeners(self) -> list[str]:
        """List the addresses other than 127.0.0.1 on which any of the programs listens."""
        connections = [
            connection
            for process in in_sessions({p.pid for p in self.started.values()})
            for connection in process.net_connections("inet")
        ]
        listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
        return sorted({f"{address.ip}:{address.port}" for address in listening if address.ip != "127.0.0.1"})

    def stop(self) -> None:
        """Terminate every program, kill those that do not end, and wait until none is left."""
        # a second Ctrl-C must not leave half of them running
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
        leaders = {process.pid for process in self.started.values()}
        for process in self.started.values():
            process.terminate()
        end = time.monotonic() + self.patience_s
        while (left := in_sessions(leaders)) and time.monotonic() < end:
            time.sleep(0.1)
        for survivor in left:
            survivor.kill()
        psutil.wait_procs(left, timeout=self.patience_s)
        for process in self.started.values():
            process.wait(self.patience_s)
        self.started.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)
