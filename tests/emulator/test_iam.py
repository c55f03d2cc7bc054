"""Logins, tokens, signatures and their locks."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator.http import HttpRequest, HttpResponse
from airflow_provider_mqs.emulator.iam import ALGORITHM, parse_authorization, signature, signed_at_s
from airflow_provider_mqs.emulator.identity import OTHER_PROJECT_ID

if TYPE_CHECKING:
    from tests.emulator.conftest import World

# the vectors of the signature were made with the vendor's SDK
_ACCESS, _SECRET = "QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7EXAMPLEKGpownRZlmVmHc"
_BASE = "/v2/0123456789abcdef0123456789abcdef/mqs/instances/640bb069-151e-4d5e-bd1b-000000000000/messages"
_HEADERS = {
    "X-Project-Id": "0123456789abcdef0123456789abcdef",
    "Host": "roma.cn-north-4.myhuaweicloud.com",
    "X-Sdk-Date": "20261122T000000Z",
}


def _signed(world: World, target: str = "", *, secret: str = "", at_s: float = 0, **headers: str) -> HttpResponse:
    moment = datetime.fromtimestamp(at_s or world.state.now_s(), timezone.utc)
    given = {"host": "mqs", "x-sdk-date": moment.strftime("%Y%m%dT%H%M%SZ"), **headers}
    request = HttpRequest.parse("GET", target or world.instance, given)
    key = headers.get("access", world.identity.access_key)
    names = ("host", "x-sdk-date")
    value = signature(request, names, secret or world.identity.secret_key)
    line = f"{ALGORITHM} Access={key}, SignedHeaders={';'.join(names)}, Signature={value}"
    return world.service.handle(HttpRequest.parse("GET", target or world.instance, {**given, "Authorization": line}))


def test_a_login_returns_a_token_that_works(world: World) -> None:
    """The status is 201, the token is in a header, times have microseconds, and the project is found by name."""
    answer = world.login()
    body = answer.json()["token"]
    assert answer.status == 201
    assert body["project"]["id"] == world.identity.project_id
    assert body["expires_at"] == "2023-11-15T22:13:20.000000Z"
    assert "catalog" not in body
    assert "X-IAM-Trace-Id" in answer.headers
    world.token = answer.headers["X-Subject-Token"]
    assert 1900 < len(world.token) < 2100
    assert world.ask("GET", world.instance).status == 200


def test_a_login_finds_the_project_by_id_and_can_list_the_catalog(world: World) -> None:
    """The scope may have an id instead of a name, and the catalog is left out only on request."""
    body = world.login(scope={"project": {"id": OTHER_PROJECT_ID}}, catalog=True).json()["token"]
    assert body["project"]["name"] == "cn-north-1"
    assert body["catalog"] == []


def test_a_token_without_project_opens_nothing(world: World) -> None:
    """The service answers only for a project."""
    world.token = world.login(scope={}).headers["X-Subject-Token"]
    assert world.ask("GET", world.instance).json()["error_code"] == "DMS.10240104"


def test_an_unknown_project_is_not_found(world: World) -> None:
    """IAM refuses it before it makes a token."""
    assert world.login(scope={"project": {"name": "mars-1"}}).status == 404


@pytest.mark.parametrize("wrong", [{"password": "x"}, {"name": "x"}, {"domain": "x"}], ids=str)
def test_a_wrong_login_is_401_in_the_nested_form(world: World, wrong: dict[str, str]) -> None:
    """A wrong user, account or password is answered alike."""
    answer = world.login(**wrong)
    assert answer.status == 401
    assert answer.json()["error"]["code"] == 401
    world.behave(iam_error_form="flat")
    assert world.login(**wrong).json()["error_code"] == "IAM.0062"


def test_five_wrong_passwords_lock_the_account_for_a_while(world: World) -> None:
    """The right password is refused until the lock ends; before the lock, it restarts the count."""
    world.behave(iam_error_form="flat")
    attempts = [{"password": "x"}] * 4 + [{}] + [{"password": "x"}] * 5
    assert [world.login(**attempt).status for attempt in attempts] == [401] * 4 + [201] + [401] * 5
    assert world.login().json()["error_code"] == "IAM.0061"
    world.now_s += 15 * 60
    assert world.login().status == 201


@pytest.mark.parametrize(
    "body", [{}, {"auth": None}, {"auth": {"identity": {"methods": ["totp"]}}}, [], {"auth": {"identity": []}}], ids=str
)
def test_a_malformed_login_is_400(world: World, body: Any) -> None:
    """Any part of the body may be missing or of another type."""
    assert world.ask("POST", "/v3/auth/tokens", body).status == 400


def test_a_login_by_other_methods_is_400(world: World) -> None:
    """Only passwords are accepted."""
    user = {"name": "a", "password": "b", "domain": {"name": "c"}}
    body = {"auth": {"identity": {"methods": ["totp"], "password": {"user": user}}, "scope": {"project": 3}}}
    assert world.ask("POST", "/v3/auth/tokens", body).status == 400


def test_missing_and_invented_tokens_get_different_messages(world: World) -> None:
    """The gateway's message says which of the two it is."""
    for token, sentence in (("", "x-auth-token not found"), ("abc.def", "decrypt token fail"), ("ü", "decrypt")):
        world.token = token
        answer = world.ask("GET", world.instance)
        assert (answer.status, answer.json()["error_code"]) == (401, "APIGW.0301")
        assert sentence in answer.json()["error_msg"]


