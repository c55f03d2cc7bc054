"""How to reach the emulator, as an Airflow connection; only the field names of the connection are known here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_mqs.emulator.service import Service


def connection(
    service: Service, url: str, auth_type: str, *, temporary: bool = False, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """
    Describe a running service as a connection of type ``mqs``.

    :param service: whose identity
    :param url: where it listens
    :param auth_type: ``password``, ``access_key`` or ``token``
    :param temporary: use the temporary access key, which needs a security token
    :param extra: further extra fields; ``None`` takes one away
    :return: fields of the connection, ``extra`` as a dict
    :raises ValueError: for another ``auth_type``
    """
    identity = service.state.identity
    fixed = {
        "auth_type": auth_type,
        "project_id": identity.project_id,
        "instance_id": identity.instance_id,
        "region": identity.region,
        "iam_endpoint": url,
    }
    login: dict[str, Any] = {}
    if auth_type == "password":
        login = {"login": identity.user, "password": identity.password}
        fixed["domain_name"] = identity.domain
    elif auth_type == "access_key" and temporary:
        login = {"login": identity.temporary_access_key, "password": identity.temporary_secret_key}
        fixed["security_token"] = identity.security_token
    elif auth_type == "access_key":
        login = {"login": identity.access_key, "password": identity.secret_key}
    elif auth_type == "token":
        fixed["auth_token"] = service.iam.issue(identity.project_id)[0]
    else:
        raise ValueError(f"auth_type={auth_type!r} is none of password, access_key, token.")
    merged = {name: value for name, value in {**fixed, **(extra or {})}.items() if value is not None}
    return {"conn_type": "mqs", "host": url, **login, "extra": merged}
