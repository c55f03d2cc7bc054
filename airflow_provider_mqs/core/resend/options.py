"""
The arguments of a resend, and what the connection allows of it.

``ResendOptions.read`` is the one reader of the arguments of operator and command; ``allowed_by`` checks
them against a plan and the guard rails of its connection, which no argument loosens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.values.arguments import choice, flag, is_absent, number_above_0, whole_number
from airflow_provider_mqs.core.values.time_window import duration_s
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from airflow_provider_mqs.core.offsets.plan import Plan

ORDERINGS: Final = ("partition", "none")
ON_FAILURE: Final = ("stop", "continue")
ON_UNKNOWN: Final = ("verify", "fail", "resend")
ON_REPLAYED: Final = ("skip", "fail", "resend")
ON_UNVERIFIED: Final = ("warn", "fail")

# the service appends some messages after its gateway gave up waiting, and shows them a little later still
_LATE_S = 30.0


@dataclass(frozen=True, slots=True)
class ResendOptions:
    """How to send; the defaults are those of operator and command."""

    consumer_key: str | None = None
    """Application key for the header of each copy."""
    ordering: str = "partition"
    """``partition`` keeps the order inside each partition, ``none`` keeps no order."""
    concurrency: int = 16
    """Requests in flight."""
    max_rate: float | None = None
    """Messages a second, ``None`` for no limit."""
    max_messages: int = 100_000
    """A larger plan is refused."""
    on_failure: str = "stop"
    """``stop`` as soon as ``max_failures`` is passed, or ``continue`` to the end."""
    max_failures: int = 0
    """Messages that may fail or stay unknown."""
    on_unknown: str = "verify"
    """``verify`` looks for the copy, ``fail`` counts a failure, ``resend`` sends again."""
    on_replayed: str = "skip"
    """What happens to messages that another run has sent: ``skip``, ``fail`` or ``resend``."""
    verify: bool = True
    """Whether each copy is looked for at the end."""
    verify_wait_s: float = 90.0
    """Seconds after its POST from which a message without a copy was not sent."""
    on_unverified: str = "warn"
    """What happens if nobody can tell whether each message has its copy: ``warn`` or ``fail``."""
    canary: int = 0
    """Messages that are sent and verified before the others."""

    @classmethod
    def read(
        cls,
        settings: ConnectionSettings,
        *,
        consumer_key: Any = None,
        ordering: Any = "partition",
        concurrency: Any = 16,
        max_rate: Any = None,
        max_messages: Any = 100_000,
        on_failure: Any = "stop",
        max_failures: Any = 0,
        on_unknown: Any = "verify",
        on_replayed: Any = "skip",
        verify: Any = True,
        verify_wait: Any = None,
        on_unverified: Any = "warn",
        canary: Any = 0,
    ) -> ResendOptions:
        """
        Read the arguments of an operator or a command, also as the text of a template.

        ``settings`` has what is left to the connection; its limits are applied by ``allowed_by``.
        """
        verified = flag(verify, "verify")
        on_unverified = choice(on_unverified, "on_unverified", ON_UNVERIFIED)
        if on_unverified == "fail" and not verified:
            raise ConfigurationError(
                "on_unverified is 'fail' and verify is false, so every resend would fail: set verify=True."
            )
        return cls(
            consumer_key=None if is_absent(consumer_key) else str(consumer_key),
            ordering=choice(ordering, "ordering", ORDERINGS),
            concurrency=whole_number(concurrency, "concurrency", minimum=1, maximum=256),
            max_rate=None if is_absent(max_rate) else number_above_0(max_rate, "max_rate"),
            max_messages=whole_number(max_messages, "max_messages", minimum=1),
            on_failure=choice(on_failure, "on_failure", ON_FAILURE),
            max_failures=whole_number(max_failures, "max_failures", minimum=0),
            on_unknown=choice(on_unknown, "on_unknown", ON_UNKNOWN),
            on_replayed=choice(on_replayed, "on_replayed", ON_REPLAYED),
            verify=verified,
            verify_wait_s=verify_wait_s(verify_wait, settings),
            on_unverified=on_unverified,
            canary=whole_number(canary, "canary", minimum=0),
        )

    def allowed_by(self, settings: ConnectionSettings, plan: Plan) -> ResendOptions:
        """Return these options for a plan, within the limits of its connection; refuse what it does not allow."""
        if plan.count > self.max_messages:
            raise ConfigurationError(
                f"messages holds {plan.count} messages, more than max_messages={self.max_messages}: "
                "send a shorter window, or raise the limit."
            )
        if plan.count:
            check_resend(settings, topic=plan.topic, consumer_key=self.consumer_key, total=plan.total)
        # batches of one window run side by side, each with its share of the rate
        limit = None if settings.max_rate is None else settings.max_rate * plan.share
        return replace(self, max_rate=min((rate for rate in (self.max_rate, limit) if rate is not None), default=None))


def verify_wait_s(value: Any, settings: ConnectionSettings) -> float:
    """Read ``verify_wait``; by default the service has given its answer by then, and shows what it has appended."""
    wait_s = duration_s(value, "verify_wait")
    return settings.read_timeout + _LATE_S if wait_s is None else wait_s


def check_resend(settings: ConnectionSettings, *, topic: str, consumer_key: str | None, total: int) -> None:
    """Refuse a resend that the guard rails of the connection forbid; ``total`` counts all batches of a plan."""
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
