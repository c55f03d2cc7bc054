"""
What can go wrong on purpose, switchable while the service runs and repeatable with a seed.

A fault that replaces a response is one line of :class:`Faults`. The line says *when* it strikes (``refused``: the
operation does not run; ``executed``: it runs and its response is lost; ``late``: it runs up to ``late_append_s``
later) and *what* is answered instead. A :class:`Rule` says *how often*. The other fields of :class:`Faults` are plain
values that the operations read.
"""
# ruff: noqa: RUF009  # _fault() makes a dataclass field

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mqs.emulator.behaviour import checked, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPERATIONS = frozenset({"login", "projects", "query", "content", "resend", "instance", "instances", "topics"})
_NOT_LOGIN = OPERATIONS - {"login", "projects"}
_RESEND = frozenset({"resend"})
_QUERY = frozenset({"query"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How often a fault strikes; never by default."""

    probability: float = 0.0
    """From 0 to 1, drawn for each request."""
    next: int = 0
    """Strike the next n requests."""
    skip: int = 0
    """Let this many requests pass first."""
    rate: float | None = None
    """Strike every request beyond this many a second."""
    operations: frozenset[str] = frozenset()
    """Strike only these operations; by default those in the fault's line of :class:`Faults`."""
    only: frozenset[tuple[int, int]] = frozenset()
    """Strike only requests for these ``(partition, message_offset)``; by default any."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", frozenset(self.operations))
        object.__setattr__(self, "only", frozenset(self.only))
        if unknown := sorted(self.operations - OPERATIONS):
            raise ValueError(f"There is no operation {unknown[0]!r}. Choose from {', '.join(sorted(OPERATIONS))}.")

    @classmethod
    def of(cls, value: Any) -> Rule:
        """Read a rule, a probability, or the fields of a rule as JSON has them."""
        if isinstance(value, Rule):
            return value
        if isinstance(value, (int, float)):
            return cls(probability=float(value))
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is no rule. Use a probability or {{'next': 3, 'operations': ['resend']}}.")
        refs = frozenset((int(partition), int(offset)) for partition, offset in value.get("only", ()))
        return cls(**checked(Rule, {**value, "only": refs}))

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are not at their default, fit for JSON."""
        values = ((item.name, getattr(self, item.name)) for item in dataclasses.fields(self))
        return {name: plain(value) for name, value in values if value}


NEVER = Rule()
ALWAYS = Rule(probability=1.0)


@dataclass(slots=True)
class Counter:
    """One rule in use: what it has counted so far."""

    rule: Rule
    seen: int = 0  # requests that the rule was asked about
    tokens: float = 1.0  # of the token bucket for `rate`: requests that may pass at once
    refilled_s: float | None = None  # when `tokens` was brought up to date

    def strikes(self, rng: random.Random, now_s: float) -> bool:
        """Count one more request and return whether the fault strikes it."""
        rule, position = self.rule, self.seen - self.rule.skip
        self.seen += 1
        if position < 0:
            return False
        if position < rule.next:
            return True
        if rule.rate is not None:
            since = self.refilled_s if self.refilled_s is not None else now_s - 1.0
            self.tokens = min(max(1.0, rule.rate), self.tokens + rule.rate * (now_s - since))
            self.refilled_s = now_s
            if self.tokens < 1.0:
                return True
            self.tokens -= 1.0
        return rule.probability > 0 and rng.random() < rule.probability


@dataclass(frozen=True, slots=True)
class FaultKind:
    """When a fault strikes and what it answers."""

    stage: Literal["refused", "executed", "late"]  # the operation runs not at all, now, or later
    answer: str  # key of ERRORS, or drop, html, redirect
    operations: frozenset[str] = _NOT_LOGIN  # what it strikes if the rule names no operation


def _fault(stage: Literal["refused", "executed", "late"], answer: str, operations: frozenset[str] = _NOT_LOGIN) -> Rule:
    return field(default=NEVER, metadata={"kind": FaultKind(stage, answer, operations)})


@dataclass
class Faults:
    """
    Every fault and its rule; assign attributes to switch them on, also while requests are in flight.

    A rule can be written as :class:`Rule`, as a probability or as a dict. Assigning one restarts its count.
    Only a rule that names ``login`` strikes the login.
    """

    throttle_429: Rule = _fault("refused", "throttled")
    throttle_404: Rule = _fault("refused", "throttled_404")
    error_400: Rule = _fault("refused", "invalid_parameter")
    error_403: Rule = _fault("refused", "forbidden")
    error_500: Rule = _fault("refused", "internal")
    error_502: Rule = _fault("refused", "backend_down")
    error_503: Rule = _fault("refused", "query_busy")
    iam_unavailable: Rule = _fault("refused", "iam_unavailable")
    html_502: Rule = _fault("refused", "html")
    redirect: Rule = _fault("refused", "redirect")
    lost_504: Rule = _fault("refused", "backend_timeout")
    drop_before: Rule = _fault("refused", "drop")
    query_timeout: Rule = _fault("refused", "query_timeout", _QUERY)
    query_too_large: Rule = _fault("refused", "query_too_large", _QUERY)
    error_500_after: Rule = _fault("executed", "internal", _RESEND)
    html_502_after: Rule = _fault("executed", "html", _RESEND)
    timeout_504: Rule = _fault("executed", "backend_timeout", _RESEND)
    drop_after: Rule = _fault("executed", "drop", _RESEND)
    late_504: Rule = _fault("late", "backend_timeout", _RESEND)
    drop_late: Rule = _fault("late", "drop", _RESEND)

    retry_after_s: int | None = 1
    """``Retry-After`` of a 429, in seconds; ``None`` for no header."""
    redirect_to: str = "http://127.0.0.1:9"
    """Scheme and host that a redirect points to; the path stays."""
    late_append_s: float = 1.0
    """Longest time between a lost response and its append, in seconds."""
    visible_after_s: float = 0.0
    """Seconds from an append until queries show the message; the service's own log has it at once."""
    latency_s: float = 0.0
    """Seconds before a response is sent."""
    latency_operations: frozenset[str] = frozenset()
    """Operations that ``latency_s`` slows; all by default."""
    token_requests: int | None = None
    """Requests after which each token dies with 401 APIGW.0307; ``None`` for never."""
    clock_offset_s: float = 0.0
    """Seconds by which the service's clock is ahead: in copies, ``Date``, tokens and signatures."""
    total_wobble: int = 0
    """``total`` is wrong by up to this many rows, drawn again for each page."""
    rows_between_pages: int = 0
    """Messages that arrive inside the window after each page."""
    live_producers: float = 0.0
    """Probability that a producer writes a message of equal key and size beside a copy."""
    live_equal_value: bool = False
    """Such a message has the same value, too."""
    query_max_ms: int | None = None
    """Longest window in ms; a longer one gets ``query_refusal``. ``None`` for no limit."""
    query_max_rows: int | None = None
    """Most rows in a window; one with more gets ``query_refusal``. ``None`` for no limit."""
    query_refusal: Literal["query_too_large", "query_timeout", "internal"] = "query_too_large"
    """Answer to a window that is too large: 501 DMS.111501026, 408 DMS.111501024 or 500."""
    seed: int = 0
    """Seed of the random numbers."""

    rng: random.Random = field(init=False, repr=False)
    _counters: dict[str, Counter] = field(init=False, repr=False, default_factory=dict)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise AttributeError(f"There is no fault {name!r}. Choose from {', '.join(sorted(SETTABLE))}.")
        if name in KINDS:
            # a rule that is assigned again starts counting again, so it must be another object
            rule = Rule.of(value)
            value = NEVER if rule == NEVER else dataclasses.replace(rule)
        object.__setattr__(self, name, value)
        if name == "seed":
            object.__setattr__(self, "rng", random.Random(value))  # noqa: S311  # repeatable, nothing to guess

    def pick(self, operation: str, ref: Callable[[], tuple[int, int] | None], now_s: float) -> str | None:
        """
        Return the fault that strikes one request: the first in the table that strikes.

        ``ref`` returns the ``(partition, message_offset)`` of the request; it is called only if a rule asks for it,
        because it has to decode a body.
        """
        for name, kind in KINDS.items():
            rule: Rule = getattr(self, name)
            if rule is NEVER or operation not in (rule.operations or kind.operations):
                continue
            if rule.only and ref() not in rule.only:
                continue
            counter = self._counters.get(name)
            if counter is None or counter.rule is not rule:
                counter = self._counters[name] = Counter(rule)
            if counter.strikes(self.rng, now_s):
                return name
        return None

    def latency(self, operation: str) -> float:
        """Return the seconds to wait before the response is sent."""
        return self.latency_s if operation in (self.latency_operations or OPERATIONS) else 0.0

    def draw(self, probability: float) -> bool:
        """Draw once; a probability of 0 takes no random number, so that a seed repeats the others."""
        return probability > 0 and self.rng.random() < probability

    def update(self, changes: Mapping[str, Any]) -> None:
        """Set faults by name, as the command line and the admin route do; if one is wrong, none changes."""
        rules = {name: Rule.of(value) for name, value in changes.items() if name in KINDS}
        values = checked(Faults, {**changes, **rules}, SETTABLE)
        for name, value in values.items():
            setattr(self, name, value)

    def clear(self) -> None:
        """Switch every fault off and restart the random numbers."""
        for name in SETTABLE:
            setattr(self, name, getattr(_DEFAULTS, name))

    def as_json(self) -> dict[str, Any]:
        """Return every value and the rules that are on, fit for JSON."""
        values = ((name, getattr(self, name)) for name in SETTABLE)
        shown = ((name, value) for name, value in values if value is not NEVER)
        return {name: value.as_json() if isinstance(value, Rule) else plain(value) for name, value in shown}


KINDS: dict[str, FaultKind] = {
    item.name: item.metadata["kind"] for item in dataclasses.fields(Faults) if "kind" in item.metadata
}
SETTABLE = tuple(item.name for item in dataclasses.fields(Faults) if item.init)
_NAMES = frozenset(item.name for item in dataclasses.fields(Faults))
_DEFAULTS = Faults()
