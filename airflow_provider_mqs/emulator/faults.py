"""
What can go wrong on purpose, switchable while the service runs and repeatable with a seed.

A fault that strikes single requests is one line of :class:`Faults`. The line says *when* it strikes (``refused``: the
operation does not run; ``executed``: it runs and its response is replaced; ``late``: it runs up to ``late_append_s``
later; ``lost``: it never runs, though it is acknowledged; ``beside``: something else happens at the same moment) and
*what* is answered instead, which is nothing if the operation's own response stays. A :class:`Rule` says *how often*.
The other fields of :class:`Faults` are plain values that the operations read. A :class:`Turn` changes all of it in the
midst of a test, at a moment that is counted.
"""
# ruff: noqa: RUF009  # _fault() makes a dataclass field

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mqs.emulator.behaviour import Behaviour, checked, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

OPERATIONS = frozenset({"login", "projects", "query", "content", "resend", "instance", "instances", "topics"})
_NOT_LOGIN = OPERATIONS - {"login", "projects"}
_RESEND = frozenset({"resend"})
_QUERY = frozenset({"query"})
_APPENDED = frozenset(
    {"topic", "partition", "value", "timestamp_ms", "key", "size", "message_id", "app_id", "tag", "headers"}
)


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


Stage = Literal["refused", "executed", "late", "lost", "beside"]

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

    stage: Stage
    answer: str  # key of ERRORS, or drop, html, redirect, error_200, other_echo; empty for the operation's own response
    operations: frozenset[str] = _NOT_LOGIN  # what it strikes if the rule names no operation


