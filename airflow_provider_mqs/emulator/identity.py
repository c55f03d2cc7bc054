"""
Who may talk to the emulator, and the ids of what it serves: the one place with these constants.

None of them is a secret; ``python -m airflow_provider_mqs emulator`` prints them, to be pasted into a connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT_ID = "0123456789abcdef0123456789abcdef"
REGION = "cn-north-4"
OTHER_PROJECT_ID = "fedcba9876543210fedcba9876543210"
OTHER_REGION = "cn-north-1"
INSTANCE_ID = "640bb069-151e-4d5e-bd1b-000000000001"


@dataclass(frozen=True, slots=True)
class Identity:
    """
    The account of the emulator.

    :param domain: account name
    :param user: IAM user name
    :param password: password of the user
    :param access_key: access key id
    :param secret_key: secret access key
    :param temporary_access_key: access key id that needs ``security_token``
    :param temporary_secret_key: its secret
    :param security_token: value of ``X-Security-Token`` for the temporary key
    :param project_id: project of the instance
    :param instance_id: the MQS instance
    :param projects: names (regions) by project id, for logins of this account
    """

    domain: str = "demo-domain"
    user: str = "demo"
    password: str = field(default="demo-password", repr=False)
    access_key: str = "DEMOACCESSKEY0000001"
    secret_key: str = field(default="demo-secret-key", repr=False)
    temporary_access_key: str = "DEMOTEMPORARYKEY0001"
    temporary_secret_key: str = field(default="demo-temporary-secret-key", repr=False)
    security_token: str = field(default="demo-security-token", repr=False)
    project_id: str = PROJECT_ID
    instance_id: str = INSTANCE_ID
    projects: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({PROJECT_ID: REGION, OTHER_PROJECT_ID: OTHER_REGION})
    )

    @property
    def region(self) -> str:
        """
        Name the project of the instance.

        :return: the project's name, which is the region
        """
        return self.projects[self.project_id]
