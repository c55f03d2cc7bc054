"""
What a window is waited for, and when that wait is over: one pure decision for poke, reschedule and deferred mode.

When a window is final
----------------------

A topic does not say that an hour is complete: producers buffer and retry, so messages of an hour still arrive when it
is over. A window counts as *final* ``settle_s`` after its end. Until then the service is not asked at all, since no
answer could end the wait. From then on too few messages end it at once (``on_closed_empty``), not only at the timeout.

The states of a wait
--------------------

=============  ========================================================================  ==============================
status         reached when                                                              the task
=============  ========================================================================  ==============================
``wait``       the window is not final; polls still differ (``stable_polls``); too few   is polled again
               messages with ``on_closed_empty="wait"``; a poll failed and may be retried
``satisfied``  the window is final and holds all that is required                        succeeds, with the result
``skip``       the window is final and holds too little                                  is skipped
``fail``       the same with ``on_closed_empty="fail"``; or no retry can help            fails for good
``error``      ``max_errors`` polls in a row have failed                                 fails, and may be retried
``timeout``    the deadline has passed                                                   fails for good
=============  ========================================================================  ==============================

Only ``wait`` can become another status. With ``soft_fail`` and ``never_fail`` each failure is a skip.

Who ends it
-----------

In poke and reschedule mode Airflow's base class polls again and keeps the time; in reschedule mode each poll is a
process of its own, and ``PollState`` is what the next one has to know. Deferred, the worker polls once and hands
condition, policy, state and an absolute deadline to the trigger, as plain JSON without secrets. The trigger sends one
event, a ``Decision`` as JSON, and ends. A triggerer that is killed has sent none, so the next one polls again. In the
next worker the sensor turns the event into a result or an exception; one that it does not understand is a failure,
never a success.

There is no clock here: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from airflow_provider_mqs.core.query.filters import Filters
from airflow_provider_mqs.core.values.arguments import choice, optional_number, texts, topic_name, whole_number
from airflow_provider_mqs.core.values.text import plural
from airflow_provider_mqs.core.values.time_window import TimeWindow, duration_s, iso

if TYPE_CHECKING:
    from datetime import timedelta

Status: TypeAlias = Literal["wait", "satisfied", "skip", "fail", "error", "timeout"]
_ENDINGS = tuple(status for status in get_args(Status) if status != "wait")
_TOO_FEW: Mapping[str, Status] = {"skip": "skip", "fail": "fail", "wait": "wait"}
SETTLE_S = 60.0
"""Seconds after its end before a window counts as final, unless the sensor says otherwise."""
_MAX_BACKOFF_S = 60.0
_MAX_DOUBLINGS = 30
_MIN_WAIT_S = 1.0
_NAMED = 5
_NO_FILTERS = Filters()
"""One for all conditions, of which a triggerer may hold a thousand."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a window must hold, and from when on it counts as final."""

    topic: str
    window: TimeWindow
    min_messages: int = 1
    settle_s: float = SETTLE_S
    on_closed_empty: str = "skip"
    filters: Filters = _NO_FILTERS
    min_per_partition: int | None = None
    expected_keys: tuple[str, ...] = ()
    stable_polls: int = 1

    @classmethod
    def read(
        cls,
        *,
        topic: Any,
        window: TimeWindow,
        min_messages: Any,
        min_per_partition: Any,
        expected_keys: Any,
        settle: Any,
        stable_polls: Any,
        on_closed_empty: Any,
        filters: Filters,
    ) -> Condition:
        """Check the arguments of the sensor, as templates and people write them."""
        settle_s = duration_s(settle, "settle")
        return cls(
            topic=topic_name(topic),
            window=window,
            min_messages=whole_number(min_messages, "min_messages", minimum=0),
            settle_s=SETTLE_S if settle_s is None else settle_s,
            on_closed_empty=choice(on_closed_empty, "on_closed_empty", tuple(_TOO_FEW)),
            filters=filters,
            min_per_partition=optional_number(min_per_partition, "min_per_partition", minimum=0),
            expected_keys=tuple(texts(expected_keys, "expected_keys")),
            stable_polls=whole_number(stable_polls, "stable_polls", minimum=1),
        )

    @property
    def is_simple(self) -> bool:
        """Whether the number of messages alone decides."""
        return self.filters.unset and self.min_per_partition is None and not self.expected_keys

    @property
    def final_s(self) -> float:
        """The moment from which the window counts as final, epoch seconds."""
        return self.window.end_ms / 1000 + self.settle_s

    def to_json(self) -> dict[str, Any]:
        """Return the argument of a trigger; Airflow keeps it in its database while the task is deferred."""
        return {
            "topic": self.topic,
            "window": asdict(self.window),
            "min_messages": self.min_messages,
            "settle_s": self.settle_s,
            "on_closed_empty": self.on_closed_empty,
            "filters": self.filters.to_xcom(),
            "min_per_partition": self.min_per_partition,
            "expected_keys": list(self.expected_keys),
            "stable_polls": self.stable_polls,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Condition:
        """Read what ``to_json`` wrote."""
        filters = value.get("filters")
        return cls(
            **{
                **value,
                "window": TimeWindow(**value["window"]),
                "filters": Filters.from_xcom(filters) if filters else _NO_FILTERS,
                "expected_keys": tuple(value.get("expected_keys", ())),
            }
        )


@dataclass(frozen=True, slots=True)
class WindowCount:
    """How many messages of a window count, as far as that had to be found out."""

    count: int
    exact: bool = True
    """Otherwise it is the service's own total, which may include messages of exactly the window's end."""
    at_least: bool = False
    """Whether the service may have held back more."""
    first_timestamp: int | None = None
    last_timestamp: int | None = None
    partitions: dict[str, int] | None = None
    """By partition, if that was asked for; the keys are text as in JSON."""
    missing_keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next: wait on, or how the wait ends. The message is safe to log; a result comes with success only."""

    status: Status
    message: str
    result: dict[str, Any] | None = None

    def expire(self, deadline_s: float, now_s: float) -> Decision:
        """Return a timeout instead of another wait once the deadline has passed."""
        if self.status != "wait" or now_s < deadline_s:
            return self
        return Decision("timeout", f"Timed out. {self.message}")

    def to_event(self) -> dict[str, Any]:
        """Return the payload of a trigger's event."""
        return asdict(self)

    @classmethod
    def from_event(cls, event: Any) -> Decision:
        """Read the payload of a trigger's event; anything that is not understood is a failure."""
        if isinstance(event, dict) and event.get("status") in _ENDINGS and isinstance(event.get("message"), str):
            result = event.get("result")
            known: dict[str, Any] = result if isinstance(result, dict) else {}
            is_result = type(known.get("count")) is int and isinstance(known.get("window"), dict)
            if is_result if event["status"] == "satisfied" else result is None:
                return cls(event["status"], event["message"], result)
        return cls("fail", "The triggerer sent an event that this version of the provider does not understand.")


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How long to wait between two polls, and how many failed ones in a row are too many (``None``: never)."""

    poke_interval_s: float
    exponential_backoff: bool = False
    max_wait_s: float | None = None
    max_errors: int | None = 10

    @classmethod
    def read(
        cls,
        *,
        poke_interval_s: float,
        exponential_backoff: bool,
        max_wait: timedelta | None,
        silent_fail: bool,
        max_consecutive_errors: Any,
    ) -> PollPolicy:
        """Check the arguments of the sensor; Airflow's base class has checked those that are its own."""
        max_errors = whole_number(max_consecutive_errors, "max_consecutive_errors", minimum=1)
        return cls(
            poke_interval_s=poke_interval_s,
            exponential_backoff=exponential_backoff,
            max_wait_s=max_wait.total_seconds() if max_wait else None,
            max_errors=None if silent_fail else max_errors,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the argument of a trigger; ``PollPolicy(**value)`` reads it."""
        return asdict(self)

    def wait_s(self, polls: int, errors: int, jitter: float) -> float:
        """
        Return the seconds until the next poll, at least one; after failed polls they grow.

        ``jitter`` in [0, 1) spreads the polls of many sensors whose wait doubles.
        """
        wait = self.poke_interval_s
        if self.exponential_backoff:
            # the formula of Airflow's base class: deferred mode keeps the pace of poke mode
            wait = max(self.poke_interval_s * 2.0 ** (min(polls, _MAX_DOUBLINGS) - 2), 1.0) * (1 + jitter)
        if self.max_wait_s is not None:
            wait = min(wait, self.max_wait_s)
        backoff = min(_MAX_BACKOFF_S, 2.0 ** min(errors, _MAX_DOUBLINGS)) if errors else 0.0
        return max(wait, backoff, _MIN_WAIT_S)

    def decide_on_error(self, error: Exception, errors: int) -> Decision:
        """Wait on after a failed poll, until too many failed in a row; this one is among ``errors``."""
        if self.max_errors is None or errors < self.max_errors:
            return Decision("wait", f"The poll failed ({errors} in a row) and will be retried: {error}")
        return Decision("error", f"Gave up after {errors} errors in a row (max_consecutive_errors): {error}")


@dataclass(frozen=True, slots=True)
class PollState:
    """What the polls so far have found: all that the next one must know, which may be in another process."""

    errors: int = 0
    """Polls in a row that failed."""
    count: int | None = None
    """Messages that the last successful poll found."""
    same: int = 0
    """Successful polls in a row that found this count."""

    def after_error(self) -> PollState:
        """Return the state after a poll that failed: what earlier ones have found still stands."""
        return replace(self, errors=self.errors + 1)

    def after_count(self, count: int) -> PollState:
        """Return the state after a poll that found so many messages."""
        return PollState(0, count, self.same + 1 if count == self.count else 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for a trigger or a state store; ``PollState(**value)`` reads it."""
        return asdict(self)


def decide(condition: Condition, counted: WindowCount | None, now_s: float, same: int = 1) -> Decision:
    """
    Decide whether the wait is over; never ``satisfied`` before the window is final.

    ``counted`` is what the window holds, ``None`` before anybody asked; ``same`` polls in a row have counted that.
    """
    if counted is None or now_s < condition.final_s:
        return Decision(
            "wait", f"The window {condition.window} is not final until {iso(round(condition.final_s * 1000))}."
        )
    about = "at least " if counted.at_least else "" if counted.exact else "about "
    matching = "" if condition.filters.unset else " matching the filters"
    messages = f"{about}{plural(counted.count, 'message')}{matching}"
    holds = f"The window {condition.window} of topic {condition.topic!r} holds {messages}"
    if same < condition.stable_polls:
        return Decision("wait", f"{holds}; {same} of {condition.stable_polls} polls in a row agree (stable_polls).")
    if lacking := "; ".join(_lacking(condition, counted)):
        return Decision(_TOO_FEW[condition.on_closed_empty], f"{holds} and is final, but {lacking}.")
    result = {"topic": condition.topic, "window": condition.window.to_xcom(), **asdict(counted)}
    del result["missing_keys"]
    if counted.partitions is None:
        del result["partitions"]
    return Decision("satisfied", f"{holds} and is final.", result)


def _lacking(condition: Condition, counted: WindowCount) -> Iterator[str]:
    if counted.count < condition.min_messages:
        yield f"min_messages requires {condition.min_messages}"
    least = condition.min_per_partition
    if least is not None:
        few = [number for number, count in (counted.partitions or {}).items() if count < least]
        if few or not counted.partitions:
            named = ", ".join(few[:_NAMED]) or "all"
            yield f"min_per_partition requires {least} in each partition (fewer in {named})"
    if counted.missing_keys:
        named = ", ".join(counted.missing_keys[:_NAMED])
        yield f"{len(counted.missing_keys)} of the expected_keys are missing ({named})"
