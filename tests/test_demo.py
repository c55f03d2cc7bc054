"""The demo leaves no program running, whatever happens, and never reports success on partial work."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import psutil
import pytest

from scripts.demo.airflow import log_lines
from scripts.demo.processes import DemoError, Processes
from scripts.demo.progress import Changes, Interval, table
from scripts.demo.service import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 20.0
STUBBORN_FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=os.setpgrp)
print(child.pid, flush=True)
time.sleep(600)
"""
LISTENER = """
import socket, time
sockets = [socket.create_server((host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
print("listening", flush=True)
time.sleep(600)
"""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Processes]:
    """Provide programs that are killed after 0.3 s instead of five."""
    with Processes(tmp_path / "logs", os.environ, patience_s=0.3) as running:
        yield running


def output(programs: Processes, name: str) -> str:
    log = programs.logs / f"{name}.log"
    return programs.until(f"{name} says something", lambda: log.read_text().strip() or None, PATIENCE_S, 0.02)


def test_stop_leaves_no_process(programs: Processes) -> None:
    """A program that ignores SIGTERM and its child in a process group of its own are both gone."""
    programs.start("family", sys.executable, "-c", STUBBORN_FAMILY)
    family = [programs.started["family"].pid, int(output(programs, "family"))]
    programs.stop()
    assert not [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_a_program_that_ends_too_early_is_reported_with_its_log(programs: Processes) -> None:
    """Waiting for an answer ends as soon as a program dies, and the error shows the end of its log."""
    programs.start("server", sys.executable, "-c", "import sys; sys.exit('port is taken')")
    with pytest.raises(DemoError, match=r"server ended unexpectedly with exit code 1(.|\n)*port is taken"):
        programs.until("the server is up", lambda: None, PATIENCE_S, 0.02)


def test_waiting_ends(programs: Processes) -> None:
    """If something never happens, the error names it; the demo does not hang."""
    started = time.monotonic()
    with pytest.raises(DemoError, match="Gave up after 0 s of waiting for this: the moon is full"):
        programs.until("the moon is full", lambda: None, timeout_s=0.05, pause_s=0.01)
    assert time.monotonic() - started < PATIENCE_S


@pytest.mark.parametrize(
    ("code", "timeout_s"), [("raise SystemExit(3)", PATIENCE_S), ("import time; time.sleep(9)", 0.05)]
)
def test_a_step_that_fails_or_hangs_is_an_error(programs: Processes, code: str, timeout_s: float) -> None:
    """A step fails if its exit code is not 0 or if it takes too long."""
    programs.start("migrate", sys.executable, "-c", code)
    with pytest.raises(DemoError, match=r"migrate (failed with exit code 3|did not end within 0 s)"):
        programs.finish("migrate", timeout_s)


def test_listeners_on_other_addresses_are_found(programs: Processes) -> None:
    """127.0.0.1 is allowed; every other address is named."""
    programs.start("listener", sys.executable, "-c", LISTENER)
    output(programs, "listener")
    [foreign] = programs.foreign_listeners()
    assert foreign.startswith("127.0.0.2:")


@pytest.mark.parametrize(
    ("held", "sent", "problem"),
    [
        ({(0, 1), (1, 1)}, {(0, 1): 1, (1, 1): 1}, ""),
        ({(0, 1), (1, 1)}, {(0, 1): 1}, "1 never sent"),
        ({(0, 1)}, {(0, 1): 2}, "1 sent more than once"),
        ({(0, 1)}, {(0, 1): 1, (0, 2): 1}, "1 from outside the intervals"),
        ({(0, 1), (0, 2)}, {(0, 2): 3, (0, 3): 1}, "1 never sent, 1 from outside the intervals, 1 sent more than once"),
        (set(), {}, "the intervals contain no messages"),
    ],
)
def test_only_each_message_exactly_once_is_a_success(
    held: set[tuple[int, int]], sent: dict[tuple[int, int], int], problem: str
) -> None:
    """The service's log must show every message of the intervals once and nothing else."""
    assert difference(held, sent) == problem


def test_table_is_aligned() -> None:
    """Every line of the table has the same width, and the numbers stand below their headings."""
    start = datetime(2026, 11, 21, 23, tzinfo=timezone.utc)
    lines = table([Interval(start, 300, 299, 7.04), Interval(start, 12345, 0, 10.0)]).splitlines()
    assert lines[1].split() == ["2026-11-21", "23:00", "to", "00:00", "300", "299", "7.0"]
    assert len({len(line) for line in lines}) == 1


def test_a_log_is_shown_as_lines() -> None:
    """An entry is one line, followed by its exceptions; an entry that Airflow could not parse is shown as it is."""
    error = {"exc_type": "ResendError", "exc_value": "9 of 10 messages sent"}
    entry = {"timestamp": "2026-11-22T00:00:00Z", "level": "error", "event": "Task failed", "error_detail": [error]}
    shown = ["2026-11-22T00:00:00Z error Task failed", "ResendError: 9 of 10 messages sent"]
    assert list(log_lines(entry)) == shown
    assert list(log_lines({"event": "Done", "timestamp": None})) == ["Done"]
    assert list(log_lines("half a line")) == ["half a line"]


def test_each_state_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A state that has not changed is not printed again; states of no interest are never printed."""
    changes = Changes()
    for state in (None, "queued", "running", "running", "success", "success"):
        changes.show("00:00", "query", state)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["running", "success"]
