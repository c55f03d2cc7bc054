"""Routing, and the shapes of error bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.emulator.conftest import World


def _dms(world: World) -> str:
    return f"/v2/{world.identity.project_id}/instances/{world.identity.instance_id}/messages?topic=orders"


def test_only_the_chosen_query_paths_exist(world: World) -> None:
    """The gateway does not know the other one, and DMS has no resend."""
    world.topic({})
    window = f"&start_time=0&end_time={NOW_MS}"
    assert world.ask("GET", _dms(world) + window).json()["error_code"] == "APIGW.0101"
    world.behave(styles=["dms"])
    assert world.ask("GET", _dms(world) + window).json()["total"] == 1
    assert (world.query().status, world.query().json()["error_code"]) == (404, "APIGW.0101")
    assert world.resend().status == 200
    assert world.ask("POST", _dms(world).replace("?", "/action?")).json()["error_code"] == "APIGW.0101"


def test_a_path_prefix_belongs_to_every_path(world: World) -> None:
    """The gateway knows no path without it."""
    world.behave(path_prefix="/roma")
    assert world.ask("GET", world.instance).status == 404
    assert world.ask("GET", "/roma" + world.instance).status == 200


def test_a_wrong_verb_is_405(world: World) -> None:
    """The path exists, but not with this method."""
    assert world.ask("DELETE", world.instance).json()["error_code"] == "MQS.00405001"


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({"integer_error_codes": True}, {"error_code": 404, "error_msg": "This instance does not exist."}),
        ({"error_form": "errorCode"}, {"errorCode": "MQS.00404022", "errorMsg": "This instance does not exist."}),
        ({"error_form": "code"}, {"code": "MQS.00404022", "message": "This instance does not exist."}),
        ({"code_prefix": "DMS"}, {"error_code": "DMS.00404022", "error_msg": "This instance does not exist."}),
        (
            {"error_form": "nested"},
            {"error": {"code": "MQS.00404022", "message": "This instance does not exist.", "title": "Not Found"}},
        ),
    ],
    ids=str,
)
def test_error_bodies_come_in_every_documented_shape(world: World, changes: dict[str, Any], body: Any) -> None:
    """Shape, prefix and type of the code are switches."""
    world.behave(**changes)
    assert world.ask("GET", world.base + "/00000000-0000-0000-0000-000000000000").json() == body


def test_gateway_errors_have_their_own_prefix_and_the_request_id(world: World) -> None:
    """Older gateways use the prefix APIG."""
    world.behave(gateway_prefix="APIG")
    answer = world.ask("GET", "/nowhere")
    assert answer.json()["error_code"] == "APIG.0101"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == world.service.log[-1].trace
