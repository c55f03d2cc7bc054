"""The signature, against vectors made with the vendor's SDK."""

from __future__ import annotations

from airflow_provider_mqs.emulator.http import HttpRequest
from airflow_provider_mqs.emulator.signing import parse_authorization, signature, signed_at_s

_ACCESS, _SECRET = "QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7EXAMPLEKGpownRZlmVmHc"
_BASE = "/v2/0123456789abcdef0123456789abcdef/mqs/instances/640bb069-151e-4d5e-bd1b-000000000000/messages"
_HEADERS = {
    "X-Project-Id": "0123456789abcdef0123456789abcdef",
    "Host": "roma.cn-north-4.myhuaweicloud.com",
    "X-Sdk-Date": "20261122T000000Z",
}


def test_a_signed_query_has_the_vendors_signature() -> None:
    """It is that of the SDK for the same GET and headers."""
    target = _BASE + "?asc=false&end_time=1608609032042&limit=50&offset=0&start_time=1608608432042&topic=topic-test"
    request = HttpRequest.parse("GET", target, {"Content-Type": "application/json", **_HEADERS})
    names = ("content-type", "host", "x-project-id", "x-sdk-date")
    assert signature(request, names, _SECRET) == "1dcad4215dc272bac627a8b97efdca70215c01f4ea55796fd2cd6f02d0ef882f"


def test_a_signed_resend_with_a_temporary_key_has_the_vendors_signature() -> None:
    """It covers the body and the security token."""
    headers = {"Content-Type": "application/json;charset=UTF-8", "X-Security-Token": "tok", **_HEADERS}
    body = b'{"topic": "topic-test", "partition": 0, "message_offset": 4, "consumer_key": "keyA"}'
    request = HttpRequest.parse("POST", _BASE + "/action?action_id=resend", headers, body)
    names = ("content-type", "host", "x-project-id", "x-sdk-date", "x-security-token")
    assert signature(request, names, _SECRET) == "6f8141299cb6d3ca78a0a52fa8975bf11203123bfdbd731f6437e8c7fb1dbc4a"


def test_a_path_that_ends_in_a_slash_is_signed_as_it_is() -> None:
    """The canonical path ends in exactly one slash."""
    names = ("host", "x-sdk-date")
    with_slash, without = (HttpRequest.parse("GET", path, _HEADERS) for path in ("/a%20b/", "/a b"))
    assert signature(with_slash, names, "s") == signature(without, names, "s")


def test_the_authorization_header_is_split() -> None:
    """The SDK writes a space after each comma."""
    line = f"SDK-HMAC-SHA256 Access={_ACCESS}, SignedHeaders=host;x-sdk-date, Signature={'0' * 64}"
    assert parse_authorization(line) == (_ACCESS, ("host", "x-sdk-date"), "0" * 64)
    assert parse_authorization("Basic abc") is None


def test_the_time_of_a_signature_is_utc() -> None:
    """A request without a date has none."""
    assert signed_at_s(HttpRequest.parse("GET", "/", _HEADERS)) == 1795305600.0
    assert signed_at_s(HttpRequest.parse("GET", "/", {})) is None
