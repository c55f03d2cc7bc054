"""The connection's settings: defaults, derivations, and one sentence for each kind of bad input."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mqs.core.connection.settings import ConnectionSettings, path_segment
from airflow_provider_mqs.exceptions import ConfigurationError

SECRET = "s3cret-value"
HOST = "roma.cn-north-4.myhuaweicloud.com"


def _parse(*, extra: dict[str, Any] | None = None, **fields: Any) -> ConnectionSettings:
    base: dict[str, Any] = {"host": HOST, "login": "replay", "password": SECRET}
    return ConnectionSettings.parse(**{**base, **fields}, extra={"domain_name": "acme", **(extra or {})})


def test_minimal_connection() -> None:
    """Host, user, password and account are enough; everything else has a default."""
    settings = _parse()
    assert settings.endpoint == settings.query_endpoint == f"https://{HOST}"
    assert settings.iam_endpoint == "https://iam.cn-north-4.myhuaweicloud.com"
    assert (settings.region, settings.project_id, settings.instance_id) == ("cn-north-4", None, None)
    assert (settings.auth_type, settings.api_style, settings.paging) == ("password", "auto", "auto")
    assert (settings.page_size, settings.connect_timeout, settings.read_timeout) == (50, 10, 60)
    assert (settings.max_retries, settings.verify_tls, settings.proxy) == (5, True, None)
    assert (settings.allow_resend, settings.resend_topics, settings.max_resend_messages) == (True, (), None)
    assert (settings.require_consumer_key, settings.max_rate, settings.unknown_extras) == (False, None, ())


def test_access_key_needs_no_iam() -> None:
    """Signed requests need a project, but neither account nor login host."""
    settings = ConnectionSettings.parse(
        host="mqs.example.com",
        login="AKID",
        password=SECRET,
        extra={"auth_type": "access_key", "project_id": "p1", "security_token": "tok/+="},
    )
    assert settings.iam_endpoint is None
    assert settings.security_token == "tok/+="


def test_token_needs_no_login() -> None:
    """With the user's own token, login and password are unused."""
    extra = {"auth_type": "token", "auth_token": "MIIE", "project_id": "p1"}
    assert ConnectionSettings.parse(host=HOST, extra=extra).auth_token == "MIIE"


def test_other_endpoints() -> None:
    """Queries and logins may go to hosts of their own; a version at the end of the IAM endpoint is dropped."""
    settings = _parse(extra={"query_endpoint": "dms.example.com/", "iam_endpoint": "https://iam.example.com/v3"})
    assert settings.query_endpoint == "https://dms.example.com"
    assert settings.iam_endpoint == "https://iam.example.com"


def test_host_is_short() -> None:
    """XComs and logs name host and port only, without scheme, prefix or usual port."""
    assert _parse(host="https://mqs.example.com:443/gw", extra={"region": "r-1"}).host == "mqs.example.com"
    assert _parse(host="[::1]:8089", extra={"project_id": "p"}).host == "[::1]:8089"


def test_text_values_of_a_uri_connection() -> None:
    """A URI carries text only; numbers, flags and lists are read from it."""
    settings = _parse(
        port="8443", extra={"page_size": "7", "verify_tls": "false", "max_rate": "2.5", "resend_topics": "a,b-*"}
    )
    assert settings.endpoint == f"https://{HOST}:8443"
    assert (settings.page_size, settings.verify_tls, settings.max_rate) == (7, False, 2.5)
    assert settings.resend_topics == ("a", "b-*")


def test_form_values_of_an_untouched_form() -> None:
    """Airflow's form writes null into every empty field."""
    names = ("auth_type", "project_id", "proxy", "resend_topics", "page_size", "allow_http", "security_token")
    assert _parse(extra=dict.fromkeys(names)) == _parse()


def test_unknown_extras_are_named() -> None:
    """Unknown keys are kept by name, so that the hook can warn."""
    assert _parse(extra={"projectid": "x", "timeout": 3}).unknown_extras == ("projectid", "timeout")


def test_secrets_are_all_listed() -> None:
    """Everything that must be masked is listed, the password of a proxy in both spellings."""
    settings = _parse(extra={"proxy": "http://u:p%40ss@proxy:3128", "auth_token": "tok-1", "security_token": "tok-2"})
    assert set(settings.secrets) == {SECRET, "tok-1", "tok-2", "p%40ss", "p@ss"}


