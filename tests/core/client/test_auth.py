"""Credentials: one login for many requests, one fresh login after a 401, and never two with a wrong password."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.client.auth import AccessKeyAuth, PasswordAuth, TokenAuth, auth_for, login_request
from airflow_provider_mqs.core.client.flow import Request, Response, Sleep, Wait, drive
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.client.token_cache import TokenSlot
from airflow_provider_mqs.core.resend.sender import failure_of
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import ALWAYS, Rule
from airflow_provider_mqs.emulator.identity import OTHER_PROJECT_ID, PROJECT_ID, Identity
from airflow_provider_mqs.emulator.store import Topic
from airflow_provider_mqs.exceptions import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    ProtocolError,
    ServerError,
)
from tests.support import NOW_S, Local, local, settings_for

POLICY = RetryPolicy(jitter=lambda: 0.0)
DAY_S = 24 * 3600
LOGIN = {"operations": frozenset({"login"})}


def with_password(behaviour: Behaviour | None = None, *, secrets: list[str] | None = None, **changes: Any) -> Local:
    """A client that logs in, whose clock is that of the service."""
    client = local(behaviour)
    client.settings = replace(client.settings, **changes)
    client.service.log.clear()

    def clock() -> float:
        return client.now_s[0]

    masked = [] if secrets is None else secrets
    client.auth = PasswordAuth(login_request(client.settings), TokenSlot(clock), masked.append)
    return client


def operations(client: Local) -> list[str]:
    return [line.operation for line in client.service.log]


def test_error_of_a_login_says_that_the_request_was_not_sent() -> None:
    """A resend whose login failed was surely not executed; one that failed itself may have been."""
    client = with_password(project_id=None, region="cn-north-4")
    client.state.faults.error_500 = Rule(probability=1.0, **LOGIN)
    with pytest.raises(ServerError) as at_login:
        client.run(client.api.resend("orders", 0, 0))
    client.state.faults.clear()
    client.state.faults.error_500 = ALWAYS
    with pytest.raises(ServerError) as at_resend:
        client.run(client.api.resend("orders", 0, 0))

    assert (at_login.value.at_login, at_resend.value.at_login) == (True, False)
    assert [failure_of(0, 0, error.value).unknown for error in (at_login, at_resend)] == [False, True]


def test_token_is_fetched_once_for_many_requests() -> None:
    """The first request logs in, and the others send the same token."""
    client = with_password()

    for _ in range(3):
        client.run(client.api.show_instance())

    assert operations(client) == ["login", "instance", "instance", "instance"]
    assert len({request.headers.get("X-Auth-Token") for request in client.requests[1:]}) == 1


def test_login_asks_for_the_project() -> None:
    """The scope is the connection's project, or else the one named like its region; the catalogue is left out."""
    by_id = login_request(settings_for())
    by_region = login_request(settings_for(project_id=None, region="cn-north-4"))

    assert by_id.method == "POST"
    assert by_id.url == "http://127.0.0.1:1/v3/auth/tokens?nocatalog=true"
    assert json.loads(by_id.body) == {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "demo", "password": "demo-password", "domain": {"name": "demo-domain"}}},
            },
            "scope": {"project": {"id": PROJECT_ID}},
        }
    }
    assert json.loads(by_region.body)["auth"]["scope"] == {"project": {"name": "cn-north-4"}}


@pytest.mark.parametrize(("life_s", "renewed_after_s"), [(DAY_S, DAY_S - 600), (1000, 500), (3600, 3000)])
def test_token_is_renewed_ahead(life_s: int, renewed_after_s: int) -> None:
    """Ten minutes before its end, or at half of a short life, by the clock of IAM and not by ours."""
    client = with_password(Behaviour(token_lifetime_s=life_s))
    client.state.faults.clock_offset_s = 7200
    client.run(client.api.show_instance())

    client.now_s[0] = NOW_S + renewed_after_s - 1
    client.run(client.api.show_instance())
    assert operations(client).count("login") == 1

    client.now_s[0] = NOW_S + renewed_after_s
    client.run(client.api.show_instance())
    assert operations(client).count("login") == 2


