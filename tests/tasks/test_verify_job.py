"""Which replays a task is asked to prove: read from every shape of a report, checked before the topic is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.tasks.verify_job import VerifyArguments
from tests.support import settings_for

SETTINGS = settings_for()
REPORT: dict[str, Any] = {
    "schema": "mqs.replay/1",
    "replay_id": "one",
    "endpoint": SETTINGS.host,
    "instance_id": "i",
    "topic": "orders",
    "dry_run": False,
    "requested": 3,
    "sent": 3,
    "unknown": 0,
}


def report(**changes: Any) -> dict[str, Any]:
    return {**REPORT, **changes}


def read(**arguments: Any) -> VerifyArguments:
    return VerifyArguments.read(SETTINGS, "i", **arguments)


@pytest.mark.parametrize(
    "replays",
    [
        REPORT,
        [REPORT],
        [[REPORT], [REPORT]],
        json.dumps(REPORT),
        str([REPORT]),
        iter([REPORT]),
        [
            REPORT,
            report(replay_id="dry", dry_run=True, sent=0),
            report(replay_id="empty", requested=0, sent=0, topic=""),
        ],
    ],
)
def test_reports_come_in_every_shape(replays: Any) -> None:
    """One, a list, a lazy sequence, or text; dry runs and empty plans have sent nothing."""
    arguments = read(replays=replays)

    assert (arguments.topic, arguments.replay_ids) == ("orders", {"one"})


@pytest.mark.parametrize("replays", [[], [report(dry_run=True, sent=0)], [report(requested=0, sent=0, topic="")]])
def test_no_replay_is_nothing_to_prove(replays: Any) -> None:
    """A mapped task without batches leaves an empty list."""
    assert read(replays=replays).replay_ids == frozenset()


def test_a_report_that_left_everything_out_stands_for_those_before_it() -> None:
    """It has the id of its plan; whether the record knows that plan is no error."""
    arguments = read(replays=report(sent=0))

    assert (arguments.replay_ids, arguments.sent_ids) == ({"one"}, frozenset())


@pytest.mark.parametrize("absent", [None, "", "None"])
def test_a_topic_alone_means_all_of_its_replays(absent: Any) -> None:
    """The time of sending may be left open at either end."""
    arguments = read(replays=absent, topic="orders", start=absent, end="2026-11-22T01:00Z")

    assert arguments.replay_ids is None
    assert (arguments.sending.start_ms, arguments.sending.end_ms) == (None, 1_795_309_200_000)


def test_text_of_templates_is_read() -> None:
    """Numbers and words come as text; the wait is that of the resend if none is given."""
    arguments = read(topic="orders", max_requests="70", concurrency="3", on_unverified="warn")

    assert (arguments.max_requests, arguments.concurrency, arguments.on_unverified) == (70, 3, "warn")
    assert arguments.verify_wait_s == SETTINGS.read_timeout + 30
    assert read(topic="orders", verify_wait="2.5").verify_wait_s == 2.5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "replays and topic are both missing"),
        ({"topic": "or ders"}, "topic must start"),
        ({"replays": 7}, "replays must be resend.output"),
        ({"replays": "{{ ti.xcom_pull() }}"}, "replays is text, but neither JSON"),
        ({"replays": [None]}, "replays is empty"),
        ({"replays": {"schema": "mqs.offsets/1"}}, r"no report of a resend \(mqs.replay/1\)"),
        ({"replays": {"schema": "mqs.replay/1"}}, "no report of a resend"),
        ({"replays": report(endpoint="elsewhere")}, "endpoint 'elsewhere'"),
        ({"replays": report(instance_id="j")}, "instance_id 'j', not of 'i'"),
        ({"replays": REPORT, "topic": "payments"}, "topic 'orders', not of 'payments'"),
        ({"replays": [REPORT, report(topic="payments")]}, "topic 'payments', not of 'orders'"),
        ({"topic": "orders", "start": "yesterday"}, "start must be"),
        ({"topic": "orders", "verify_wait": "long"}, "verify_wait must be"),
        ({"topic": "orders", "on_unverified": "ignore"}, "on_unverified must be"),
        ({"topic": "orders", "max_requests": 0}, "max_requests must be"),
        ({"topic": "orders", "concurrency": 257}, "concurrency must be"),
    ],
)
def test_what_cannot_be_proven_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    """It names the argument and what to pass instead."""
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        read(**arguments)

    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
