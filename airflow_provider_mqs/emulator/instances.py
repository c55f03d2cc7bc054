"""What exists: the list of instances, the instance, its topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.errors import ServiceError
from airflow_provider_mqs.emulator.http import Outcome, json_response

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.call import Call
    from airflow_provider_mqs.emulator.records import Topic
    from airflow_provider_mqs.emulator.state import State


def list_instances(state: State, call: Call) -> Outcome:
    """
    Answer ``GET …/mqs/instances``.

    :param state: ids
    :param call: the request
    :return: the one instance
    :raises ServiceError: unless ``include_internal`` is ``true``, as the vendor's page demands
    """
    if not call.boolean("include_internal", default=False):
        raise ServiceError("invalid_parameter", "include_internal must be true")
    return Outcome(json_response(200, {"instances": [_instance(state)], "instance_num": 1}))


def show_instance(state: State, call: Call) -> Outcome:
    """
    Answer ``GET …/mqs/instances/{instance_id}``.

    :param state: ids
    :param call: the request
    :return: the instance
    """
    del call
    return Outcome(json_response(200, _instance(state)))


def list_topics(state: State, call: Call) -> Outcome:
    """
    Answer ``GET …/topics``, narrowed by a part of ``name``, cut by ``limit`` and ``offset`` (a row position here).

    :param state: topics
    :param call: the request
    :return: the topics by name
    :raises ServiceError: for a wrong parameter
    """
    part, limit, offset = call.text("name") or "", call.integer("limit"), call.integer("offset") or 0
    found = [topic for topic in state.store.topics() if part in topic.name]
    page = found[offset:] if limit is None else found[offset : offset + limit]
    number = float if state.behaviour.float_totals else int
    used = sum(topic.partitions for topic in found)
    return Outcome(
        json_response(
            200,
            {
                "total": number(len(found)),
                "size": number(len(page)),
                "permissions": ["all"],
                "remain_partitions": max(0, 300 - used),
                "max_partitions": 300,
                "topics": [_topic(topic) for topic in page],
            },
        )
    )


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
        "partition_num": "300",
        "created_at": "1607598463502",
        "retention_policy": "produce_reject",
        "message_query_inst_enable": True,
        "trace_enable": False,
        "rest_enable": False,
        "resource_spec_code": "dms.instance.kafka.cluster.c3.mini",
        "enterprise_project_id": "0",
    }


def _topic(topic: Topic) -> dict[str, Any]:
    return {
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
