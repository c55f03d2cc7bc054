"""
What is wrong with a connection, step by step: the one list that ``test_connection`` and ``doctor`` share.

Read-only. The first step that fails ends the list. Texts are fit for a user interface: no headers, bodies or secrets.
"""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs import exceptions
from airflow_provider_mqs._compat import mask_secret
from airflow_provider_mqs.core.client.auth import auth_for
from airflow_provider_mqs.core.client.client import MqsClient
from airflow_provider_mqs.core.client.errors import PROJECT_MISMATCH, number_of
from airflow_provider_mqs.core.client.flow import Flow, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.core.connection.settings import ConnectionSettings

# the web server waits for the answer to its "test" button
_QUICK_CHECK_S: Final = 10.0
_QUICK_REQUEST_S: Final = 4.0
_IN_SUMMARY: Final = frozenset({"endpoint", "instance", "permission"})


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one step found: ``text`` has no full stop, ``ok`` is ``None`` if there was nothing to check."""

    step: str
    text: str
    ok: bool | None = True


def check_connection(client: MqsClient) -> Iterator[CheckResult]:
    """Yield the result of each step as soon as it is known, and none after the first failure."""
    for step, check in CHECKS.items():
        try:
            result = check(client)
        except exceptions.MqsError as error:
            yield diagnose(step, error, client.settings)
            return
        yield result


def quick_check(settings: ConnectionSettings, instance_id: str | None) -> tuple[bool, str]:
    """Check a connection within ten seconds; return whether all is well, and a sentence that says what was found."""
    hurried = replace(
        settings,
        max_retries=0,
        connect_timeout=min(settings.connect_timeout, _QUICK_REQUEST_S),
        read_timeout=min(settings.read_timeout, _QUICK_REQUEST_S),
    )
    client = MqsClient(hurried, instance_id=instance_id, on_secret=mask_secret)
    results: list[CheckResult] = []

    def collect() -> None:
        with closing(client):
            results.extend(check_connection(client))

    # in a thread, since name resolution ignores timeouts
    thread = threading.Thread(target=collect, name="mqs-test-connection", daemon=True)
    thread.start()
    thread.join(_QUICK_CHECK_S)
    if thread.is_alive():
        step = STEPS[min(len(results), len(STEPS) - 1)]
        results.append(CheckResult(step, "no answer in time: try again, or run the doctor command", ok=False))
    last = results[-1]
    if last.ok is False:
        return False, f"{last.step} failed: {last.text}."
    return True, "; ".join(f"{result.step}: {result.text}" for result in results if result.step in _IN_SUMMARY) + "."


def check_endpoint(client: MqsClient) -> CheckResult:
    """Check that the host can be reached at all."""
    try:
        response = client.run(_get_root(client.settings.endpoint))
    except exceptions.TransportError as error:
        if not _is_tls(error):
            raise
        return CheckResult("endpoint", f"{client.settings.host} can be reached")
    return CheckResult("endpoint", f"{client.settings.host} answers (HTTP {response.status} without credentials)")


def check_tls(client: MqsClient) -> CheckResult:
    """Check that the host's certificate is trusted."""
    settings = client.settings
    if settings.endpoint.startswith("http:"):
        return CheckResult("TLS", "not used (http)", ok=None)
    client.run(_get_root(settings.endpoint))
    if not settings.verify_tls:
        return CheckResult("TLS", "the certificate is not checked (verify_tls is off)", ok=None)
    return CheckResult("TLS", "the certificate is trusted")


def check_login(client: MqsClient) -> CheckResult:
    """Check that IAM accepts the user."""
    settings = client.settings
    if settings.auth_type == "token":
        return CheckResult("login", "not needed; the next steps show whether the token is accepted", ok=None)
    if settings.auth_type == "access_key":
        return CheckResult("login", "not needed; the next steps show whether the access key is accepted", ok=None)
    client.run(auth_for(settings, mask_secret).project_id(client.api.policy, client.api.service_clock))
    return CheckResult("login", f"user {settings.login!r} has a token from {settings.iam_endpoint}")


def check_project(client: MqsClient) -> CheckResult:
    """Check that there is a project."""
    project_id = client.run(client.api.project_id())
    source = "the connection" if client.settings.project_id else "the token"
    return CheckResult("project", f"{project_id} (from {source})")


def check_instance(client: MqsClient) -> CheckResult:
    """Check that the instance exists and runs Kafka."""
    if not _has_instance(client):
        return CheckResult("instance", "not checked, as the connection has no 'instance_id'", ok=None)
    instance = client.run(client.api.show_instance())
    engine = str(instance.get("engine") or "kafka").lower()
    if engine != "kafka":
        return CheckResult("instance", f"it runs {engine}, but only Kafka instances can be replayed", ok=False)
    # whether this switch really governs the query API is not documented, so it is reported and not judged
    queries = "; message query is switched off there" if instance.get("message_query_inst_enable") is False else ""
    name = instance.get("name") or client.api.instance_id
    return CheckResult("instance", f"{name} is {instance.get('status') or 'there'}{queries}")