def _fault(stage: Stage, answer: str, operations: frozenset[str] = _NOT_LOGIN) -> Rule:
    return field(default=NEVER, metadata={"kind": FaultKind(stage, answer, operations)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What changes in the midst of a test, once a number of copies or requests is reached."""

    after: int = 1
    """Copies or requests since the turn was set, the last of them included."""
    of: str = "copy"
    """What is counted: copies that were appended, or requests of one operation that were answered."""
    behaviour: dict[str, Any] = field(default_factory=dict)
    """Switches of the behaviour that change, by name."""
    faults: dict[str, Any] = field(default_factory=dict)
    """Faults that change, by name."""
    append: tuple[dict[str, Any], ...] = ()
    """Messages that a producer writes, each with the arguments of ``State.append``."""
    renew: str = ""
    """A topic that is deleted and made anew: empty, with offsets from 0."""

    @classmethod
    def of_json(cls, value: Any) -> Turn:
        """Read a turn or its fields, and refuse whatever could not be applied when its moment comes."""
        if not isinstance(value, (Turn, dict)):
            raise TypeError(f"{value!r} is no turn. Use {{'after': 10, 'behaviour': {{'copy_same_key': false}}}}.")
        turn = value if isinstance(value, Turn) else cls(**checked(Turn, value))
        if turn.of != "copy" and turn.of not in OPERATIONS:
            raise ValueError(f"of={turn.of!r} does not fit; it takes 'copy' or one of {', '.join(sorted(OPERATIONS))}.")
        checked(Behaviour, turn.behaviour)
        Faults().update(turn.faults)
        for message in turn.append:
            if not {"topic", "partition", "value"} <= message.keys() <= _APPENDED:
                raise ValueError(f"append={message!r} does not fit; it takes {', '.join(sorted(_APPENDED))}.")
        return turn

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are not at their default, fit for JSON."""
        return {item.name: value for item in dataclasses.fields(self) if (value := getattr(self, item.name))}


@dataclass
class Faults:
    """
    Every fault and its rule; assign attributes to switch them on, also while requests are in flight.

    A rule can be written as :class:`Rule`, as a probability or as a dict. Assigning one restarts its count.
    Only a rule that names ``login`` strikes the login. A value of a wrong type is refused.
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
    lost_after_ack: Rule = _fault("lost", "", _RESEND)
    late_after_ack: Rule = _fault("late", "", _RESEND)
    error_200: Rule = _fault("refused", "error_200")
    error_200_after: Rule = _fault("executed", "error_200", _RESEND)
    other_echo: Rule = _fault("executed", "other_echo", _RESEND)
    live_producers: Rule = _fault("beside", "", _RESEND)

    retry_after_s: int | None = 1
    """``Retry-After`` of a 429, in seconds; ``None`` for no header."""
    redirect_to: str = "http://127.0.0.1:9"
    """Scheme and host that a redirect points to; the path stays."""
    late_append_s: float = 1.0
    """Longest time between a response and its late append, in seconds."""
    error_200_code: str | int = "MQS.00500000"
    """Error code in the body of a response with status 200."""
    visible_after_s: float = 0.0
    """Seconds from an append until queries show the message; the service's own log has it at once."""
    visible_after_partitions: frozenset[int] = frozenset()
    """Partitions that ``visible_after_s`` delays; all by default."""
    visible_after_copies: bool = False
    """``visible_after_s`` delays only copies, and what producers write is seen at once."""
    latency_s: float = 0.0
    """Seconds before a response is sent."""
    latency_operations: frozenset[str] = frozenset()
    """Operations that ``latency_s`` slows; all by default."""
    token_requests: int | None = None
    """Requests after which each token dies with 401 APIGW.0307; ``None`` for never."""
    clock_offset_s: float = 0.0
    """Seconds by which the service's clock is ahead: in copies, ``Date``, tokens and signatures."""
    date_offset_s: float = 0.0
    """Seconds by which the gateway's clock is ahead of the others: in ``Date`` only."""
    retained_from_ms: int | None = None
    """Epoch ms before which messages are gone; ``None`` for the retention of the topic."""
    total_wobble: int = 0
    """``total`` is wrong by up to this many rows, drawn again for each page."""
    total_factor: float = 1.0
    """``total`` is multiplied by this and rounded down."""
    total_added: int = 0
    """Rows that ``total`` has too many; a negative number for too few."""
    total_says: int | float | str | None = None
    """``total`` is this instead; ``page`` for the rows of the page, ``null``, ``absent``. ``None`` for the truth."""
    total_pages: frozenset[int] = frozenset()
    """Pages, counted from 0, on which ``total`` is wrong; all by default."""
    null_rows: bool = False
    """``messages`` is null instead of a list."""
    slack_ms: int = 0
    """A window query answers with this many ms more on either side, and counts those rows in ``total``."""
    row_changes: dict[str, Any] = field(default_factory=dict)
    """Fields of a row that a window query shows with another value, such as ``{"topic": "other"}``."""
    row_changes_every: int = 1
    """``row_changes`` apply to every n-th row of a page; 0 for none."""
    content_changes: dict[str, Any] = field(default_factory=dict)
    """The same for the row of a query by partition and offset."""
    repeat_every: int = 0
    """Every n-th row of a page comes twice; 0 for none."""
    repeat_changes: dict[str, Any] = field(default_factory=dict)
    """Fields that differ in the second one."""
    rows_between_pages: int = 0
    """Messages that arrive inside the window after each page."""
    live_equal_value: bool = False
    """What ``live_producers`` write beside a copy has its value too, not only its key and size."""
    query_max_ms: int | None = None
    """Longest window in ms; a longer one gets ``query_refusal``. ``None`` for no limit."""
    query_max_rows: int | None = None
    """Most rows in a window; one with more gets ``query_refusal``. ``None`` for no limit."""
    query_refusal: Literal["query_too_large", "query_timeout", "internal"] = "query_too_large"
    """Answer to a window that is too large: 501 DMS.111501026, 408 DMS.111501024 or 500."""
    turns: tuple[Turn, ...] = ()
    """What changes in the midst; assigning it restarts the count."""
    seed: int = 0
    """Seed of the random numbers."""

    rng: random.Random = field(init=False, repr=False)
    _counters: dict[str, Counter] = field(init=False, repr=False, default_factory=dict)
    _happened: dict[str, int] = field(init=False, repr=False, default_factory=dict)  # what turns count

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise AttributeError(f"There is no fault {name!r}. Choose from {', '.join(sorted(SETTABLE))}.")
        if name in SETTABLE:
            value = checked(Faults, {name: _read(name, value)})[name]
        if name in KINDS:
            # a rule that is assigned again starts counting again, so it must be another object
            value = NEVER if value == NEVER else dataclasses.replace(value)
        elif name == "turns":
            object.__setattr__(self, "_happened", {})
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
            # what is off costs nothing, since this is done for each request
            if getattr(self, name) is NEVER or kind.stage == "beside":
                continue
            if self.strikes(name, operation, ref, now_s):
                return name
        return None

    def strikes(self, name: str, operation: str, ref: Callable[[], tuple[int, int] | None], now_s: float) -> bool:
        """Return whether one fault strikes a request, which counts it."""
        rule: Rule = getattr(self, name)
        if rule is NEVER or operation not in (rule.operations or KINDS[name].operations):
            return False
        if rule.only and ref() not in rule.only:
            return False
        counter = self._counters.get(name)
        if counter is None or counter.rule is not rule:
            counter = self._counters[name] = Counter(rule)
        return counter.strikes(self.rng, now_s)

    def due(self, what: str) -> Iterator[Turn]:
        """Count one copy or request, and return the turns whose moment has come."""
        if self.turns:
            count = self._happened[what] = self._happened.get(what, 0) + 1
            yield from [turn for turn in self.turns if (turn.of, turn.after) == (what, count)]

    def latency(self, operation: str) -> float:
        """Return the seconds to wait before the response is sent."""
        return self.latency_s if operation in (self.latency_operations or OPERATIONS) else 0.0

    def update(self, changes: Mapping[str, Any]) -> None:
        """Set faults by name, as the command line and the admin route do; if one is wrong, none changes."""
        values = checked(Faults, {name: _read(name, value) for name, value in changes.items()}, SETTABLE)
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


def _read(name: str, value: Any) -> Any:
    """Read a rule or turns as JSON has them; any other value stays."""
    if name in KINDS:
        return Rule.of(value)
    return tuple(map(Turn.of_json, value)) if name == "turns" and isinstance(value, (list, tuple)) else value


KINDS: dict[str, FaultKind] = {
    item.name: item.metadata["kind"] for item in dataclasses.fields(Faults) if "kind" in item.metadata
}
SETTABLE = tuple(item.name for item in dataclasses.fields(Faults) if item.init)
_NAMES = frozenset(item.name for item in dataclasses.fields(Faults))
_DEFAULTS = Faults()
