"""The guard rails of a connection."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.core.resend.guard_rails import check_resend
from airflow_provider_mqs.exceptions import ConfigurationError


def _check(extra: dict[str, Any], *, topic: str = "orders", consumer_key: str | None = None, total: int = 10) -> None:
    base = {"auth_type": "token", "auth_token": "t", "project_id": "p"}
    settings = ConnectionSettings.parse(host="mqs.example.com", extra={**base, **extra})
    check_resend(settings, topic=topic, consumer_key=consumer_key, total=total)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("allow_resend", {"allow_resend": False}),
        ("resend_topics", {"resend_topics": ["audit-*", "ORDERS"]}),
        ("require_consumer_key", {"require_consumer_key": True}),
        ("max_resend_messages", {"max_resend_messages": 9}),
    ],
)
def test_each_rail_refuses_and_names_itself(name: str, extra: dict[str, Any]) -> None:
    """A resend that the owner did not allow is refused, and the sentence says by which field."""
    with pytest.raises(ConfigurationError, match=f"'{name}'.*owner"):
        _check(extra)


def test_what_the_rails_allow_passes() -> None:
    """Within all limits at once, nothing is refused."""
    extra = {"resend_topics": ["ord*"], "require_consumer_key": True, "max_resend_messages": 10, "allow_resend": True}
    _check(extra, consumer_key="billing")
    _check({})