def test_repr_has_no_secret() -> None:
    """Settings in a log line reveal nothing."""
    settings = _parse(extra={"proxy": "http://u:hidden@proxy:3128", "auth_token": "tok-1", "security_token": "tok-2"})
    assert not any(secret in repr(settings) for secret in settings.secrets)


def test_changed_settings_are_checked_too() -> None:
    """No settings exist that break a rule, also if they were derived from others."""
    with pytest.raises(ConfigurationError, match="'region'"):
        replace(_parse(), region="cn north 4")
    with pytest.raises(ConfigurationError, match="'auth_token' is missing"):
        replace(_parse(), auth_type="token")


def test_settings_can_be_pickled() -> None:
    """They can be pickled, as multiprocessing executors may need."""
    assert pickle.loads(pickle.dumps(_parse())) == _parse()  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "changes",
    [
        {"login": "other"},
        {"password": "other"},
        {"extra": {"domain_name": "other"}},
        {"extra": {"project_id": "other"}},
        {"extra": {"region": "cn-north-1"}},
        {"extra": {"iam_endpoint": "iam.example.com"}},
    ],
)
def test_identity_changes_with_what_decides_the_token(changes: dict[str, Any]) -> None:
    """Two connections share a token only if the same login would return it."""
    assert _parse(**changes).identity != _parse().identity


def test_identity_ignores_the_rest() -> None:
    """Another page size or topic limit needs no second login, and the digest reveals no secret."""
    assert _parse(extra={"page_size": 3, "allow_resend": False}).identity == _parse().identity
    assert re.fullmatch("[0-9a-f]{64}", _parse().identity)


