"""The instance and its topics: the list of instances, one instance, its topic list, and the check of ids in a path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Call, OperationResult, json_response

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.state import State

_PROJECT = re.compile(r"[0-9a-f]{32}")
_INSTANCE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAX_PARTITIONS = 300


def check_ids(state: State, call: Call, token_project: str | None) -> None:
    """Refuse ids in a path that are malformed, unknown, or not those of the token (``None`` for a signed request)."""
    identity, project_id = state.identity, call.path["project_id"]
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


def list_instances(state: State, call: Call) -> OperationResult:
    """Answer ``GET …/mqs/instances``, which insists on ``include_internal=true`` as the vendor's page does."""
    if not call.boolean("include_internal", default=False):
        raise ServiceError("invalid_parameter", "include_internal must be true")
    return OperationResult(json_response(200, {"instances": [_instance(state)], "instance_num": 1}))


def show_instance(state: State, _: Call) -> OperationResult:
    """Answer ``GET …/mqs/instances/{instance_id}``."""
    return OperationResult(json_response(200, _instance(state)))


def list_topics(state: State, call: Call) -> OperationResult:
    """Answer ``GET …/topics``, narrowed by a part of ``name``, cut by ``limit`` and ``offset`` (in rows)."""
    part, limit, offset = call.text("name") or "", call.integer("limit"), call.integer("offset") or 0
    found = [topic for topic in state.store.topics() if part in topic.name]
    if (most := state.behaviour.topic_page_limit) is not None:
        limit = most if limit is None else min(limit, most)
    if not state.behaviour.topic_paging:
        offset = 0
    page = found[offset:] if limit is None else found[offset : offset + limit]
    number = float if state.behaviour.float_totals else int
    topics = [
        {
            "name": topic.name,
            "partition": topic.partitions,
            "replication": 3,
            "retention_time": topic.retention_hours,
            "app_id": "emulator",
            "app_name": "emulator",
            "sync_message_flush": False,
            "sync_replication": False,
            "permissions": ["all"],
            "topic_type": 0,
        }
        for topic in page
    ]
    body = {
        "total": number(len(found)),
        "size": number(len(page)),
        "permissions": ["all"],
        "remain_partitions": max(0, _MAX_PARTITIONS - sum(topic.partitions for topic in found)),
        "max_partitions": _MAX_PARTITIONS,
        "topics": topics,
    }
    return OperationResult(json_response(200, body))


def _instance(state: State) -> dict[str, Any]:
    identity = state.identity
    return {
        "instance_id": identity.instance_id,
        "name": f"romamqs_{identity.instance_id}",
        "engine": "kafka",
        "engine_version": "2.7",
        "status": "RUNNING",
        "connect_address": "127.0.0.1",
        "port": 9093,
        "ssl_enable": True,
        # a text, as the vendor's SDK has it
        "partition_num": str(_MAX_PARTITIONS),
        "created_at": "1607598463502",
        "retention_policy": "produce_reject",
        "message_query_inst_enable": True,
        "trace_enable": False,
        "rest_enable": False,
        "resource_spec_code": "dms.instance.kafka.cluster.c3.mini",
        "enterprise_project_id": "0",
    }