def test_a_token_expires(world: World) -> None:
    """After its lifetime the gateway refuses it and says when it expired."""
    world.now_s += world.state.behaviour.token_lifetime_s
    assert "token expires, expires_at 2023-11-15" in world.ask("GET", world.instance).json()["error_msg"]


def test_a_token_can_die_early(world: World) -> None:
    """Each token serves a number of requests, and then another has to be fetched."""
    world.state.faults.token_requests = 2
    answers = [world.ask("GET", world.instance) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 401]
    assert answers[-1].json()["error_code"] == "APIGW.0307"
    world.token = world.login().headers["X-Subject-Token"]
    assert world.ask("GET", world.instance).status == 200


def test_a_token_of_another_project_is_refused(world: World) -> None:
    """The error number says that a new token would not help."""
    world.token = world.service.iam.issue(OTHER_PROJECT_ID)[0]
    assert world.ask("GET", world.instance).json()["error_code"] == "DMS.10240104"
    other = world.instance.replace(world.identity.project_id, OTHER_PROJECT_ID)
    assert world.ask("GET", other).json()["error_code"] == "MQS.00404022"


def test_a_signed_request_needs_no_token(world: World) -> None:
    """Its query is signed as sent, whatever the order and encoding."""
    assert _signed(world).status == 200
    assert _signed(world, f"{world.instance}/topics?name=a%20b&limit=3").status == 200


def test_projects_are_listed_by_name(world: World) -> None:
    """With this call, an access key finds its project id."""
    assert _signed(world, "/v3/projects?name=cn-north-4").json()["projects"][0]["id"] == world.identity.project_id
    assert len(_signed(world, "/v3/projects").json()["projects"]) == 2


def test_temporary_keys_need_their_security_token(world: World) -> None:
    """Without it, the key is unknown."""
    key, secret = world.identity.temporary_access_key, world.identity.temporary_secret_key
    good: dict[str, Any] = {"access": key, "x-security-token": world.identity.security_token}
    assert _signed(world, secret=secret, **good).status == 200
    refused = _signed(world, secret=secret, access=key)
    assert "ak not exist" in refused.json()["error_msg"]


@pytest.mark.parametrize("skew_s", [-901, 901])
def test_a_skewed_clock_is_reported(world: World, skew_s: int) -> None:
    """A skew of up to 15 minutes is tolerated, in both directions."""
    assert _signed(world, at_s=world.now_s + skew_s * 0.99).status == 200
    assert "signature expired, signature time:2023" in _signed(world, at_s=world.now_s + skew_s).json()["error_msg"]


def test_the_services_own_clock_can_be_off(world: World) -> None:
    """The Date header and the check of the skew follow it."""
    world.state.faults.clock_offset_s = 1000
    assert "signature expired" in _signed(world, at_s=world.now_s).json()["error_msg"]
    assert _signed(world).headers["Date"] == "Tue, 14 Nov 2023 22:30:00 GMT"


def test_five_bad_signatures_lock_the_key(world: World) -> None:
    """The lock holds for five minutes."""
    assert {_signed(world, secret="wrong").json()["error_msg"].rpartition(": ")[2] for _ in range(5)} == {
        "verify aksk signature fail"
    }
    assert "reach the limit" in _signed(world).json()["error_msg"]
    world.now_s += 300
    assert _signed(world).status == 200


@pytest.mark.parametrize("line", ["", " Access=DEMOACCESSKEY0000001, SignedHeaders=host, Signature=" + "0" * 64])
def test_a_signature_without_date_or_form_is_refused(world: World, line: str) -> None:
    """An unreadable header is a bad signature, not a crash."""
    assert world.ask("GET", world.instance, headers={"Authorization": ALGORITHM + line}).status == 401


def test_an_unreadable_date_is_refused(world: World) -> None:
    """It is a bad signature even if the header is signed."""
    names = "SignedHeaders=x-sdk-date"
    line = f"{ALGORITHM} Access={world.identity.access_key}, {names}, Signature={'0' * 64}"
    answer = world.ask("GET", world.instance, headers={"Authorization": line, "X-Sdk-Date": "now"})
    assert "x-sdk-date is not signed" in answer.json()["error_msg"]


def test_nothing_secret_is_shown(world: World) -> None:
    """Neither the identity's repr nor the log contains a secret."""
    world.login()
    shown = repr(world.identity) + repr(world.service.log)
    assert world.identity.password not in shown
    assert world.identity.secret_key not in shown
    assert world.token not in shown
    assert json.dumps(world.identity.domain).strip('"') in shown


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
