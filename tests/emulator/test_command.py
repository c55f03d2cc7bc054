"""The command line, in a process of its own where signals matter."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from airflow_provider_mqs.emulator import command
from tests.support import beside

if TYPE_CHECKING:
    import threading
    from pathlib import Path

_PROGRAM = """
import argparse, sys
from airflow_provider_mqs.emulator import command
from tests.support import beside
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


def _parse(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(texts)


def _start(*texts: str) -> tuple[subprocess.Popen[str], str]:
    program = [sys.executable, "-c", _PROGRAM, "--port", "0", *texts]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)  # our own program
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, line.split(" on ")[1].split(" ")[0]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _get(url: str) -> dict[str, Any]:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  # http to our own service
        return dict(json.load(answer))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_keeps_its_data(tmp_path: Path, number: signal.Signals) -> None:
    """The seed is there after a restart, once; the exit code is 0."""
    counts = []
    for _ in range(2):
        process, url = _start("--data", str(tmp_path / "mqs.db"), "--seed", "demo", "--behave", "path_prefix=/roma")
        counts.append(_get(f"{url}/admin")["topics"])
        process.send_signal(number)
        with process:
            # not communicate(): it would lose what readline() has buffered
            rest = cast("TextIO", process.stdout).read()
        assert process.returncode == 0
        assert f'"host": "{url}/roma"' in rest
        assert rest.endswith("MQS emulator has stopped.\n")
    assert counts[0] == counts[1]
    assert [topic["name"] for topic in counts[0]] == ["orders", "payments"]


def test_it_stops_in_process_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Handlers are set before it listens, so the first one who gets an answer may stop it."""
    port = _free_port()

    def stop(over: threading.Event) -> None:
        while not over.wait(0.01):
            with suppress(URLError):
                _get(f"http://127.0.0.1:{port}/admin")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    with beside(stop):
        assert command.run(_parse("--port", str(port), "--seed", "demo", "--fault", "throttle_429=0.5")) == 0
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
    """On standard error, with exit code 1."""
    assert command.run(_parse(*texts)) == 1
    assert sentence in capsys.readouterr().err


def test_a_taken_port_gets_one_sentence(mqs_emulator: object, capsys: pytest.CaptureFixture[str]) -> None:
    """The remedy is in it."""
    port = str(mqs_emulator.port)  # type: ignore[attr-defined]  # the fixture's handle
    assert command.run(_parse("--port", port)) == 1
    assert f"Port {port} of 127.0.0.1 cannot be used; give another --port, or 0." in capsys.readouterr().err


def test_the_help_says_what_is_known_and_what_is_inferred(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of the package is part of it."""
    with pytest.raises(SystemExit):
        _parse("--help")
    shown = capsys.readouterr().out
    assert "both ends of the window are inclusive                inferred   end_inclusive" in shown
    assert "(default 8089)" in shown
