"""``doctor`` against the local service: its lines, its exit codes, and what it measures."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.__main__ import main
from airflow_provider_mqs.cli import probe
from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.values.message import Message, Page

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.testing import MqsEmulator

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def environment(mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the local service's connection into the environment, and keep what doctor sets there out of other tests."""
    # Airflow compiles all values that it masks into one expression; long tokens of many tests make that slow
    mqs_emulator.behave(token_bytes=100)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())


def _seed(emulator: MqsEmulator, count: int, **shape: Any) -> None:
    end = time.time_ns() // 1_000_000 - 1000
    emulator.seed("orders", count, end - HOUR_MS, end, **{"partitions": 3, **shape})


def _measured(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """Run the probe and read its table: answer by question."""
    assert main(["doctor", "--probe-topic", "orders", *words]) == 0
    lines = capsys.readouterr().out.split("Topic 'orders'")[1].splitlines()[1:]
    return {line[2:28].strip(): line[30:54].strip() for line in lines if line.startswith("  ")}


def test_steps_of_a_good_connection(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step has a line, and the exit code is 0."""
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("  ")] == [
        ["ok", "connection"],
        ["ok", "endpoint"],
        ["-", "TLS"],
        ["ok", "login"],
        ["ok", "project"],
        ["ok", "instance"],
        ["ok", "permission"],
    ]


def test_failed_step_ends_with_1(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed step is the last line, and says what to correct."""
    wrong = {**mqs_emulator.connection(), "password": "wrong-password"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(wrong))
    assert main(["doctor", "--conn-id", "other", "--probe-topic", "orders"]) == 1
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith("  FAILED  login")
    assert "wrong-password" not in shown


def test_unreadable_connection_ends_with_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong field is the first and only line."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", '{"conn_type": "mqs"}')
    assert main(["doctor"]) == 1
    assert "FAILED  connection  Connection field 'host' is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--send-one"], "need --probe-topic"),
        (["--start", "2026-01-01"], "need --probe-topic"),
        (["--probe-topic", "or/ders"], "topic must start"),
        (["--probe-topic", "orders", "--end", "soon"], "--end must be"),
        (["--probe-topic", "orders", "--start", "2026-01-02", "--end", "2026-01-01"], "window is empty"),
        (["--instance-id", "a/b"], "instance_id"),
        (["--probe-topic", "nowhere"], "FAILED: HTTP 4"),
    ],
)
def test_wrong_arguments_are_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument is named, without a traceback."""
    assert main(["doctor", *words]) == 1
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("paging", ["page0", "page1", "row"])
@pytest.mark.parametrize("end_inclusive", [True, False])
def test_probe_measures_what_the_service_does(
    paging: str, end_inclusive: bool, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the deployment does, the table shows it."""
    mqs_emulator.behave(paging=paging, end_inclusive=end_inclusive, partition_narrows=end_inclusive, page_size_limit=10)
    _seed(mqs_emulator, 60)
    measured = _measured(capsys)
    assert measured["messages in the window"] == "60"
    assert measured["meaning of offset"] == paging
    assert measured["end_time belongs"] == ("yes" if end_inclusive else "no")
    assert measured["start_time belongs"] == "yes"
    assert measured["partition narrows a window"] == ("yes" if end_inclusive else "no")
    assert measured["largest page"] == "10 rows"
    assert measured["cap of 500"] == "unknown"
    assert measured["content by offset"].endswith("bytes")


