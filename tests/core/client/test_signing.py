"""SDK-HMAC-SHA256: the published example, the vendor's own signer, and what is never in a signature."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from huaweicloudsdkcore.sdk_request import SdkRequest  # type: ignore[import-untyped]  # the vendor ships no types
from huaweicloudsdkcore.signer.signer import Signer  # type: ignore[import-untyped]  # same
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Request
from airflow_provider_mqs.core.client.signing import canonical_request, sign

ACCESS_KEY = "QTWAOYTTINDUT2QVKYUC"
SECRET_KEY = "MFyfvK41ba2giqM7EXAMPLEKGpownRZlmVmHc"
NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
INSTANCE = "https://roma.cn-north-4.myhuaweicloud.com/v2/0123456789abcdef0123456789abcdef/mqs/instances"
INSTANCE += "/640bb069-151e-4d5e-bd1b-000000000000"


def signature(request: Request, security_token: str = "") -> str:
    signed = sign(request, access_key=ACCESS_KEY, secret_key=SECRET_KEY, security_token=security_token, now=NOW)
    return signed.headers["Authorization"].rpartition("Signature=")[2]


def test_published_example() -> None:
    """The canonical request of the vendor's developer guide hashes to the value printed there."""
    canonical = canonical_request(
        "GET",
        "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs"
        "?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
        {"content-type": "application/json", "Host": "service.region.example.com", "X-Sdk-Date": "20191115T033655Z"},
        b"",
    )

    hashed = hashlib.sha256(canonical.encode()).hexdigest()

    assert hashed == "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"


def test_query_is_signed_as_the_vendor_signs_it() -> None:
    """A window query gets the signature that the vendor's SDK gave it."""
    url = (
        f"{INSTANCE}/messages?asc=false&end_time=1608609032042&limit=50&offset=0"
        "&start_time=1608608432042&topic=topic-test"
    )
    headers = {"Content-Type": "application/json", "X-Project-Id": "0123456789abcdef0123456789abcdef"}

    assert signature(Request("GET", url, headers)) == "1dcad4215dc272bac627a8b97efdca70215c01f4ea55796fd2cd6f02d0ef882f"


def test_resend_with_temporary_key_is_signed_as_the_vendor_signs_it() -> None:
    """The body and the security token belong to what is signed."""
    body = b'{"topic": "topic-test", "partition": 0, "message_offset": 4, "consumer_key": "keyA"}'
    headers = {
        "Content-Type": "application/json;charset=UTF-8",
        "X-Project-Id": "0123456789abcdef0123456789abcdef",
    }
    request = Request("POST", f"{INSTANCE}/messages/action?action_id=resend", headers, body)

    assert signature(request, "tok") == "6f8141299cb6d3ca78a0a52fa8975bf11203123bfdbd731f6437e8c7fb1dbc4a"


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=8)
header_names = st.from_regex(r"X-[A-Za-z]{1,8}(_[a-z]{1,3})?", fullmatch=True)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(
    method=st.sampled_from(["GET", "POST"]),
    host=st.sampled_from(["mqs.example.com", "mqs.example.com:8443", "127.0.0.1:8089", "[::1]:8089"]),
    segments=st.lists(words, max_size=5),
    query=st.dictionaries(words, words, max_size=5),
    headers=st.dictionaries(header_names, header_values, max_size=4),
    body=st.binary(max_size=50),
)
def test_signature_is_that_of_the_vendors_signer(
    method: str, host: str, segments: list[str], query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    """Odd paths, foreign letters, ports and bodies: the vendor's signer and ours agree."""
    if len({name.lower() for name in headers}) < len(headers):
        return
    path = "/" + "/".join(quote(segment, safe="~") for segment in segments)
    tail = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query.items())
    all_headers = {"Content-Type": "application/json", **headers}
    theirs = SdkRequest(
        method=method,
        schema="https",
        host=host,
        resource_path=path,
        query_params=list(query.items()),
        header_params={**all_headers, "X-Sdk-Date": "20261122T000000Z", "Host": host},
        body=body,
    )
    Signer(SimpleNamespace(ak=ACCESS_KEY, sk=SECRET_KEY)).sign(theirs)

    ours = sign(
        Request(method, f"https://{host}{path}?{tail}", all_headers, body),
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        security_token="",
        now=NOW,
    )

    assert ours.headers["Authorization"] == theirs.header_params["Authorization"]


@pytest.mark.parametrize("security_token", ["", "temporary"])
def test_request_itself_is_not_touched(security_token: str) -> None:
    """A signed request is a new one without the secret; the next attempt starts from the unsigned one."""
    request = Request("GET", f"{INSTANCE}/messages", {"Accept": "application/json"})

    signed = sign(request, access_key=ACCESS_KEY, secret_key=SECRET_KEY, security_token=security_token, now=NOW)

    assert request.headers == {"Accept": "application/json"}
    assert signed.headers.get("X-Security-Token", "") == security_token
    assert signed.headers["Host"] == "roma.cn-north-4.myhuaweicloud.com"
    assert signed.headers["X-Sdk-Date"] == "20261122T000000Z"
    assert SECRET_KEY not in repr(dict(signed.headers))