BAD_INPUT: list[tuple[str, dict[str, Any]]] = [
    ("host", {"host": None}),
    ("host", {"host": ""}),
    ("host", {"host": "https://"}),
    ("host", {"host": "http://roma.example.com"}),
    ("host", {"host": "roma.example .com"}),
    ("host", {"host": "roma.example.com\n"}),
    ("host", {"host": f"https://user:{SECRET}@roma.example.com"}),
    ("host", {"host": f"user:{SECRET}@roma.example.com"}),
    ("host", {"host": "ftp://roma.example.com"}),
    ("host", {"host": "roma.example.com/?x=1"}),
    ("host", {"host": "roma.example.com/#top"}),
    ("host", {"host": "roma.example.com/a/../b"}),
    ("host", {"host": "roma.example.com//b"}),
    ("host", {"host": "roma.example.com\\@evil.example.com"}),
    ("host", {"host": "[::1"}),
    ("host", {"host": "röma.example.com"}),
    ("schema", {"schema": "ftp"}),
    ("schema", {"schema": "gateway"}),
    ("schema", {"schema": "http", "host": "https://roma.example.com"}),
    ("host", {"schema": "http"}),
    ("port", {"port": 70_000}),
    ("port", {"port": -1}),
    ("port", {"port": "https"}),
    ("port", {"host": "roma.example.com:0"}),
    ("port", {"host": "roma.example.com:99999"}),
    ("port", {"host": "roma.example.com:8443", "port": 443}),
    ("login", {"login": ""}),
    ("login", {"login": "replay\n"}),
    ("password", {"password": None}),
    ("password", {"password": f"{SECRET}\n"}),
    ("domain_name", {"extra": {"domain_name": None}}),
    ("domain_name", {"extra": {"domain_name": " acme"}}),
    ("domain_name", {"extra": {"domain_name": 12345}}),
    ("iam_endpoint", {"host": "mqs.example.com"}),
    ("region", {"host": "mqs.example.com"}),
    ("project_id", {"host": "mqs.example.com", "extra": {"iam_endpoint": "iam.example.com"}}),
    ("iam_endpoint", {"extra": {"iam_endpoint": "http://iam.example.com"}}),
    ("query_endpoint", {"extra": {"query_endpoint": "http://dms.example.com"}}),
    ("query_endpoint", {"extra": {"query_endpoint": "dms example"}}),
    ("region", {"extra": {"region": "cn-north-4/../x"}}),
    ("project_id", {"extra": {"project_id": "a/b"}}),
    ("project_id", {"extra": {"project_id": ".."}}),
    ("project_id", {"extra": {"project_id": "abc\r\nX-Evil: 1"}}),
    ("instance_id", {"extra": {"instance_id": "a?b"}}),
    ("instance_id", {"extra": {"instance_id": 7}}),
    ("auth_type", {"extra": {"auth_type": "aksk"}}),
    ("auth_token", {"extra": {"auth_type": "token", "project_id": "p"}}),
    ("auth_token", {"extra": {"auth_token": f"{SECRET}\n"}}),
    ("auth_token", {"extra": {"auth_token": 5}}),
    ("security_token", {"extra": {"security_token": f"{SECRET} x"}}),
    ("project_id", {"extra": {"auth_type": "token", "auth_token": SECRET}}),
    ("project_id", {"extra": {"auth_type": "access_key"}}),
    ("login", {"login": "AK ID", "extra": {"auth_type": "access_key", "project_id": "p"}}),
    ("api_style", {"extra": {"api_style": "roma"}}),
    ("paging", {"extra": {"paging": "offset"}}),
    ("page_size", {"extra": {"page_size": 0}}),
    ("page_size", {"extra": {"page_size": 51}}),
    ("page_size", {"extra": {"page_size": "ten"}}),
    ("page_size", {"extra": {"page_size": 2.5}}),
    ("page_size", {"extra": {"page_size": True}}),
    ("connect_timeout", {"extra": {"connect_timeout": 0}}),
    ("read_timeout", {"extra": {"read_timeout": "nan"}}),
    ("read_timeout", {"extra": {"read_timeout": [60]}}),
    ("max_retries", {"extra": {"max_retries": -1}}),
    ("verify_tls", {"extra": {"verify_tls": "maybe"}}),
    ("verify_tls", {"extra": {"verify_tls": 2}}),
    ("ca_bundle", {"extra": {"ca_bundle": "/nonexistent/ca.pem"}}),
    ("client_cert", {"extra": {"client_cert": "/nonexistent/client.pem"}}),
    ("proxy", {"extra": {"proxy": "proxy.example.com:3128"}}),
    ("proxy", {"extra": {"proxy": f"socks5://u:{SECRET}@proxy.example.com"}}),
    ("proxy", {"extra": {"proxy": f"http://u:{SECRET}@proxy.example.com:port"}}),
    ("allow_http", {"extra": {"allow_http": "https"}}),
    ("allow_resend", {"extra": {"allow_resend": "never"}}),
    ("resend_topics", {"extra": {"resend_topics": []}}),
    ("resend_topics", {"extra": {"resend_topics": '["orders"'}}),
    ("resend_topics", {"extra": {"resend_topics": [1]}}),
    ("resend_topics", {"extra": {"resend_topics": {"orders": True}}}),
    ("max_resend_messages", {"extra": {"max_resend_messages": 0}}),
    ("max_rate", {"extra": {"max_rate": 0}}),
    ("max_rate", {"extra": {"max_rate": "Infinity"}}),
]


@pytest.mark.parametrize(
    ("name", "fields"), BAD_INPUT, ids=[f"{name}-{number}" for number, (name, _) in enumerate(BAD_INPUT)]
)
def test_bad_input_is_one_sentence(name: str, fields: dict[str, Any]) -> None:
    """Each wrong value is refused in one short sentence that names field and remedy, and quotes no secret."""
    with pytest.raises(ConfigurationError) as caught:
        _parse(**fields)
    sentence = str(caught.value)
    assert f"'{name}'" in sentence
    assert re.fullmatch(r"Connection field [^\n]+: [^\n]+\.", sentence)
    assert len(sentence) < 250
    assert SECRET not in sentence


def test_missing_iam_endpoint_names_both_remedies() -> None:
    """If neither is known, the error names region and iam_endpoint."""
    with pytest.raises(ConfigurationError, match=r"'iam_endpoint'.*'region'"):
        _parse(host="mqs.example.com")


def test_path_segment_accepts_ids() -> None:
    """Ids of any shape are accepted, as long as they stay one segment of a path."""
    for value in ("0123456789abcdef", "640bb069-151e-4d5e-bd1b-000000000000", "my.instance_1~x"):
        assert path_segment("instance_id", value) == value
