"""The check of the ids in a path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_mqs.emulator.errors import ServiceError

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.call import Call
    from airflow_provider_mqs.emulator.identity import Identity

_PROJECT = re.compile(r"[0-9a-f]{32}")
_INSTANCE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def check_path(identity: Identity, call: Call, token_project: str | None) -> None:
    """
    Refuse ids that are malformed, unknown, or not those of the token.

    :param identity: the ids that exist
    :param call: the request
    :param token_project: project of the token; ``None`` for a signed request
    :raises ServiceError: with the documented number
    """
    project_id = call.path["project_id"]
    if not _PROJECT.fullmatch(project_id):
        raise ServiceError("invalid_project")
    if project_id != (identity.project_id if token_project is None else token_project):
        raise ServiceError("other_project")
    instance_id = call.path.get("instance_id")
    if instance_id is None:
        return
    if not _INSTANCE.fullmatch(instance_id):
        raise ServiceError("invalid_instance")
    if (project_id, instance_id) != (identity.project_id, identity.instance_id):
        raise ServiceError("no_instance")