@pytest.mark.parametrize(
    "life",
    [{}, {"issued_at": "2026-11-22T00:00:00.000000Z"}, {"issued_at": 1, "expires_at": 2}, {"expires_at": "soon"}],
)
def test_unreadable_life_is_taken_for_a_day(life: dict[str, Any]) -> None:
    """If IAM's answer cannot be read, its rule of 24 hours counts."""
    auth = PasswordAuth(login_request(settings_for()), TokenSlot(lambda: 0.0), lambda _: None)
    answer = Response(201, {"x-subject-token": "t"}, json.dumps({"token": life}).encode())

    assert drive(auth.token(POLICY, ServiceClock()), lambda _: answer).renew_at == DAY_S - 600


def test_token_that_died_early_costs_one_login() -> None:
    """After a 401 there is one fresh login, and the request is sent again."""
    client = with_password()
    client.state.faults.token_requests = 1

    client.run(client.api.show_instance())
    client.run(client.api.show_instance())

    assert operations(client) == ["login", "instance", "instance", "login", "instance"]
    assert [line.status for line in client.service.log] == [201, 200, 401, 201, 200]


def test_resend_is_sent_again_after_a_fresh_login() -> None:
    """A 401 comes before anything is executed, so even a resend may be repeated."""
    client = with_password()
    client.run(client.api.show_instance())
    client.state.store.put_topic(Topic("orders"))
    client.state.append("orders", 0, "v")
    client.state.faults.token_requests = 1

    client.run(client.api.resend("orders", 0, 0))

    assert operations(client) == ["login", "instance", "resend", "login", "resend"]
    assert len(client.state.store.resends("orders")) == 1


def test_second_401_is_final() -> None:
    """If a fresh token is not accepted either, the error is raised."""
    client = with_password()
    client.state.faults.token_requests = 0

    with pytest.raises(AuthenticationError, match="0307"):
        client.run(client.api.show_instance())

    assert operations(client) == ["login", "instance", "login", "instance"]


def test_wrong_project_costs_no_login() -> None:
    """Another token would be for the same project."""
    client = with_password()
    other = MqsApi(replace(client.settings, project_id=OTHER_PROJECT_ID), client.auth, policy=POLICY)

    with pytest.raises(AuthenticationError, match="10240104"):
        client.run(other.show_instance())

    assert operations(client) == ["login", "instance"]


def test_missing_permission_costs_no_login() -> None:
    """A 403 means that the token was accepted."""
    client = with_password()
    client.state.faults.error_403 = ALWAYS

    with pytest.raises(PermissionDeniedError):
        client.run(client.api.show_instance())

    assert operations(client) == ["login", "instance"]


def test_wrong_password_is_sent_once() -> None:
    """For 15 minutes there is no other login, so that no retry locks the user; then there is one."""
    client = with_password(password="wrong")

    for _ in range(3):
        with pytest.raises(AuthenticationError):
            client.run(client.api.show_instance())
    assert operations(client) == ["login"]

    client.now_s[0] += 15 * 60
    with pytest.raises(AuthenticationError):
        client.run(client.api.show_instance())
    assert operations(client) == ["login", "login"]


def test_login_is_repeated_if_iam_is_down() -> None:
    """An IAM that fails for a moment costs a wait."""
    client = with_password()
    client.state.faults.html_502 = Rule(next=2, **LOGIN)  # type: ignore[arg-type]  # one field of it

    client.run(client.api.show_instance())

    assert operations(client) == ["login", "login", "login", "instance"]
    assert [sleep.seconds for sleep in client.sleeps] == [0.25, 0.5]


def test_next_request_tries_again_after_iam_was_down() -> None:
    """Only refused credentials are remembered."""
    client = with_password()
    client.state.faults.error_503 = Rule(next=6, **LOGIN)  # type: ignore[arg-type]  # one field of it

    with pytest.raises(ServerError):
        client.run(client.api.show_instance())
    client.run(client.api.show_instance())

    assert operations(client)[-2:] == ["login", "instance"]


def test_flow_that_waits_takes_over_from_a_cancelled_login() -> None:
    """Nobody hangs because another flow was cancelled."""
    client = with_password()
    first, second = client.auth.token(POLICY, ServiceClock()), client.auth.token(POLICY, ServiceClock())  # type: ignore[attr-defined]  # PasswordAuth
    assert isinstance(next(first), Request)
    waiting = next(second)
    assert isinstance(waiting, Wait)
    assert not waiting.future.done()

    first.close()

    assert waiting.future.result(timeout=0) is None
    assert isinstance(second.send(None), Request)


