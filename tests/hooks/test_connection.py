"""Looking up a connection, as JSON and as URI, and the error if it cannot be read."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks import connection as hook_connection
from airflow_provider_mqs.hooks.connection import asettings_for, settings_for

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

VARIABLE = "AIRFLOW_CONN_MQS_TEST"
SECRET = "s3cret-value"
FIELDS: dict[str, Any] = {
    "conn_type": "mqs",
    "host": "https://roma.cn-north-4.myhuaweicloud.com",
    "login": "replay",
    "password": SECRET,
    "port": 443,
    "extra": {"domain_name": "acme", "page_size": 7, "verify_tls": False, "resend_topics": ["a", "b-*"]},
}
URI = (
    f"mqs://replay:{SECRET}@roma.cn-north-4.myhuaweicloud.com:443/"
    "?domain_name=acme&page_size=7&verify_tls=false&resend_topics=a%2C+b-%2A"
)


async def _both(variable: str, monkeypatch: pytest.MonkeyPatch) -> ConnectionSettings:
    monkeypatch.setenv(VARIABLE, variable)
    settings = settings_for("mqs_test")
    assert settings == await asettings_for("mqs_test")
    return settings


@pytest.mark.parametrize(
    "variable",
    [json.dumps(FIELDS), json.dumps({**FIELDS, "extra": json.dumps(FIELDS["extra"])}), URI],
    ids=["json", "text", "uri"],
)
async def test_every_spelling_of_a_connection(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON, JSON with extra as text, and a URI mean the same, for method and coroutine."""
    settings = await _both(variable, monkeypatch)
    assert settings.endpoint == "https://roma.cn-north-4.myhuaweicloud.com"
    assert (settings.login, settings.domain_name, settings.page_size) == ("replay", "acme", 7)
    assert (settings.verify_tls, settings.resend_topics) == (False, ("a", "b-*"))


async def test_uri_with_scheme_in_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URI that Airflow itself writes for a host with a scheme is read back."""
    settings = await _both(URI.replace("mqs://", "mqs://https://"), monkeypatch)
    assert settings.endpoint == "https://roma.cn-north-4.myhuaweicloud.com"


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        (None, "does not exist: create it in Airflow, or set AIRFLOW_CONN_MQS_TEST"),
        ('{"conn_type": "mqs", "password": "s3cret-value"', "cannot be read .*: correct it"),
        ("mqs://replay:s3cret-value@[::1", "cannot be read .*: correct it"),
        (json.dumps({**FIELDS, "port": "many"}), "cannot be read .*: correct it|field 'port'"),
        (json.dumps({**FIELDS, "extra": "[1]"}), "field 'extra' is not a JSON object|cannot be read .*: correct it"),
        (
            json.dumps({**FIELDS, "extra": "s3cret-value"}),
            "field 'extra' is not a JSON object|cannot be read .*: correct it",
        ),
    ],
)
async def test_unreadable_connection_is_one_sentence(
    variable: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names connection and remedy, and never quotes the content."""
    monkeypatch.setenv(VARIABLE, variable) if variable else monkeypatch.delenv(VARIABLE, raising=False)
    for attempt in (lambda: settings_for("mqs_test"), None):
        with pytest.raises(ConfigurationError, match=sentence) as caught:
            attempt() if attempt else await asettings_for("mqs_test")
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_unknown_extras_are_warned_about_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the keys, not their values, and comes once per process."""
    monkeypatch.setenv(VARIABLE, json.dumps({**FIELDS, "extra": {"domain_name": "acme", "projectid": SECRET}}))
    with caplog.at_level(logging.WARNING, logger=hook_connection.__name__):
        settings_for("mqs_test")
        settings_for("mqs_test")
    (record,) = [record for record in caplog.records if "unknown" in record.getMessage()]
    assert "projectid" in record.getMessage()
    assert SECRET not in record.getMessage()
