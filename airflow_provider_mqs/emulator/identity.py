"""
Who may use the emulator, the ids of what it serves, and the Airflow connection that carries them.

The only place with these constants. None of them is a secret: ``python -m airflow_provider_mqs emulator`` prints them,
to be pasted into a connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT_ID = "0123456789abcdef0123456789abcdef"
REGION = "cn-north-4"
OTHER_PROJECT_ID = "fedcba9876543210fedcba9876543210"
OTHER_REGION = "cn-north-1"
INSTANCE_ID = "640bb069-151e-4d5e-bd1b-000000000001"


@dataclass(frozen=True, slots=True)
class Identity:
    """The account of the emulator."""

    domain: str = "demo-domain"
    user: str = "demo"
    password: str = field(default="demo-password", repr=False)
    access_key: str = "DEMOACCESSKEY0000001"
    secret_key: str = field(default="demo-secret-key", repr=False)
    temporary_access_key: str = "DEMOTEMPORARYKEY0001"
    temporary_secret_key: str = field(default="demo-temporary-secret-key", repr=False)
    security_token: str = field(default="demo-security-token", repr=False)  # X-Security-Token of the temporary key
    project_id: str = PROJECT_ID
    instance_id: str = INSTANCE_ID
    projects: Mapping[str, str] = field(  # names, which are regions, by project id
        default_factory=lambda: MappingProxyType({PROJECT_ID: REGION, OTHER_PROJECT_ID: OTHER_REGION})
    )

    @property
    def region(self) -> str:
        """The region of the instance, which is the name of its project."""
        return self.projects[self.project_id]

    def secret_of(self, access_key: str, security_token: str | None) -> str | None:
        """Return the secret of an access key; ``None`` if the key is unknown or lacks its security token."""
        if access_key == self.access_key:
            return self.secret_key
        if (access_key, security_token) == (self.temporary_access_key, self.security_token):
            return self.temporary_secret_key
        return None

    def connection(
        self, url: str, auth_type: str, *, token: str = "", temporary: bool = False, **extra: Any
    ) -> dict[str, Any]:
        """
        Describe a service that listens at ``url`` as a connection of type ``mqs``.

        Only the names of the connection's fields are known here. ``token`` is the one for ``auth_type="token"``;
        ``extra`` adds extra fields, or takes one away with ``None``.
        """
        fixed = {
            "auth_type": auth_type,
            "project_id": self.project_id,
            "instance_id": self.instance_id,
            "region": self.region,
            "iam_endpoint": url,
        }
        login: dict[str, Any] = {}
        if auth_type == "password":
            login = {"login": self.user, "password": self.password}
            fixed["domain_name"] = self.domain
        elif auth_type == "access_key" and temporary:
            login = {"login": self.temporary_access_key, "password": self.temporary_secret_key}
            fixed["security_token"] = self.security_token
        elif auth_type == "access_key":
            login = {"login": self.access_key, "password": self.secret_key}
        elif auth_type == "token":
            fixed["auth_token"] = token
        else:
            raise ValueError(f"auth_type={auth_type!r} is none of password, access_key, token.")
        merged = {name: value for name, value in {**fixed, **extra}.items() if value is not None}
        return {"conn_type": "mqs", "host": url, **login, "extra": merged}