def test_flow_that_waits_gets_the_token() -> None:
    """It goes on with the token of the other flow, without a request."""
    client = with_password()
    first, second = client.auth.token(POLICY, ServiceClock()), client.auth.token(POLICY, ServiceClock())  # type: ignore[attr-defined]  # PasswordAuth
    login = next(first)
    waiting = next(second)

    with pytest.raises(StopIteration) as ended:
        first.send(client.perform(login))
    waiting.future.result(timeout=0)
    with pytest.raises(StopIteration) as also:
        second.send(None)

    assert ended.value.value is also.value.value


def test_new_tokens_are_masked() -> None:
    """Each new token is passed on to be masked in logs, and no representation contains one."""
    secrets: list[str] = []
    client = with_password(secrets=secrets)
    client.state.faults.token_requests = 1

    client.run(client.api.show_instance())
    client.run(client.api.show_instance())

    assert len(secrets) == len(set(secrets)) == 2
    shown = repr((client.auth, client.requests, TokenAuth("s3cret"), AccessKeyAuth("ak", "s3cret", "s3cret")))
    assert not [secret for secret in (*secrets, "demo-password", "s3cret") if secret in shown]


def test_mask_that_fails_leaves_nobody_waiting() -> None:
    """An error in masking ends the login like any other."""
    slot = TokenSlot()
    auth = PasswordAuth(login_request(settings_for()), slot, lambda _: 1 / 0)  # type: ignore[arg-type]  # it raises
    answer = Response(201, {"x-subject-token": "t"}, b'{"token": {}}')

    with pytest.raises(ZeroDivisionError):
        drive(auth.token(POLICY, ServiceClock()), lambda _: answer)

    assert slot.claim(None) is None


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Response(201, {}, b'{"token": {}}'), "X-Subject-Token"),
        (Response(200, {"x-subject-token": "t"}, b"<html>"), "not JSON"),
        (Response(302, {"location": "http://127.0.0.1:9/"}), "redirect"),
    ],
)
def test_response_that_is_not_iams_ends_the_login(answer: Response, sentence: str) -> None:
    """The error is one sentence, and the next request may try again."""
    slot = TokenSlot()
    auth = PasswordAuth(login_request(settings_for()), slot, lambda _: None)

    with pytest.raises(ProtocolError, match=sentence):
        drive(auth.token(POLICY, ServiceClock()), lambda _: answer)

    assert slot.claim(None) is None


def test_project_comes_from_the_token() -> None:
    """A connection that knows only its region gets the project from IAM, without a further request."""
    client = with_password(project_id=None, region="cn-north-4")

    client.run(client.api.show_instance())

    assert operations(client) == ["login", "instance"]
    assert urlsplit(client.requests[-1].url).path.startswith(f"/v2/{PROJECT_ID}/mqs/")


@pytest.mark.parametrize(
    "token", [{}, {"project": {}}, {"project": {"id": 5}}, {"project": "p"}, {"domain": {"id": "d"}}]
)
def test_token_without_a_project_is_one_sentence(token: dict[str, Any]) -> None:
    """A token of a whole account names no project."""
    auth = PasswordAuth(login_request(settings_for()), TokenSlot(), lambda _: None)
    answer = Response(201, {"x-subject-token": "t"}, json.dumps({"token": token}).encode())

    with pytest.raises(ConfigurationError, match="project_id"):
        drive(auth.project_id(POLICY, ServiceClock()), lambda _: answer)


@pytest.mark.parametrize("auth", [TokenAuth("t"), AccessKeyAuth("ak", "sk", "")])
def test_token_and_access_key_need_the_project_in_the_connection(auth: TokenAuth | AccessKeyAuth) -> None:
    """Neither a bare token nor an access key shows its project."""
    with pytest.raises(ConfigurationError, match="project_id"):
        drive(auth.project_id(POLICY, ServiceClock()), lambda step: pytest.fail(f"performed {step}"))


def test_token_of_the_user_is_sent_and_a_401_is_final() -> None:
    """Nothing can renew it."""
    client = local()
    client.service.log.clear()
    client.run(client.api.show_instance())
    client.state.faults.token_requests = 0

    with pytest.raises(AuthenticationError):
        client.run(client.api.show_instance())

    assert operations(client) == ["instance", "instance"]


