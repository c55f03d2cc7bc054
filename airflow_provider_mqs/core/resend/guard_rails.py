"""
The limits that the owner of a connection sets on resends. No argument of an operator loosens them.

Pure decisions; the rate limit is applied where the sending is paced.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings


def check_resend(settings: ConnectionSettings, *, topic: str, consumer_key: str | None, total: int) -> None:
    """
    Refuse a resend that the connection does not allow.

    :param settings: the connection
    :param topic: topic to resend to
    :param consumer_key: the one consumer, or ``None`` for all
    :param total: messages of the whole plan, over all its batches
    :raises ConfigurationError: naming the guard rail and who can change it
    """
    limit = settings.max_resend_messages
    if not settings.allow_resend:
        raise _refused("allow_resend", "is false, so it may only read")
    if settings.resend_topics and not any(fnmatchcase(topic, glob) for glob in settings.resend_topics):
        raise _refused("resend_topics", f"does not allow the topic {topic!r}")
    if settings.require_consumer_key and not consumer_key:
        raise _refused("require_consumer_key", "is true and no consumer_key was given")
    if limit is not None and total > limit:
        raise _refused("max_resend_messages", f"is {limit} and the plan has {total} messages")


def _refused(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The connection does not allow this resend: its field '{name}' {reason}; ask the owner of the connection."
    )
