"""How the arguments of a resend are read, and held against the connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.options import ResendOptions, resend_options
from airflow_provider_mqs.exceptions import ConfigurationError
from tests.support import settings_for

PLAN = Plan("orders", {0: ((0, 9),)})
ARGUMENTS: dict[str, Any] = {
    "consumer_key": None,
    "max_rate": None,
    "max_failures": 0,
    "verify": True,
    "verify_wait": None,
    "canary": 0,
    "ordering": "partition",
    "on_failure": "stop",
    "on_unknown": "verify",
    "on_replayed": "skip",
}


def read(settings: dict[str, Any] | None = None, plan: Plan = PLAN, **changes: Any) -> ResendOptions:
    return resend_options(settings_for(**settings or {}), plan, **{**ARGUMENTS, **changes})


def test_defaults() -> None:
    """A message without a copy was not sent, the read timeout and half a minute after its POST."""
    assert read({"read_timeout": 60}) == ResendOptions(verify_wait_s=90.0)


def test_texts_of_templates_are_understood() -> None:
    """Numbers, flags and durations come as text; ``None`` as text means nothing."""
    read_ = read(consumer_key="None", max_rate="2.5", max_failures="3", verify="false", verify_wait="1.5", canary="4")

    assert read_ == ResendOptions(max_rate=2.5, max_failures=3, verify=False, verify_wait_s=1.5, canary=4)
    assert read(verify_wait=timedelta(minutes=2)).verify_wait_s == 120


@pytest.mark.parametrize("name", ["ordering", "on_failure", "on_unknown", "on_replayed", "max_failures", "canary"])
def test_a_wrong_word_is_named(name: str) -> None:
    """One sentence says which argument is wrong."""
    with pytest.raises(ConfigurationError, match=name):
        read(**{name: "sometimes"})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"allow_resend": False}, "allow_resend"),
        ({"resend_topics": ("bills",)}, "resend_topics"),
        ({"max_resend_messages": 9}, "max_resend_messages"),
        ({"require_consumer_key": True}, "require_consumer_key"),
    ],
)
def test_the_connection_decides(settings: dict[str, Any], named: str) -> None:
    """Whatever the DAG says."""
    with pytest.raises(ConfigurationError, match=named):
        read(settings)


def test_an_empty_plan_needs_no_permission() -> None:
    """Nothing will be sent."""
    assert read({"allow_resend": False}, Plan("", {})).ordering == "partition"


@pytest.mark.parametrize(
    ("wanted", "allowed", "rate"), [(None, 5.0, 5.0), (3, 5.0, 3.0), (8, 5.0, 5.0), (8, None, 8.0)]
)
def test_the_lower_rate_holds(wanted: float | None, allowed: float | None, rate: float) -> None:
    """The DAG's, or the connection's."""
    assert read({"max_rate": allowed}, max_rate=wanted).max_rate == rate
