"""The command ``emulator``, in a process of its own if signals matter."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from airflow_provider_mqs.emulator import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 30.0
_PROGRAM = """
import argparse, sys
from airflow_provider_mqs.emulator import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


def _parse(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(texts)


@contextmanager
def _started(*texts: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command, wait for the line with its URL, and leave no process behind."""
    program = [sys.executable, "-c", _PROGRAM, "--port", "0", *texts]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            # a command that fails closes its output, which ends this wait
            yield process, process.stdout.readline().split(" on ")[1].split(" ")[0]
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _get(url: str) -> dict[str, Any]:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  # http to our own service
        return dict(json.load(answer))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_keeps_its_data(tmp_path: Path, number: signal.Signals) -> None:
    """After a restart the seeded messages are there, once; the exit code is 0."""
    counts = []
    for _ in range(2):
        arguments = "--data", str(tmp_path / "mqs.db"), "--seed", "demo", "--behave", "path_prefix=/roma"
        with _started(*arguments) as (process, url):
            counts.append(_get(f"{url}/admin")["topics"])
            process.send_signal(number)
            assert process.wait(TIMEOUT_S) == 0
            assert process.stdout is not None
            # not communicate(): it would lose what readline() has buffered
            rest = process.stdout.read()
        assert f'"host": "{url}/roma"' in rest
        assert rest.endswith("MQS emulator has stopped.\n")
    assert counts[0] == counts[1]
    assert [topic["name"] for topic in counts[0]] == ["orders", "payments"]


def test_it_stops_in_process_too(capsys: pytest.CaptureFixture[str]) -> None:
    """The signal handlers are set before it listens, so a client that gets an answer may stop it."""
    port, over = _free_port(), threading.Event()

    def stop() -> None:
        try:
            for _ in range(1000):
                with suppress(URLError):
                    _get(f"http://127.0.0.1:{port}/admin")
                    return
                if over.wait(0.01):
                    break
            raise TimeoutError("The service never answered.")
        finally:
            if not over.is_set():  # also after a failure, or the command would serve for ever
                os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(stop)
        try:
            assert command.run(_parse("--port", str(port), "--seed", "demo", "--fault", "throttle_429=0.5")) == 0
        finally:
            over.set()
        stopping.result(TIMEOUT_S)
    assert f"listening on http://127.0.0.1:{port} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["--behave", "paging=rows"], "takes one of 'page0'"),
        (["--fault", 'late_504={"nxt": 1}'], "There is no switch 'nxt'"),
        (["--fault", "late_504=often"], "is no rule"),
        (["--data", "/proc/none/mqs.db"], "unable to open database file (--data /proc/none/mqs.db)"),
    ],
    ids=str,
)
def test_what_it_cannot_do_gets_one_sentence(
    texts: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence goes to standard error, and the exit code is 1."""
    assert command.run(_parse(*texts)) == 1
    assert sentence in capsys.readouterr().err


def test_a_taken_port_gets_one_sentence(mqs_emulator: object, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the remedy."""
    port = str(mqs_emulator.port)  # type: ignore[attr-defined]  # the fixture's handle
    assert command.run(_parse("--port", port)) == 1
    assert f"Port {port} of 127.0.0.1 cannot be used; try another --port, or 0." in capsys.readouterr().err


def test_the_help_says_what_is_known_and_what_is_inferred(capsys: pytest.CaptureFixture[str]) -> None:
    """It contains the table of the package, without the list of its modules."""
    with pytest.raises(SystemExit):
        _parse("--help")
    shown = capsys.readouterr().out
    assert "both ends of the window are inclusive                inferred   end_inclusive" in shown
    assert "(default 8089)" in shown
    assert "Modules" not in shown
