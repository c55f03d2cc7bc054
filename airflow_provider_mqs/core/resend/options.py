"""How a plan is sent: values, and how they are read from arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.resend.guard_rails import check_resend
from airflow_provider_mqs.core.values.arguments import choice, flag, is_absent, number_above_0, whole_number
from airflow_provider_mqs.core.values.time_window import duration_s

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.core.offsets.plan import Plan

_LATE_S = 30.0
"""So long after the last possible answer a message may still be appended, or come into sight."""


@dataclass(frozen=True, slots=True)
class ResendOptions:
    """
    How to send.

    :param consumer_key: application key for the header of each copy
    :param ordering: ``partition`` keeps the order inside each partition, ``none`` keeps no order
    :param max_rate: messages a second, ``None`` for no limit
    :param on_failure: ``stop`` as soon as ``max_failures`` is passed, or ``continue`` to the end
    :param max_failures: how many messages may fail or stay unknown
    :param on_unknown: ``verify`` looks for the copy, ``fail`` counts a failure, ``resend`` sends again
    :param on_replayed: what happens to messages that another run has sent: ``skip``, ``fail`` or ``resend``
    :param verify: whether each copy is looked for at the end
    :param verify_wait_s: so long after its POST a message without a copy was not sent
    :param canary: so many messages are sent and verified before the others
    """

    consumer_key: str | None = None
    ordering: str = "partition"
    max_rate: float | None = None
    on_failure: str = "stop"
    max_failures: int = 0
    on_unknown: str = "verify"
    on_replayed: str = "skip"
    verify: bool = True
    verify_wait_s: float = 90.0
    canary: int = 0


def resend_options(
    settings: ConnectionSettings,
    plan: Plan,
    *,
    consumer_key: Any,
    max_rate: Any,
    max_failures: Any,
    verify: Any,
    verify_wait: Any,
    canary: Any,
    **words: Any,
) -> ResendOptions:
    """
    Read the arguments of a resend, and hold them against the guard rails of the connection.

    :param settings: the connection
    :param plan: what will be sent
    :param consumer_key: application key, absent for all consumers
    :param max_rate: messages a second; the connection's limit holds where it is lower, in batches each has its share
    :param max_failures: whole number from 0
    :param verify: yes or no
    :param verify_wait: seconds or ``timedelta``; absent for the connection's read timeout and 30 s
    :param canary: whole number from 0
    :param words: ``ordering``, ``on_failure``, ``on_unknown``, ``on_replayed``
    :return: how to send
    :raises ConfigurationError: an argument is wrong, or the connection does not allow this resend
    """
    key = None if is_absent(consumer_key) else str(consumer_key)
    if plan.count:
        check_resend(settings, topic=plan.topic, consumer_key=key, total=plan.total)
    wait_s = duration_s(verify_wait, "verify_wait")
    return ResendOptions(
        consumer_key=key,
        max_rate=_rate(max_rate, settings, plan),
        max_failures=whole_number(max_failures, "max_failures", minimum=0),
        verify=flag(verify, "verify"),
        verify_wait_s=settings.read_timeout + _LATE_S if wait_s is None else wait_s,
        canary=whole_number(canary, "canary", minimum=0),
        **{name: choice(words[name], name, allowed) for name, allowed in _WORDS.items()},
    )


_WORDS = {
    "ordering": ("partition", "none"),
    "on_failure": ("stop", "continue"),
    "on_unknown": ("verify", "fail", "resend"),
    "on_replayed": ("skip", "fail", "resend"),
}


def _rate(wanted: Any, settings: ConnectionSettings, plan: Plan) -> float | None:
    asked = None if is_absent(wanted) else number_above_0(wanted, "max_rate")
    allowed = None if settings.max_rate is None else settings.max_rate * plan.share
    return min((rate for rate in (asked, allowed) if rate is not None), default=None)
