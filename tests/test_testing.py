"""The fixtures for users' own DAG tests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.testing import MqsEmulator, running_emulator

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
END = START + timedelta(hours=1)


def _status(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(url, data, headers or {})  # noqa: S310  # http to our own service
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # same
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_plugin_is_cheap() -> None:
    """Loading it imports neither aiohttp, nor Airflow, nor the service."""
    heavy = ("aiohttp", "airflow", "airflow_provider_mqs.emulator")
    code = f"import sys, airflow_provider_mqs.testing; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert shown.stdout == b"[]\n"


@pytest.mark.parametrize(
    ("auth_type", "temporary", "fields"),
    [
        ("password", False, {"domain_name": "demo-domain"}),
        ("access_key", False, {}),
        ("access_key", True, {"security_token": "demo-security-token"}),
    ],
)
def test_a_connection_for_each_login(
    mqs_emulator: MqsEmulator, auth_type: str, temporary: bool, fields: dict[str, str]
) -> None:
    """It has all that the connection form asks for, with extra fields added or removed."""
    found = json.loads(mqs_emulator.connection_json(auth_type, temporary=temporary, page_size=10, region=None))
    assert (found["conn_type"], found["host"]) == ("mqs", mqs_emulator.url)
    assert found["login"]
    assert found["password"]
    assert found["extra"] == {
        "auth_type": auth_type,
        "project_id": mqs_emulator.identity.project_id,
        "instance_id": mqs_emulator.identity.instance_id,
        "iam_endpoint": mqs_emulator.url,
        "page_size": 10,
        **fields,
    }


def test_a_given_token_works(mqs_emulator: MqsEmulator) -> None:
    """The connection carries a fresh one and no password."""
    found = mqs_emulator.connection("token")
    extra = found["extra"]
    url = f"{found['host']}/v2/{extra['project_id']}/mqs/instances/{extra['instance_id']}"
    assert "password" not in found
    assert _status(url, headers={"X-Auth-Token": extra["auth_token"]}) == 200
    assert _status(url) == 401


def test_an_unknown_login_is_refused(mqs_emulator: MqsEmulator) -> None:
    """The error names the choices."""
    with pytest.raises(ValueError, match="none of password, access_key, token"):
        mqs_emulator.connection("kerberos")


def test_messages_and_offsets_of_a_window(mqs_emulator: MqsEmulator) -> None:
    """Windows are half-open and may have any date; epoch ms work, too."""
    mqs_emulator.seed("orders", 6, START, END, partitions=2)
    mqs_emulator.append("orders", 1, "late", timestamp_ms=round(END.timestamp() * 1000))
    assert mqs_emulator.offsets("orders", START, END) == {(p, o) for p in range(2) for o in range(3)}
    assert len(mqs_emulator.offsets("orders")) == len(mqs_emulator.messages("orders")) == 7
    assert mqs_emulator.offsets("orders", round(END.timestamp() * 1000)) == {(1, 3)}


def test_a_time_without_zone_is_refused(mqs_emulator: MqsEmulator) -> None:
    """It is not guessed."""
    with pytest.raises(ValueError, match="no time zone"):
        mqs_emulator.seed("orders", 1, START.replace(tzinfo=None), END)


def test_behaviour_and_faults_are_switched_from_the_test(mqs_emulator: MqsEmulator) -> None:
    """The behaviour changes field by field, or as a whole."""
    mqs_emulator.behave(paging="row")
    assert mqs_emulator.behaviour.paging == "row"
    mqs_emulator.behaviour = Behaviour(path_prefix="/roma")
    assert mqs_emulator.url.endswith("/roma")
    assert mqs_emulator.behaviour.paging == "page0"


def test_resends_and_requests_are_seen(mqs_emulator: MqsEmulator) -> None:
    """A message that was not resent is absent from the counts; a reset forgets everything."""
    mqs_emulator.append("orders", 0, "a")
    mqs_emulator.append("orders", 0, "b")
    extra: dict[str, Any] = mqs_emulator.connection("token")["extra"]
    url = f"{mqs_emulator.url}/v2/{extra['project_id']}/mqs/instances/{extra['instance_id']}/messages/action"
    body = json.dumps({"topic": "orders", "partition": 0, "message_offset": 1}).encode()
    assert _status(f"{url}?action_id=resend", body, {"X-Auth-Token": extra["auth_token"]}) == 200
    assert mqs_emulator.resend_counts("orders") == {(0, 1): 1}
    assert [one.copy_offset for one in mqs_emulator.resends("orders")] == [2]
    assert [one.status for one in mqs_emulator.requests("resend")] == [200]
    assert mqs_emulator.requests("query") == []
    mqs_emulator.reset()
    assert mqs_emulator.messages("orders") == []


def test_a_service_may_have_a_file_and_a_clock(tmp_path: Path) -> None:
    """The file keeps the data for the next service; the clock is the test's."""
    path = tmp_path / "mqs.db"
    with running_emulator(path, clock=lambda: 1000.0) as first:
        assert first.append("orders", 2).timestamp_ms == 1_000_000
    with running_emulator(path, behaviour=Behaviour(paging="page1")) as second:
        assert [one.partition for one in second.messages("orders")] == [2]
        assert second.behaviour.paging == "page1"