def check_permission(client: MqsClient) -> CheckResult:
    """Check that the user may read the instance."""
    if not _has_instance(client):
        return CheckResult("permission", "not checked without an instance", ok=None)
    topics = client.run(client.api.list_topics())
    hint = "" if topics else "; IAM users see only topics of applications that they created or were authorised for"
    return CheckResult("permission", f"visible topics: {len(topics)}{hint}")


CHECKS: Final[dict[str, Callable[[MqsClient], CheckResult]]] = {
    "endpoint": check_endpoint,
    "TLS": check_tls,
    "login": check_login,
    "project": check_project,
    "instance": check_instance,
    "permission": check_permission,
}
STEPS: Final = tuple(CHECKS)


def _get_root(url: str) -> Flow[Response]:
    """Send a request without credentials; any response will do."""
    response: Response = yield Request("GET", f"{url}/")
    return response


def _has_instance(client: MqsClient) -> bool:
    try:
        return bool(client.api.instance_id)
    except exceptions.ConfigurationError:
        return False


def _is_tls(error: exceptions.TransportError) -> bool:
    return error.phase == "tls" or "SSL" in str(error)


def diagnose(step: str, error: exceptions.MqsError, settings: ConnectionSettings) -> CheckResult:
    """
    Return which step an error belongs to, and what to do about it.

    That may be an earlier step than the one that was tried: a wrong access key shows only at the instance.
    """
    if isinstance(error, exceptions.TransportError):
        blamed, remedy = step, _transport_remedy(step, error)
    elif isinstance(error, exceptions.ApiError) and number_of(error.error_code) == PROJECT_MISMATCH:
        blamed, remedy = "project", "the credentials are for another project, so correct 'project_id'"
    else:
        rules = _AT_LOGIN if step == "login" else _LATER
        blamed, remedy = next(((rule[1], rule[2]) for rule in rules if isinstance(error, rule[0])), ("", ""))
        if blamed == "login" and not remedy:
            remedy = _CREDENTIALS_REMEDIES[settings.auth_type]
    text = str(error).rstrip(".")
    return CheckResult(blamed or step, f"{text}: {remedy}" if remedy else text, ok=False)


def _transport_remedy(step: str, error: exceptions.TransportError) -> str:
    field = "'iam_endpoint' or 'region'" if step == "login" else "'host'"
    if _is_tls(error):
        return f"correct {field} (https or http), or enter the file of the CA as 'ca_bundle'"
    if error.phase == "resolve":
        return f"correct {field}, or the name resolution of this machine"
    if error.phase == "exchange":
        return f"try again; if the error persists, correct {field}, 'port' and 'proxy'"
    return f"correct {field} and 'port', or let this machine through the firewall, or enter a 'proxy'"


_CREDENTIALS_REMEDIES: Final = {
    "password": "correct 'login', 'password' and 'domain_name'; a locked user is unlocked after some minutes",
    "access_key": "correct 'login' (access key id), 'password' (secret access key), and the clock of this machine",
    "token": "fetch a new 'auth_token'; a token lives for 24 hours at most",
}
_ASK_VENDOR: Final = "try again; if the error persists, report the request id to the vendor"
_NO_ENDPOINT: Final = "correct 'host' (with its path prefix), which is not an MQS endpoint"
_INSTANCE: Final = (
    "correct 'instance_id', which is the id of the MQS instance and not of ROMA Connect, and 'project_id'"
)

# error, the step to blame ("": the one that was tried), remedy ("": that of the credentials); the first match counts
_Rules = tuple[tuple[type[exceptions.MqsError], str, str], ...]
_AT_LOGIN: Final[_Rules] = (
    (exceptions.NotFoundError, "project", "correct 'project_id' or 'region', and 'domain_name'"),
    (exceptions.AuthenticationError, "login", ""),
    (exceptions.PermissionDeniedError, "login", ""),
    (exceptions.ProtocolError, "login", "correct 'iam_endpoint', which is not an IAM endpoint"),
    (exceptions.ApiError, "login", _ASK_VENDOR),
)
_LATER: Final[_Rules] = (
    (exceptions.AuthenticationError, "login", ""),
    (
        exceptions.PermissionDeniedError,
        "permission",
        "allow the user to read this instance (policy ROMA FullAccess, or roma:*:get and roma:*:list)",
    ),
    (exceptions.ApiNotPublishedError, "endpoint", _NO_ENDPOINT),
    (exceptions.ProtocolError, "endpoint", _NO_ENDPOINT),
    (exceptions.NotFoundError, "instance", _INSTANCE),
    (exceptions.BadRequestError, "instance", _INSTANCE),
    (exceptions.ApiError, "", _ASK_VENDOR),
)
