"""
When a window is final and holds what is needed: one pure decision for poke, reschedule and the trigger.

Values that travel to the triggerer and back are plain JSON. No clock here: the time is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from airflow_provider_mqs.core.values.time_window import TimeWindow, iso

Status: TypeAlias = Literal["wait", "satisfied", "skip", "fail", "error", "timeout"]
_ENDINGS = tuple(status for status in get_args(Status) if status != "wait")
_TOO_FEW: Mapping[str, Status] = {"skip": "skip", "fail": "fail", "wait": "wait"}
ON_CLOSED_EMPTY = tuple(_TOO_FEW)
SETTLE_S = 60.0
"""How long after its end a window counts as final, where nothing else is said."""
_MOST_BACKOFF_S = 60.0
_MOST_DOUBLINGS = 30
_SHORTEST_WAIT_S = 1.0
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Condition:
    """
    What a window is waited for.

    :param topic: topic name
    :param start_ms: first millisecond of the window, epoch
    :param end_ms: the millisecond behind the last, epoch
    :param source: where the window came from, see ``TimeWindow``
    :param min_messages: how many messages it must hold
    :param min_per_partition: how many each partition of the topic must hold, ``None`` for any number
    :param expected_keys: keys that its messages must have, each at least once
    :param stable_polls: so many looks in a row must find the same number
    :param settle_s: seconds after its end before it counts as final; it is not looked at earlier
    :param on_closed_empty: what a final window with fewer messages does: ``skip``, ``fail`` or ``wait``
    :param filters: which messages count, as plain JSON
    """

    topic: str
    start_ms: int
    end_ms: int
    source: str
    min_messages: int = 1
    settle_s: float = SETTLE_S
    on_closed_empty: str = "skip"
    filters: dict[str, Any] = field(default_factory=dict)
    min_per_partition: int | None = None
    expected_keys: list[str] = field(default_factory=list)
    stable_polls: int = 1

    @property
    def window(self) -> TimeWindow:
        """The time window."""
        return TimeWindow(self.start_ms, self.end_ms, self.source)

    @property
    def is_simple(self) -> bool:
        """Whether the number of messages alone decides."""
        return self.min_per_partition is None and not self.expected_keys

    @property
    def final_s(self) -> float:
        """The moment from which the window counts as final, epoch seconds."""
        return self.end_ms / 1000 + self.settle_s

    def to_json(self) -> dict[str, Any]:
        """
        Write it as the argument of a trigger.

        :return: plain JSON; ``Condition(**value)`` reads it
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WindowCount:
    """
    How many messages of a window count.

    :param count: messages
    :param exact: whether it is exactly that; else the service's own total, which may count the window's end moment in
    :param at_least: whether the service may have held back more
    :param first_timestamp: of the earliest message, epoch ms, where known
    :param last_timestamp: of the latest message, epoch ms, where known
    :param partitions: by partition of the topic, where that was asked for; JSON has no numbers for names
    :param missing_keys: expected keys that no message has
    """

    count: int
    exact: bool = True
    at_least: bool = False
    first_timestamp: int | None = None
    last_timestamp: int | None = None
    partitions: dict[str, int] | None = None
    missing_keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What comes next.

    :param status: ``wait``, or how the waiting ends: ``satisfied``, ``skip``, ``fail`` (for good), ``error`` (trying
        again later may help) or ``timeout``
    :param message: one safe sentence
    :param result: what is pushed to XCom, where satisfied
    """

    status: Status
    message: str
    result: dict[str, Any] | None = None

    def by(self, deadline_s: float, now_s: float) -> Decision:
        """
        End the waiting where its time is up.

        :param deadline_s: when it is, epoch seconds
        :param now_s: the time, epoch seconds
        :return: ``timeout`` instead of ``wait`` from then on
        """
        if self.status != "wait" or now_s < deadline_s:
            return self
        return Decision("timeout", f"Timed out. {self.message}")

    def to_event(self) -> dict[str, Any]:
        """
        Write it as the event of a trigger.

        :return: plain JSON
        """
        return asdict(self)

    @classmethod
    def from_event(cls, event: Any) -> Decision:
        """
        Read the event of a trigger; what is not surely understood is a failure.

        :param event: what ``to_event`` wrote, or anything else
        :return: how the waiting ended
        """
        if isinstance(event, dict) and event.get("status") in _ENDINGS and isinstance(event.get("message"), str):
            decision = cls(event["status"], event["message"], event.get("result"))
            if _is_result(decision.result) == (decision.status == "satisfied"):
                return decision
        return cls("fail", "The triggerer sent an event that this version of the provider does not understand.")


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """
    How long to wait between two looks.

    :param poke_interval_s: seconds
    :param exponential_backoff: whether the wait doubles from look to look
    :param max_wait_s: the longest wait in seconds, ``None`` for no limit
    :param max_errors: errors in a row that end the waiting, ``None`` for no limit
    """

    poke_interval_s: float
    exponential_backoff: bool = False
    max_wait_s: float | None = None
    max_errors: int | None = 10

    def to_json(self) -> dict[str, Any]:
        """
        Write it as the argument of a trigger.

        :return: plain JSON; ``PollPolicy(**value)`` reads it
        """
        return asdict(self)

    def wait_s(self, looks: int, errors: int, jitter: float) -> float:
        """
        Give the wait before the next look. Never less than a second, and longer the more looks in a row have failed.

        :param looks: how many there were
        :param errors: how many of the last in a row failed
        :param jitter: a number in [0, 1); spreads the looks of many sensors where the wait doubles
        :return: seconds
        """
        wait = self.poke_interval_s
        if self.exponential_backoff:  # as poke mode does it
            wait = max(self.poke_interval_s * 2.0 ** (min(looks, _MOST_DOUBLINGS) - 2), 1.0) * (1 + jitter)
        if self.max_wait_s is not None:
            wait = min(wait, self.max_wait_s)
        backoff = min(_MOST_BACKOFF_S, 2.0 ** min(errors, _MOST_DOUBLINGS)) if errors else 0.0
        return max(wait, backoff, _SHORTEST_WAIT_S)

    def judge(self, error: Exception, errors: int) -> Decision:
        """
        Decide about an error that may pass.

        :param error: its text must be safe to show
        :param errors: how many in a row, with this one
        :return: wait, until there were too many
        """
        if self.max_errors is None or errors < self.max_errors:
            return Decision("wait", f"Looking failed ({errors} in a row), and will be tried again: {error}")
        return Decision("error", f"Gave up after {errors} errors in a row (max_consecutive_errors): {error}")


@dataclass(frozen=True, slots=True)
class PollState:
    """
    What earlier looks left; plain numbers, so that they travel with a trigger or lie in a store.

    :param errors: looks in a row that failed
    :param count: messages that the last look found, ``None`` where there was none
    :param same: looks in a row that found so many
    """

    errors: int = 0
    count: int | None = None
    same: int = 0

    def failed(self) -> PollState:
        """
        Count a look that failed.

        :return: the next state; what was found before still stands
        """
        return replace(self, errors=self.errors + 1)

    def found(self, count: int) -> PollState:
        """
        Count a look that went well.

        :param count: messages that it found
        :return: the next state
        """
        return PollState(0, count, self.same + 1 if count == self.count else 1)

    def to_json(self) -> dict[str, Any]:
        """
        Write it as the argument of a trigger.

        :return: plain JSON; ``PollState(**value)`` reads it
        """
        return asdict(self)


def decide(condition: Condition, found: WindowCount | None, now_s: float, same: int = 1) -> Decision:
    """
    Decide whether the waiting is over.

    :param condition: what is waited for
    :param found: what the window holds, ``None`` where it was not looked at
    :param now_s: the time, epoch seconds
    :param same: looks in a row that found so many, with this one
    :return: the verdict; never ``satisfied`` before the window is final
    """
    if found is None or now_s < condition.final_s:
        return Decision("wait", f"The window {condition.window} is final from {iso(round(condition.final_s * 1000))}.")
    holds = _holds(condition, found)
    if same < condition.stable_polls:
        return Decision("wait", f"{holds}, as {same} of {condition.stable_polls} looks in a row have found.")
    lacking = "; ".join(_lacking(condition, found))
    if lacking:
        return Decision(_TOO_FEW[condition.on_closed_empty], f"{holds}; {lacking}, and it is final.")
    return Decision("satisfied", f"{holds}, and it is final.", _result(condition, found))


def _lacking(condition: Condition, found: WindowCount) -> Iterator[str]:
    if found.count < condition.min_messages:
        yield f"{condition.min_messages} are needed"
    least = condition.min_per_partition
    if least is not None:
        few = [number for number, count in (found.partitions or {}).items() if count < least]
        if few or not found.partitions:
            yield f"{least} are needed in each partition (fewer in {', '.join(few[:_NAMED]) or 'all'})"
    if found.missing_keys:
        yield f"{len(found.missing_keys)} of the expected_keys are missing ({', '.join(found.missing_keys[:_NAMED])})"


def _holds(condition: Condition, found: WindowCount) -> str:
    number = f"at least {found.count}" if found.at_least else f"{'' if found.exact else 'about '}{found.count}"
    fitting = " that fit the filters" if condition.filters else ""
    return f"The window {condition.window} of topic {condition.topic!r} holds {number} messages{fitting}"


def _result(condition: Condition, found: WindowCount) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(found).items() if name != "missing_keys"}
    if found.partitions is None:
        del shown["partitions"]
    return {"topic": condition.topic, "window": condition.window.to_xcom(), **shown}


def _is_result(result: Any) -> bool:
    count = result.get("count") if isinstance(result, dict) else None
    return isinstance(count, int) and not isinstance(count, bool) and isinstance(result.get("window"), dict)