@pytest.mark.parametrize(
    ("behaviour", "count", "answer"),
    [
        ({"cap": None}, 600, "none"),
        ({"cap": 500}, 600, "rows stop at 500"),
        ({"cap": 500, "cap_hides_total": True}, 600, "total stops at 500"),
        ({"cap": 500, "cap_hides_total": True}, 500, "unknown"),
    ],
)
def test_probe_measures_the_cap(
    behaviour: dict[str, Any], count: int, answer: str, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cap, a cap of the rows, a cap of the total too, and exactly 500 messages are distinguished."""
    mqs_emulator.behave(**behaviour)
    _seed(mqs_emulator, count)
    assert _measured(capsys)["cap of 500"] == answer


def test_probe_of_equal_timestamps_under_a_cap(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """If all messages have one timestamp, no shorter window can show the cap."""
    mqs_emulator.behave(cap=500, cap_hides_total=True)
    _seed(mqs_emulator, 600, spread="equal")
    assert _measured(capsys)["cap of 500"] == "unknown"


def test_probe_of_a_service_that_does_not_page(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all rows come whatever the limit, ``offset`` has no meaning to measure."""
    rows = tuple(Message("orders", 0, offset, timestamp=1_700_000_000_000 + offset) for offset in range(501))

    def query_page(*_: object, **__: object) -> Flow[Page]:
        return Page(rows, len(rows))
        yield  # a flow, like the real one

    monkeypatch.setattr(MqsApi, "query_page", query_page)
    _seed(mqs_emulator, 0)
    measured = _measured(capsys)
    assert measured["meaning of offset"] == measured["cap of 500"] == measured["largest page"] == "unknown"


def test_content_that_is_not_there() -> None:
    """No message, a message without content, and content are distinguished."""
    answers = (None, Message("orders", 0, 0, timestamp=0), Message("orders", 0, 0, timestamp=0, value="é"))
    assert [probe.describe(answer) for answer in answers] == ["no message", "no value", "2 bytes"]


def test_probe_of_an_empty_topic(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Without messages, everything is unknown and nothing fails."""
    _seed(mqs_emulator, 0)
    measured = _measured(capsys)
    assert measured.pop("messages in the window") == "0"
    assert set(measured.values()) == {"unknown"}


def test_probe_of_a_service_that_refuses_contents(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused question is unknown, with the service's own words as evidence; the others are answered."""
    mqs_emulator.behave(content_by_offset=False)
    _seed(mqs_emulator, 3)
    measured = _measured(capsys)
    assert measured["content by offset"] == measured["content with download"] == "unknown"
    assert measured["meaning of offset"] == "page0"


def test_probe_only_reads(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The probe sends nothing."""
    _seed(mqs_emulator, 60)
    _measured(capsys)
    assert mqs_emulator.requests("resend") == []


@pytest.mark.parametrize("copy_timestamp", ["fresh", "source"])
def test_send_one_shows_the_copy(
    copy_timestamp: str, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message is sent, its copy found and compared, whether or not it keeps its time."""
    mqs_emulator.behave(copy_timestamp=copy_timestamp, copy_same_key=False, copy_same_size=False)
    _seed(mqs_emulator, 60)
    assert main(["doctor", "--probe-topic", "orders", "--send-one", "--yes"]) == 0
    shown = capsys.readouterr().out
    assert sum(mqs_emulator.resend_counts("orders").values()) == 1
    assert "key         empty in the copy only" in shown
    assert "size        differs" in shown
    assert f"timestamp   {'the same' if copy_timestamp == 'source' else 'differs'}" in shown


@pytest.mark.parametrize("answer", ["", "no", EOFError])
def test_send_one_asks_first(
    answer: Any, mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a yes nothing is sent; a terminal that cannot answer says no."""

    def ask(_: str) -> str:
        if answer is EOFError:
            raise EOFError
        return str(answer)

    monkeypatch.setattr("builtins.input", ask)
    _seed(mqs_emulator, 6)
    assert main(["doctor", "--probe-topic", "orders", "--send-one"]) == 1
    assert "Nothing was sent" in capsys.readouterr().out
    assert mqs_emulator.requests("resend") == []


def test_send_one_after_a_yes(mqs_emulator: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A yes sends one message."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    _seed(mqs_emulator, 6)
    assert main(["doctor", "--probe-topic", "orders", "--send-one"]) == 0
    assert sum(mqs_emulator.resend_counts("orders").values()) == 1


def test_send_one_obeys_the_guard_rails(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor does not send through a read-only connection either."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json(allow_resend=False))
    _seed(mqs_emulator, 6)
    assert main(["doctor", "--probe-topic", "orders", "--send-one", "--yes"]) == 1
    assert "allow_resend" in capsys.readouterr().out
    assert mqs_emulator.requests("resend") == []


def test_send_one_without_messages(mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty window has nothing to send."""
    _seed(mqs_emulator, 0)
    assert main(["doctor", "--probe-topic", "orders", "--send-one", "--yes"]) == 1
    assert "No message in the window" in capsys.readouterr().out


def test_send_one_waits_for_a_late_copy(
    mqs_emulator: MqsEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no copy appears within a minute, the command fails."""
    slept: list[float] = []
    monkeypatch.setattr(probe.send_one, "__kwdefaults__", {"sleep": slept.append})
    monkeypatch.setattr("airflow_provider_mqs.hooks.mqs.MqsHook.resend", lambda *_: None)
    _seed(mqs_emulator, 6)
    assert main(["doctor", "--probe-topic", "orders", "--send-one", "--yes"]) == 1
    assert "no copy was found within 60 s" in capsys.readouterr().out
    assert len(slept) == 60


def test_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends the command in one line."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_provider_mqs.cli.doctor.check", interrupt)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "FAILED: interrupted"
