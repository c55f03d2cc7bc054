"""``query`` against the local service: the document alone on stdout, the rest on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.__main__ import main
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.values.time_window import to_ms

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
WINDOW = ("--start", START.isoformat(), "--end", str(to_ms(END)))


@pytest.fixture(autouse=True)
def environment(mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a topic of 60 messages behind ``mqs_default``, and the ledgers into an empty folder."""
    mqs_emulator.seed("orders", 60, START, END, partitions=3, tags=("a", "b"))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _queried(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["query", "--topic", "orders", *words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_document_is_what_the_resend_takes(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The document has every offset of the window, and its digest fits."""
    offsets = Offsets.from_xcom(_queried(capsys, *WINDOW))
    assert offsets.count == 60
    assert offsets.window.source == "explicit"
    assert offsets.complete


def test_output_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--output`` nothing is on stdout."""
    file = tmp_path / "offsets.json"
    assert main(["query", "--topic", "orders", *WINDOW, "--output", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert Offsets.from_xcom(json.loads(file.read_text())).count == 60


def test_process_prints_nothing_but_the_document_to_stdout() -> None:
    """Airflow logs to stdout; the command sends those lines to stderr."""
    words = [sys.executable, "-m", "airflow_provider_mqs", "query", "--topic", "orders", *WINDOW]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["count"] == 60
    assert "Found 60 messages in 3 partitions." in done.stderr


def test_lookback_ends_now(capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--lookback`` alone the window ends at the moment of the call."""
    before_ms = time.time_ns() // 1_000_000
    window = Offsets.from_xcom(_queried(capsys, "--lookback", "10800")).window
    assert window.source == "lookback"
    assert window.end_ms - window.start_ms == 10_800_000
    assert 0 <= window.end_ms - before_ms < 60_000


def test_lookback_ends_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """``--end`` says where a ``--lookback`` ends."""
    assert _queried(capsys, "--lookback", "1800", "--end", END.isoformat())["count"] == 30


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--partitions", "0,2"), 40),
        (("--tag", "a"), 30),
        (("--key", "nobody"), 0),
        (("--max-messages", "60"), 60),
    ],
)
def test_filters(words: tuple[str, ...], count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Filters narrow the document; an empty one is a success."""
    assert _queried(capsys, *WINDOW, *words)["count"] == count


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--topic", "orders"], "set either --start or --lookback"),
        (["--topic", "orders", *WINDOW, "--lookback", "60"], "set either --start or --lookback"),
        (["--topic", "orders", "--start", "soon"], "start must be ISO text"),
        (["--topic", "orders", "--start", "2026-01-01", "--end", "9999-01-01"], "end is in the future"),
        (["--topic", "orders", *WINDOW[2:], "--start", "9998-01-01"], "window is empty"),
        (["--topic", "or/ders", *WINDOW], "topic must start"),
        (["--topic", "nowhere", *WINDOW], "topic 'nowhere' is not in the instance"),
        (["--topic", "orders", *WINDOW, "--max-messages", "59"], "more than max_messages=59"),
        (["--topic", "orders", *WINDOW, "--partitions", "x"], "partitions must be"),
        (["--topic", "orders", *WINDOW, "--output", "/nowhere/at/all"], "--output '/nowhere/at/all' cannot be"),
        (["--topic", "orders", *WINDOW, "--output", "/"], "--output '/' cannot be"),
        (["--topic", "orders", *WINDOW, "--instance-id", "a/b"], "instance_id"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument ends with 2, is named on stderr, and nothing is on stdout."""
    assert main(["query", *words]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err.splitlines()[-1]
    assert captured.out == ""


def test_refused_login_ends_with_1(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the service refuses is a failure, and its sentence has no secret."""
    wrong = {**mqs_emulator.connection(), "password": "wrong-password"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(wrong))
    assert main(["query", "--topic", "orders", *WINDOW, "--conn-id", "other"]) == 1
    captured = capsys.readouterr()
    assert "HTTP 401" in captured.err.splitlines()[-1]
    assert "wrong-password" not in captured.err + captured.out


def test_window_that_is_not_complete(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """What the service may have deleted fails the command, unless the user takes what is there."""
    mqs_emulator.seed("short", 10, START, END, retention_hours=2)
    words = ["query", "--topic", "short", *WINDOW[:1], (START - timedelta(hours=9)).isoformat(), *WINDOW[2:]]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "set on_incomplete='warn'" in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert main([*words, "--on-incomplete", "warn"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False


@pytest.mark.parametrize("memory", [(), ("--ledger-path", "ledgers")])
def test_copies_of_a_resend_are_left_out(
    memory: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A query looks into the folder where the resend noted its copies; ``--include-copies`` does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.json").write_text(json.dumps(_queried(capsys, *WINDOW)))
    assert main(["resend", "orders.json", "--yes", *memory]) == 0
    recent = ("--lookback", "14400", *memory)
    found = _queried(capsys, *recent)
    assert (found["count"], found["excluded_copies"]) == (60, 60)
    assert _queried(capsys, *recent, "--include-copies")["count"] == 120


def test_copies_that_are_not_known_make_the_window_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a resend that did not look for its copies, nobody can tell them from originals."""
    file = tmp_path / "orders.json"
    file.write_text(json.dumps(_queried(capsys, *WINDOW)))
    assert main(["resend", str(file), "--yes", "--no-verify"]) == 0
    capsys.readouterr()
    assert main(["query", "--topic", "orders", "--lookback", "14400"]) == 1
    assert "put up to 60 copies into the topic" in capsys.readouterr().err


def test_document_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """A disk that is full in the end is one sentence, too."""
    assert main(["query", "--topic", "orders", *WINDOW, "--output", "/dev/full"]) == 1
    assert "The document cannot be written (No space left on device)." in capsys.readouterr().err
