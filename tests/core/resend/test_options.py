"""How the arguments of a resend are read, and what the connection allows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.options import ResendOptions, check_resend
from airflow_provider_mqs.exceptions import ConfigurationError
from tests.support import settings_for

PLAN = Plan("orders", {0: ((0, 9),)})


def read(**arguments: Any) -> ResendOptions:
    return ResendOptions.read(settings_for(), **arguments)


def allowed(plan: Plan = PLAN, *, max_rate: Any = None, max_messages: Any = 10, **settings: Any) -> ResendOptions:
    connection = settings_for(**settings)
    return ResendOptions.read(connection, max_rate=max_rate, max_messages=max_messages).allowed_by(connection, plan)


def test_defaults_of_reader_and_value_agree() -> None:
    """A message without a copy was not sent, the read timeout and half a minute after its POST."""
    assert ResendOptions.read(settings_for(read_timeout=60)) == ResendOptions(verify_wait_s=90.0) == ResendOptions()


def test_texts_of_templates_are_understood() -> None:
    """Numbers, flags and durations come as text; ``None`` as text means that an argument is absent."""
    options = read(
        consumer_key="None",
        max_rate="2.5",
        max_failures="3",
        verify="false",
        verify_wait="1.5",
        canary="4",
        concurrency="8",
        max_messages="7",
    )

    assert options == ResendOptions(
        max_rate=2.5, max_failures=3, verify=False, verify_wait_s=1.5, canary=4, concurrency=8, max_messages=7
    )
    assert read(verify_wait=timedelta(minutes=2)).verify_wait_s == 120


@pytest.mark.parametrize(
    "name",
    [
        "ordering",
        "on_failure",
        "on_unknown",
        "on_replayed",
        "max_failures",
        "canary",
        "concurrency",
        "max_rate",
        "max_messages",
        "verify",
        "verify_wait",
    ],
)
def test_a_wrong_argument_is_named(name: str) -> None:
    """One sentence says which it is."""
    with pytest.raises(ConfigurationError, match=f"^{name} must be"):
        read(**{name: "sometimes"})


GUARD_RAILS = [
    ({"allow_resend": False}, "allow_resend"),
    ({"resend_topics": ("bills", "ORDERS", "audit-*")}, "resend_topics"),
    ({"max_resend_messages": 9}, "max_resend_messages"),
    ({"require_consumer_key": True}, "require_consumer_key"),
]


@pytest.mark.parametrize(("settings", "named"), GUARD_RAILS)
def test_each_guard_rail_refuses_and_names_itself(settings: dict[str, Any], named: str) -> None:
    """Whatever the DAG says; the sentence says who can change it."""
    with pytest.raises(ConfigurationError, match=f"'{named}'.*owner"):
        allowed(**settings)


def test_what_all_guard_rails_allow_passes() -> None:
    """Within every limit at once, nothing is refused."""
    settings = settings_for(
        resend_topics=("ord*",), require_consumer_key=True, max_resend_messages=10, allow_resend=True
    )

    check_resend(settings, topic="orders", consumer_key="billing", total=10)


def test_an_empty_plan_needs_no_permission() -> None:
    """Nothing will be sent."""
    assert allowed(Plan("", {}), allow_resend=False).ordering == "partition"


def test_a_plan_that_is_too_large_is_refused() -> None:
    """Nothing is cut off."""
    with pytest.raises(ConfigurationError, match="10 messages, more than max_messages=9"):
        allowed(max_messages=9)


@pytest.mark.parametrize(
    ("wanted", "limit", "rate"), [(None, 5.0, 5.0), (3, 5.0, 3.0), (8, 5.0, 5.0), (8, None, 8.0), (None, None, None)]
)
def test_the_lower_rate_applies(wanted: float | None, limit: float | None, rate: float | None) -> None:
    """That of the DAG, or that of the connection."""
    options = ResendOptions.read(settings_for(), max_rate=wanted)

    assert options.allowed_by(settings_for(max_rate=limit), PLAN).max_rate == rate
