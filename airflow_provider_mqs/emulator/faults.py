"""
What can go wrong on purpose, switchable while the service runs and repeatable with a seed.

Each fault that replaces an answer is one line of :class:`Faults`: *when* it strikes (``refused``: the operation does
not run; ``executed``: it runs and its answer is lost; ``late``: it runs up to ``late_append_s`` later) and *what* is
answered. *How often* is a :class:`Rule`. The other fields are plain values that the operations read.
"""
# ruff: noqa: RUF009  # _fault() makes a dataclass field

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mqs.emulator.behaviour import checked
from airflow_provider_mqs.emulator.rules import NEVER, OPERATIONS, Counter, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NOT_LOGIN = OPERATIONS - {"login", "projects"}
_RESEND = frozenset({"resend"})
_QUERY = frozenset({"query"})


@dataclass(frozen=True, slots=True)
class FaultKind:
    """
    When a fault strikes and what it answers.

    :param stage: whether the operation runs: not at all, now, or later
    :param answer: key of ``ERRORS``, or ``drop``, ``html``, ``redirect``
    :param operations: operations that it strikes when the rule names none
    """

    stage: Literal["refused", "executed", "late"]
    answer: str
    operations: frozenset[str] = _NOT_LOGIN


def _fault(stage: Literal["refused", "executed", "late"], answer: str, operations: frozenset[str] = _NOT_LOGIN) -> Rule:
    return field(default=NEVER, metadata={"kind": FaultKind(stage, answer, operations)})


@dataclass
class Faults:
    """
    Every fault and its rule; assign attributes to switch them on, also while requests are in flight.

    A rule can be given as :class:`Rule`, as a probability or as a dict. Assigning one starts its counting anew.
    Login is only struck by a rule that names ``login``.

    :param retry_after_s: ``Retry-After`` of a 429, in seconds; ``None`` for no header
    :param redirect_to: URL before the path of a redirect
    :param late_append_s: longest time between a lost answer and its append, in seconds
    :param visible_after_s: seconds from an append until queries show the message; the service's own log has it at once
    :param latency_s: seconds before an answer is sent
    :param latency_operations: which operations ``latency_s`` slows; default all
    :param token_requests: requests after which each token dies with 401 APIGW.0307; ``None`` for never
    :param clock_offset_s: seconds that the service's clock is ahead, for copies, ``Date``, tokens, signatures
    :param total_wobble: ``total`` is wrong by up to this many rows, anew for each page
    :param rows_between_pages: messages that arrive inside the window after each page
    :param live_producers: probability that a producer writes a message of equal key and size beside a copy
    :param live_equal_value: ... and of equal value
    :param query_max_ms: longest window, in ms, before ``query_refusal``
    :param query_max_rows: most rows in a window before ``query_refusal``
    :param query_refusal: what a too large window answers: 501 DMS.111501026, 408 DMS.111501024 or 500
    :param seed: start of the random numbers
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
    redirect_to: str = "http://127.0.0.1:9"
    late_append_s: float = 1.0
    visible_after_s: float = 0.0
    latency_s: float = 0.0
    latency_operations: frozenset[str] = frozenset()
    token_requests: int | None = None
    clock_offset_s: float = 0.0
    total_wobble: int = 0
    rows_between_pages: int = 0
    live_producers: float = 0.0
    live_equal_value: bool = False
    query_max_ms: int | None = None
    query_max_rows: int | None = None
    query_refusal: Literal["query_too_large", "query_timeout", "internal"] = "query_too_large"
    seed: int = 0

    rng: random.Random = field(init=False, repr=False)
    _counters: dict[str, Counter] = field(init=False, repr=False, default_factory=dict)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise AttributeError(f"There is no fault {name!r}. Choose from {', '.join(sorted(SETTABLE))}.")
        if name in KINDS:
            # a rule that is assigned again counts anew, so it must be another object
            rule = Rule.of(value)
            value = NEVER if rule == NEVER else dataclasses.replace(rule)
        object.__setattr__(self, name, value)
        if name == "seed":
            object.__setattr__(self, "rng", random.Random(value))  # noqa: S311  # repeatable, nothing to guess

    def pick(self, operation: str, place: Callable[[], tuple[int, int] | None], now_s: float) -> str | None:
        """
        Decide what goes wrong with one request; the first line of the table that strikes wins.

        :param operation: what is asked for
        :param place: gives ``(partition, message_offset)`` that the request names, if any
        :param now_s: time in seconds
        :return: the name of the fault, or ``None``
        """
        for name, kind in KINDS.items():
            rule: Rule = getattr(self, name)
            if rule is NEVER or operation not in (rule.operations or kind.operations):
                continue
            if rule.only and place() not in rule.only:
                continue
            if self._counter(name, rule).strikes(self.rng, now_s):
                return name
        return None

    def _counter(self, name: str, rule: Rule) -> Counter:
        counter = self._counters.get(name)
        if counter is None or counter.rule is not rule:
            counter = self._counters[name] = Counter(rule)
        return counter

    def latency(self, operation: str) -> float:
        """
        Say how long the answer takes.

        :param operation: what is asked for
        :return: seconds
        """
        return self.latency_s if operation in (self.latency_operations or OPERATIONS) else 0.0

    def strikes(self, probability: float) -> bool:
        """
        Draw once.

        :param probability: 0..1
        :return: whether it happens
        """
        return probability > 0 and self.rng.random() < probability

    def update(self, changes: Mapping[str, Any]) -> None:
        """
        Set faults by name, as the command line and the admin route do; nothing changes when one is wrong.

        :param changes: rules and values by name, as JSON has them
        :raises ValueError: when a name or a value is wrong; the sentence names it
        :raises TypeError: when a rule is none
        """
        rules = {name: Rule.of(value) for name, value in changes.items() if name in KINDS}
        values = checked(Faults, {**changes, **rules}, SETTABLE)
        for name, value in values.items():
            setattr(self, name, value)

    def clear(self) -> None:
        """Switch every fault off and start the random numbers anew."""
        for name in SETTABLE:
            setattr(self, name, getattr(_DEFAULTS, name))

    def as_json(self) -> dict[str, Any]:
        """
        Show every value and the rules that are on.

        :return: values by name, fit for JSON
        """
        values = {name: getattr(self, name) for name in SETTABLE}
        return {name: _shown(value) for name, value in values.items() if value is not NEVER}


def _shown(value: Any) -> Any:
    if isinstance(value, Rule):
        return value.as_json()
    return sorted(value) if isinstance(value, frozenset) else value


KINDS: dict[str, FaultKind] = {
    item.name: item.metadata["kind"] for item in dataclasses.fields(Faults) if "kind" in item.metadata
}
SETTABLE = tuple(item.name for item in dataclasses.fields(Faults) if item.init)
_NAMES = frozenset(item.name for item in dataclasses.fields(Faults))
_DEFAULTS = Faults()