def with_key(**changes: Any) -> Local:
    client = local()
    client.service.log.clear()
    identity = Identity()
    keys = {"access_key": identity.access_key, "secret_key": identity.secret_key, "security_token": "", **changes}
    client.auth = AccessKeyAuth(**keys, now=lambda: datetime.fromtimestamp(client.now_s[0], timezone.utc))
    return client


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {
            "access_key": Identity().temporary_access_key,
            "secret_key": Identity().temporary_secret_key,
            "security_token": Identity().security_token,
        },
    ],
    ids=["permanent", "temporary"],
)
def test_service_accepts_the_signature(keys: dict[str, str]) -> None:
    """The service accepts permanent and temporary keys for every call, without a login."""
    client = with_key(**keys)

    client.run(client.api.show_instance())
    client.run(client.api.list_topics())

    assert operations(client) == ["instance", "topics"]


def test_each_attempt_has_its_own_signature() -> None:
    """The signature holds the time, and an old one would be refused after a long wait."""
    client = with_key()
    client.state.faults.throttle_429 = Rule(next=3)
    client.state.faults.retry_after_s = 30

    client.run(client.api.show_instance())

    dates = [request.headers["X-Sdk-Date"] for request in client.requests]
    assert len(set(dates)) == 4
    assert len({request.headers["Authorization"] for request in client.requests}) == 4


def test_refused_signature_is_final() -> None:
    """Five bad ones in a row lock the key, so there is never a second."""
    client = with_key(secret_key="wrong")

    with pytest.raises(AuthenticationError):
        client.run(client.api.show_instance())

    assert operations(client) == ["instance"]
    assert not [step for step in client.sleeps if isinstance(step, Sleep)]


@pytest.mark.parametrize(
    ("auth_type", "kind"), [("password", PasswordAuth), ("access_key", AccessKeyAuth), ("token", TokenAuth)]
)
def test_auth_type_chooses_the_credentials(auth_type: Any, kind: type) -> None:
    """``auth_type`` chooses the credentials."""
    assert type(auth_for(settings_for(auth_type=auth_type, auth_token="token"), lambda _: None)) is kind


def test_connections_of_one_identity_share_a_token() -> None:
    """Two clients of one user log in once; another password is another identity."""
    one, same = (auth_for(settings_for(), lambda _: None) for _ in range(2))
    other = auth_for(settings_for(password="changed"), lambda _: None)

    assert one.slot is same.slot  # type: ignore[attr-defined]  # both are PasswordAuth
    assert one.slot is not other.slot  # type: ignore[attr-defined]  # same


@pytest.mark.parametrize(
    ("headers", "life"),
    [
        ({"date": "Wed, 15 Nov 2023 03:00:00 GMT"}, {}),
        ({"date": "Wed, 15 Nov 2023 03:00:00 GMT"}, {"issued_at": "2001-01-01T00:00:00Z"}),
        ({}, {"issued_at": "2023-11-15T03:00:00.000000Z"}),
        ({}, {"issued_at": "2023-11-15T03:00:00"}),
    ],
)
def test_login_tells_the_time_until_the_service_does(headers: dict[str, str], life: dict[str, str]) -> None:
    """By the ``Date`` of IAM's answer, else by when the token was issued; also for those who find the token there."""
    slot, now = TokenSlot(lambda: 0.0), 1_700_017_200_000
    auth = PasswordAuth(login_request(settings_for()), slot, lambda _: None)
    answer = Response(201, {"x-subject-token": "t", **headers}, json.dumps({"token": life}).encode())
    clocks = [ServiceClock(lambda: 0.0) for _ in range(2)]

    for clock in clocks:
        drive(auth.token(POLICY, clock), lambda _: answer)

    assert [(clock.earliest_ms(), clock.latest_ms()) for clock in clocks] == [(now, now + 1000)] * 2


def test_login_does_not_set_the_services_clock() -> None:
    """IAM is another machine: once the service has answered, its own answers count."""
    client = with_password()
    api = client.api
    client.run(api.show_instance())
    before = api.earliest_ms(), api.latest_ms()

    def perform(step: Any) -> Any:
        client.state.faults.clock_offset_s = 3600 if step.url.endswith("/tokens?nocatalog=true") else 0
        return client.perform(step)

    client.state.faults.token_requests = 1
    drive(
        client.auth.token(
            POLICY, api.service_clock, stale=drive(client.auth.token(POLICY, api.service_clock), perform)
        ),
        perform,
    )  # type: ignore[attr-defined]  # PasswordAuth

    assert operations(client) == ["login", "instance", "login"]
    assert (api.earliest_ms(), api.latest_ms()) == before
