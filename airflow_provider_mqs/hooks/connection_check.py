"""
What is wrong with a connection, step by step: the one list behind ``test_connection`` and ``doctor``.

Read-only. The first step that fails ends the list. Everything is said in sentences that are fit for a user interface:
no headers, no bodies, no secrets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs._compat import mask_secret
from airflow_provider_mqs.core.client.auth import auth_for
from airflow_provider_mqs.core.client.errors import PROJECT_MISMATCH, number_of
from airflow_provider_mqs.core.client.flow import Flow, Request, Response
from airflow_provider_mqs.exceptions import (
    ApiError,
    ApiNotPublishedError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    MqsError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.core.client.client import MqsClient
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings


@dataclass(frozen=True, slots=True)
class CheckResult:
    """
    What one step found.

    :param step: ``connection``, ``endpoint``, ``TLS``, ``login``, ``project``, ``instance`` or ``permission``
    :param text: what was found and, after a failure, what to do; no full stop
    :param ok: ``None`` where there was nothing to check
    """

    step: str
    text: str
    ok: bool | None = True


def findings(client: MqsClient) -> Iterator[CheckResult]:
    """
    Check a connection, step by step.

    :param client: opened on the connection
    :return: one finding a step, as soon as it is known; none after the first failure
    """
    for step, check in _STEPS:
        try:
            finding = check(client)
        except MqsError as error:
            yield diagnose(step, error, client.settings)
            return
        yield finding


def diagnose(step: str, error: MqsError, settings: ConnectionSettings) -> CheckResult:
    """
    Say which step an error belongs to and what to do about it.

    :param step: what was being tried
    :param error: what came of it
    :param settings: the connection
    :return: a failed finding, perhaps of an earlier step: a wrong access key shows only when the instance is asked
    """
    blamed, remedy = _blame(step, error, settings)
    text = str(error).rstrip(".")
    return CheckResult(blamed, f"{text}: {remedy}" if remedy else text, ok=False)


def _check_endpoint(client: MqsClient) -> CheckResult:
    try:
        response = client.run(_knock(client.settings.endpoint))
    except TransportError as error:
        if not _is_tls(error):
            raise
        return CheckResult("endpoint", f"{client.settings.host} can be reached")
    return CheckResult("endpoint", f"{client.settings.host} answers (HTTP {response.status} without credentials)")


def _check_tls(client: MqsClient) -> CheckResult:
    settings = client.settings
    if settings.endpoint.startswith("http:"):
        return CheckResult("TLS", "not used (http)", ok=None)
    client.run(_knock(settings.endpoint))
    if not settings.verify_tls:
        return CheckResult("TLS", "the certificate is not checked (verify_tls is off)", ok=None)
    return CheckResult("TLS", "the certificate is trusted")


def _check_login(client: MqsClient) -> CheckResult:
    settings = client.settings
    if settings.auth_type == "token":
        return CheckResult("login", "none needed; the token is proved by the steps below", ok=None)
    if settings.auth_type == "access_key":
        return CheckResult("login", "none needed; the access key is proved by the steps below", ok=None)
    client.run(auth_for(settings, mask_secret).project_id(client.api.policy))
    return CheckResult("login", f"user {settings.login!r} has a token from {settings.iam_endpoint}")


def _check_project(client: MqsClient) -> CheckResult:
    project_id = client.run(client.api.project_id())
    source = "the connection" if client.settings.project_id else "the token"
    return CheckResult("project", f"{project_id} (from {source})")


def _check_instance(client: MqsClient) -> CheckResult:
    if not _names_instance(client):
        return CheckResult("instance", "not checked, since the connection names no 'instance_id'", ok=None)
    found = client.run(client.api.show_instance())
    engine = str(found.get("engine") or "kafka").lower()
    if engine != "kafka":
        return CheckResult("instance", f"it runs {engine}, but only Kafka instances can be replayed", ok=False)
    return CheckResult("instance", _describe(client.api.instance_id, found))


def _names_instance(client: MqsClient) -> bool:
    try:
        return bool(client.api.instance_id)
    except ConfigurationError:
        return False


def _describe(instance_id: str, found: dict[str, Any]) -> str:
    # whether this switch really governs the query API is not documented, so it is told and not judged
    queries = "; message query is switched off there" if found.get("message_query_inst_enable") is False else ""
    return f"{found.get('name') or instance_id} is {found.get('status') or 'there'}{queries}"


def _check_permission(client: MqsClient) -> CheckResult:
    if not _names_instance(client):
        return CheckResult("permission", "not checked without an instance", ok=None)
    topics = client.run(client.api.list_topics())
    hint = "" if topics else "; IAM users see only topics of applications that they created or were authorised for"
    return CheckResult("permission", f"topics that can be seen: {len(topics)}{hint}")


_STEPS: Final[tuple[tuple[str, Callable[[MqsClient], CheckResult]], ...]] = (
    ("endpoint", _check_endpoint),
    ("TLS", _check_tls),
    ("login", _check_login),
    ("project", _check_project),
    ("instance", _check_instance),
    ("permission", _check_permission),
)
STEPS: Final = tuple(step for step, _ in _STEPS)


def _knock(url: str) -> Flow[Response]:
    """Ask without credentials; any answer will do."""
    response: Response = yield Request("GET", f"{url}/")
    return response


def _is_tls(error: TransportError) -> bool:
    return error.phase == "tls" or "SSL" in str(error)


def _blame(step: str, error: MqsError, settings: ConnectionSettings) -> tuple[str, str]:
    if isinstance(error, TransportError):
        return step, _unreachable(step, error)
    if isinstance(error, ApiError) and number_of(error.error_code) == PROJECT_MISMATCH:
        return "project", "the credentials are for another project, so correct 'project_id'"
    rules = _AT_LOGIN if step == "login" else _LATER
    blamed, remedy = next((rule[1:] for rule in rules if isinstance(error, rule[0])), ("", ""))
    return blamed or step, remedy or (_LOGIN_REMEDIES[settings.auth_type] if blamed == "login" else "")


def _unreachable(step: str, error: TransportError) -> str:
    field = "'iam_endpoint' or 'region'" if step == "login" else "'host'"
    if _is_tls(error):
        return f"correct {field} (https or http), or name the CA's file in 'ca_bundle'"
    if error.phase == "resolve":
        return f"correct {field}, or the name resolution of this machine"
    if error.phase == "exchange":
        return f"try again; if it stays, correct {field}, 'port' and 'proxy'"
    return f"correct {field} and 'port', or let this machine through (firewall, 'proxy')"


_LOGIN_REMEDIES: Final = {
    "password": "correct 'login', 'password' and 'domain_name'; a locked user is free again after some minutes",
    "access_key": "correct 'login' (access key id) and 'password' (secret access key), and this machine's clock",
    "token": "fetch a new 'auth_token'; tokens live for 24 hours at most",
}
_ASK_VENDOR: Final = "try again, and give the vendor the request id if it stays"
_INSTANCE_ID: Final = "correct 'instance_id', which is the id of the MQS instance and not of ROMA Connect"
_Rules = tuple[tuple[type[MqsError], str, str], ...]
_AT_LOGIN: Final[_Rules] = (
    (NotFoundError, "project", "correct 'project_id' or 'region', and 'domain_name'"),
    (AuthenticationError, "login", ""),
    (PermissionDeniedError, "login", ""),
    (ProtocolError, "login", "correct 'iam_endpoint', which is no IAM endpoint"),
    (ApiError, "login", _ASK_VENDOR),
)
_LATER: Final[_Rules] = (
    (AuthenticationError, "login", ""),
    (
        PermissionDeniedError,
        "permission",
        "let the user read this instance (policy ROMA FullAccess, or roma:*:get and list)",
    ),
    (ApiNotPublishedError, "endpoint", "correct 'host' (with its path prefix), which is no MQS endpoint"),
    (ProtocolError, "endpoint", "correct 'host' (with its path prefix), which is no MQS endpoint"),
    (NotFoundError, "instance", f"{_INSTANCE_ID}, and 'project_id'"),
    (BadRequestError, "instance", f"{_INSTANCE_ID}, and 'project_id'"),
    (ApiError, "", _ASK_VENDOR),
)
