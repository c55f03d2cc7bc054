"""``resend`` against the local service: a dry run first, each message once, and a stop that can be resumed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.__main__ import main
from airflow_provider_mqs.emulator.faults import Rule
from tests.support import until

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(hours=1)
QUERY = ("query", "--topic", "orders", "--start", START.isoformat(), "--end", END.isoformat())
PROGRAM = (sys.executable, "-m", "airflow_provider_mqs")
RESENDS = frozenset({"resend"})


@pytest.fixture(autouse=True)
def plan(mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the file of a query of 60 messages; ledgers go into an empty folder."""
    mqs_emulator.seed("orders", 60, START, END, partitions=3)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "orders.json"
    assert main([*QUERY, "--output", str(file)]) == 0
    return file


def _resent(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    """Run the command and read its report."""
    capsys.readouterr()
    assert main(["resend", *words]) == code
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def _once(mqs_emulator: MqsEmulator) -> bool:
    """Return whether the service's own log has each message once."""
    originals = mqs_emulator.offsets("orders", START, END)
    return mqs_emulator.resend_counts("orders") == dict.fromkeys(originals, 1)


def test_without_yes_nothing_is_sent(
    plan: Path, tmp_path: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run reports what would be sent, posts nothing and leaves no trace."""
    assert main(["resend", str(plan)]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["dry_run"], report["plan"]["count"], report["not_attempted"]) == (True, 60, 60)
    assert "add --yes" in captured.err
    assert mqs_emulator.requests("resend") == []
    assert not (tmp_path / "state").exists()


def test_yes_sends_each_message_once(plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The report has the counts, the verified copies and the connection."""
    report = _resent(capsys, str(plan), "--yes")
    assert (report["sent"], report["verified"], report["dry_run"]) == (60, True, False)
    assert report["schema"] == "mqs.replay/1"
    assert report["run"]["conn_id"] == "mqs_default"
    assert _once(mqs_emulator)


def test_second_call_sends_nothing(plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """What the ledger has is not sent again, and that is a success."""
    _resent(capsys, str(plan), "--yes")
    assert main(["resend", str(plan), "--yes"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["already_sent"] == 60
    assert captured.err.splitlines()[-1].startswith("All 60 messages were sent already.")
    assert _once(mqs_emulator)


@pytest.mark.parametrize(("word", "code", "posts"), [("fail", 2, 60), ("resend", 0, 120)])
def test_on_replayed(
    word: str, code: int, posts: int, plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user may want an error, or the messages once more."""
    _resent(capsys, str(plan), "--yes")
    _resent(capsys, str(plan), "--yes", "--on-replayed", word, code=code)
    assert len(mqs_emulator.requests("resend")) == posts


def test_no_ledger_forgets(
    plan: Path, tmp_path: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a ledger nothing is written, and a second call sends all again."""
    for _ in range(2):
        assert _resent(capsys, str(plan), "--yes", "--no-ledger")["sent"] == 60
    assert len(mqs_emulator.requests("resend")) == 120
    assert not (tmp_path / "state").exists()


def test_pipe_from_the_query(mqs_emulator: MqsEmulator) -> None:
    """``query | resend`` works as one line of a shell."""
    program = shlex.join(PROGRAM)
    line = f"{program} {shlex.join(QUERY)} | {program} resend - --yes"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["sent"] == 60
    assert _once(mqs_emulator)


def test_plain_items_from_stdin(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of partition and message_offset needs ``--topic``."""
    monkeypatch.setattr("sys.stdin", io.StringIO('[{"partition": 1, "message_offset": 4}]'))
    words = "--ordering none --concurrency 2 --max-rate 50 --max-failures 1 --canary 1 --consumer-key k --verify-wait 9"
    report = _resent(capsys, "-", "--topic", "orders", "--yes", *words.split())
    planned = report["plan"]
    assert (planned["ordering"], planned["concurrency"], planned["max_rate"], planned["canary"]) == ("none", 2, 50, 1)
    assert report["consumer_key"] == "k"
    assert mqs_emulator.resend_counts("orders") == {(1, 4): 1}


def test_nothing_to_send_is_a_success(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty list is not an error."""
    monkeypatch.setattr("sys.stdin", io.StringIO("[]"))
    assert _resent(capsys, "-", "--yes")["requested"] == 0


def test_report_goes_to_a_file(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--output`` nothing is on stdout."""
    file = tmp_path / "report.json"
    assert main(["resend", str(plan), "--yes", "--output", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(file.read_text())["sent"] == 60


def test_failure_ends_with_1_and_can_be_resumed(
    plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report comes all the same, and the next call sends what is left."""
    mqs_emulator.faults.error_400 = Rule(probability=1, only=frozenset({(1, 4)}), operations=RESENDS)
    assert main(["resend", str(plan), "--yes"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failed"] == 1
    assert captured.err.splitlines()[-1].endswith("The same call again sends what is left.")
    mqs_emulator.faults.error_400 = Rule()
    assert _resent(capsys, str(plan), "--yes")["not_attempted"] == 0
    assert _once(mqs_emulator)


def test_failures_that_may_happen(plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """``--max-failures`` with ``--on-failure continue`` goes to the end and succeeds."""
    mqs_emulator.faults.error_400 = Rule(probability=1, only=frozenset({(1, 4)}), operations=RESENDS)
    report = _resent(capsys, str(plan), "--yes", "--max-failures", "1", "--on-failure", "continue")
    assert (report["sent"], report["failed"]) == (59, 1)


def test_ledger_that_cannot_be_written_sends_nothing(
    plan: Path, tmp_path: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """No claim, no message."""
    (tmp_path / "taken").write_text("")
    report = _resent(capsys, str(plan), "--yes", "--ledger-path", str(tmp_path / "taken"), code=1)
    assert report["not_attempted"] == 60
    assert mqs_emulator.requests("resend") == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["/nowhere"], "'/nowhere' cannot be read as text (FileNotFoundError)"),
        (["{folder}"], "cannot be read as text (IsADirectoryError)"),
        (["{empty}"], "is empty: did the query fail?"),
        (["{foreign}"], "neither JSON nor a Python literal"),
        (["{plan}", "--topic", "payments"], "messages are of topic 'orders'"),
        (["{plan}", "--max-messages", "59"], "more than max_messages=59"),
        (["{plan}", "--concurrency", "0"], "concurrency must be"),
        (["{plan}", "--max-rate", "-1"], "max_rate must be"),
        (["{plan}", "--conn-id", "read_only"], "allow_resend"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str],
    sentence: str,
    plan: Path,
    tmp_path: Path,
    mqs_emulator: MqsEmulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong argument, plan or connection ends with 2 before anything is sent, and is named."""
    monkeypatch.setenv("AIRFLOW_CONN_READ_ONLY", mqs_emulator.connection_json(allow_resend=False))
    files = {"plan": plan, "folder": tmp_path, "empty": tmp_path / "empty", "foreign": tmp_path / "foreign"}
    files["empty"].write_text("\n")
    files["foreign"].write_text("orders, all of them")
    assert main(["resend", "--yes", *(word.format(**files) for word in words)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert mqs_emulator.requests("resend") == []


def test_edited_document_is_refused(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The digest must fit."""
    plan.write_text(plan.read_text().replace('"count": 60', '"count": 61'))
    assert main(["resend", str(plan), "--yes"]) == 2
    assert "was changed after the query wrote it" in capsys.readouterr().err


def test_ledger_path_and_no_ledger_exclude_each_other(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call that wants both is a mistake."""
    with pytest.raises(SystemExit) as caught:
        main(["resend", str(plan), "--ledger-path", "/x", "--no-ledger"])
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_interrupt_in_a_dry_run_is_no_traceback(
    plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends a dry run at once, in one line."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_provider_mqs.core.resend.replay.Replay.prepare", interrupt)
    assert main(["resend", str(plan)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "Interrupted."


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signal_stops_in_order_and_the_next_call_goes_on(
    number: signal.Signals, code: int, plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C in the middle the report is there, and a second call ends with each message sent once."""
    mqs_emulator.faults.latency_s = 0.05
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "resend", str(plan), "--yes", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await until(lambda: len(mqs_emulator.requests("resend")) >= 6)
    process.send_signal(number)
    out, err = await process.communicate()
    report = json.loads(out)
    assert process.returncode == code
    assert report["sent"] >= 6
    assert report["not_attempted"] > 0
    assert err.decode().splitlines()[-1].endswith("The same call again sends what is left.")

    mqs_emulator.faults.latency_s = 0.0
    again = await asyncio.to_thread(_resent, capsys, str(plan), "--yes")
    assert (again["sent"], again["already_sent"], again["verified"]) == (60, 0, True)
    assert _once(mqs_emulator)


def test_a_second_round_that_broke_off_is_finished_by_the_same_call(
    plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--on-replayed resend`` sends all once more, also when it takes two calls."""
    again = (str(plan), "--yes", "--on-replayed", "resend")
    _resent(capsys, str(plan), "--yes")
    mqs_emulator.faults.error_400 = Rule(next=1, skip=20, operations=RESENDS)

    broken = _resent(capsys, *again, code=1)
    finished = _resent(capsys, *again)

    assert (broken["failed"], finished["sent"]) == (1, 60)
    assert set(mqs_emulator.resend_counts("orders").values()) == {2}


def test_a_second_round_that_broke_off_is_left_alone_by_a_plain_call(
    plan: Path, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without ``--on-replayed resend`` what was ever sent is left out."""
    _resent(capsys, str(plan), "--yes")
    mqs_emulator.faults.error_400 = Rule(next=1, skip=20, operations=RESENDS)
    broken = _resent(capsys, str(plan), "--yes", "--on-replayed", "resend", code=1)
    posts = len(mqs_emulator.requests("resend"))

    plain = _resent(capsys, str(plan), "--yes")

    assert (plain["sent"], plain["already_sent"]) == (broken["sent"], 60 - broken["sent"])
    assert len(mqs_emulator.requests("resend")) == posts


def test_two_processes_at_once_send_nothing_twice(plan: Path, mqs_emulator: MqsEmulator) -> None:
    """Of two calls at the same time one gives way, or finds everything sent."""
    mqs_emulator.faults.latency_s = 0.02
    words = [*PROGRAM, "resend", str(plan), "--yes"]
    both = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
        for _ in range(2)
    ]
    codes = sorted(process.wait() for process in both)
    assert codes in ([0, 0], [0, 1])
    assert _once(mqs_emulator)
