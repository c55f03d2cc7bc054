"""The local admin routes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator import admin
from airflow_provider_mqs.emulator.http import HttpRequest
from tests.emulator.conftest import NOW_MS, START_MS

if TYPE_CHECKING:
    from tests.emulator.conftest import World


def _ask(world: World, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    raw = b"" if body is None else json.dumps(body).encode()
    answer = admin.handle(world.service, HttpRequest.parse(method, "/admin" + target, {}, raw))
    return answer.status, answer.json()


def test_faults_are_switched_while_it_runs(world: World) -> None:
    """PUT changes some, DELETE clears all, GET shows them."""
    status, shown = _ask(world, "PUT", "/faults", {"throttle_429": {"next": 1}, "latency_s": 0.5})
    assert (status, shown["latency_s"]) == (200, 0.5)
    assert _ask(world, "GET", "/faults")[1]["throttle_429"] == {"next": 1}
    assert world.query().status == 429
    assert "throttle_429" not in _ask(world, "DELETE", "/faults")[1]


def test_behaviour_is_switched_while_it_runs(world: World) -> None:
    """PUT changes some of it."""
    assert _ask(world, "PUT", "/behaviour", {"paging": "row"})[0] == 200
    assert _ask(world, "GET", "/behaviour")[1]["paging"] == "row"


def test_messages_are_written_and_resends_are_shown(world: World) -> None:
    """The routes have all that a demo needs to show that every message was sent exactly once."""
    body = {"topic": "orders", "count": 3, "start_ms": START_MS, "end_ms": NOW_MS, "partitions": 1}
    assert _ask(world, "POST", "/seed", body)[1]["topics"] == [
        {"name": "orders", "partitions": 1, "retention_hours": 168}
    ]
    assert _ask(world, "POST", "/append", {"topic": "orders", "partition": 0, "value": "x"})[1]["message_offset"] == 3
    for offset in (1, 1, 2):
        world.resend(message_offset=offset)
    for target in ("/resends", "/resends?topic=orders"):
        shown = _ask(world, "GET", target)[1]
        assert shown["counts"] == {"orders": [[0, 1, 2], [0, 2, 1]]}
        assert [one["message_offset"] for one in shown["resends"]] == [1, 1, 2]
        assert len(shown["requests"]) == 3


def test_the_log_can_be_narrowed(world: World) -> None:
    """It lists the requests of one operation, and never those to the admin routes."""
    world.topic({})
    world.query()
    world.resend()
    assert [one["operation"] for one in _ask(world, "GET", "/log")[1]["requests"]] == ["query", "resend"]
    assert [one["operation"] for one in _ask(world, "GET", "/log?operation=resend")[1]["requests"]] == ["resend"]


def test_a_topic_is_made_anew(world: World) -> None:
    """It is there, and empty."""
    world.topic({})
    assert _ask(world, "POST", "/renew", {"topic": "orders"})[1]["topics"][0]["name"] == "orders"
    assert world.state.store.messages("orders") == []


def test_a_reset_and_the_overview(world: World) -> None:
    """The overview lists the topics, of which a reset leaves none."""
    world.topic({})
    assert _ask(world, "GET", "")[1]["topics"][0]["name"] == "orders"
    assert _ask(world, "POST", "/reset")[1]["topics"] == []


@pytest.mark.parametrize(
    ("method", "target", "body", "sentence"),
    [
        ("PUT", "/faults", {"throtle": 1}, "There is no switch 'throtle'"),
        ("PUT", "/faults", {"throttle_429": "x"}, "is no rule"),
        ("PUT", "/faults", [], "must be a JSON object"),
        ("PUT", "/behaviour", None, "Expecting value"),
        ("POST", "/seed", {"topic": "t"}, "missing"),
    ],
    ids=str,
)
def test_wrong_values_get_a_sentence(world: World, method: str, target: str, body: Any, sentence: str) -> None:
    """The status is 400, and nothing changes."""
    status, shown = _ask(world, method, target, body)
    assert status == 400
    assert sentence in shown["error"]


def test_an_unknown_route_lists_the_known_ones(world: World) -> None:
    """The status is 404, and the body names the routes that exist."""
    status, shown = _ask(world, "GET", "/fault")
    assert status == 404
    assert "PUT /admin/faults" in shown["error"]
