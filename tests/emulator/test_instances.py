"""The instance, its topics, and the ids in a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.emulator.store import Topic

if TYPE_CHECKING:
    from tests.emulator.conftest import World


@pytest.mark.parametrize(
    ("path", "status", "number"),
    [
        ("/v2/p/mqs/instances/{instance}", 400, "MQS.00400002"),
        ("/v2/00000000000000000000000000000000/mqs/instances/{instance}", 401, "DMS.10240104"),
        ("/v2/{project}/mqs/instances/romamqs_1", 400, "MQS.00400030"),
        ("/v2/{project}/mqs/instances/00000000-0000-0000-0000-000000000000", 404, "MQS.00404022"),
        ("/v2/{project}/mqs", 404, "APIGW.0101"),
    ],
)
def test_ids_are_checked(world: World, path: str, status: int, number: str) -> None:
    """Malformed, foreign and unknown ids have different error numbers."""
    target = path.format(project=world.identity.project_id, instance=world.identity.instance_id)
    answer = world.ask("GET", target)
    assert (answer.status, answer.json()["error_code"]) == (status, number)


def test_the_instance_and_the_list_of_instances(world: World) -> None:
    """The list insists on include_internal=true."""
    shown = world.ask("GET", world.instance).json()
    assert (shown["instance_id"], shown["engine"], shown["status"]) == (world.identity.instance_id, "kafka", "RUNNING")
    assert world.ask("GET", world.base).status == 400
    assert world.ask("GET", world.base + "?include_internal=false").status == 400
    assert world.ask("GET", world.base + "?include_internal=true").json() == {"instances": [shown], "instance_num": 1}


def test_the_topic_list_can_be_cut_and_narrowed(world: World) -> None:
    """It contains partitions and retention."""
    world.topic(partitions=3, retention_hours=5)
    assert world.ask("GET", f"{world.instance}/topics").json()["topics"][0] | {"name": "orders"} == {
        **world.ask("GET", f"{world.instance}/topics?name=ord&limit=1&offset=0").json()["topics"][0],
        "partition": 3,
        "retention_time": 5,
    }
    assert world.ask("GET", f"{world.instance}/topics?offset=1").json()["topics"] == []
    assert world.ask("GET", f"{world.instance}/topics?name=x").json()["total"] == 0.0


def test_the_topic_list_can_be_cut_by_page(world: World) -> None:
    """10 of 25, whatever the limit is; the total stays, and further pages need an offset that is not ignored."""
    for number in range(25):
        world.state.store.put_topic(Topic(f"topic-{number:02}"))
    world.behave(topic_page_limit=10)
    pages = [world.ask("GET", f"{world.instance}/topics?limit=100&offset={offset}").json() for offset in (0, 10, 20)]
    assert [(len(page["topics"]), page["total"]) for page in pages] == [(10, 25), (10, 25), (5, 25)]
    world.behave(topic_paging=False)
    assert world.ask("GET", f"{world.instance}/topics?offset=10").json()["topics"][0]["name"] == "topic-00"
