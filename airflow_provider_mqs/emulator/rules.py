"""How often a fault strikes: a value, and the counting of one rule in use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.behaviour import checked

if TYPE_CHECKING:
    import random

OPERATIONS = frozenset({"login", "projects", "query", "content", "resend", "instance", "instances", "topics"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    How often a fault strikes; the default is never.

    :param probability: 0..1, drawn for each request
    :param next: strike the next n requests
    :param skip: let this many requests pass first
    :param rate: strike every request beyond this many a second
    :param operations: of these operations only; default what the fault's line says
    :param only: of these ``(partition, message_offset)`` only; default any
    """

    probability: float = 0.0
    next: int = 0
    skip: int = 0
    rate: float | None = None
    operations: frozenset[str] = frozenset()
    only: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", frozenset(self.operations))
        object.__setattr__(self, "only", frozenset(self.only))
        if unknown := sorted(self.operations - OPERATIONS):
            raise ValueError(f"There is no operation {unknown[0]!r}. Choose from {', '.join(sorted(OPERATIONS))}.")

    @classmethod
    def of(cls, value: Any) -> Rule:
        """
        Read a rule in any of its spellings.

        :param value: a rule, a probability, or the fields of a rule as JSON has them
        :return: the rule
        :raises TypeError: when it is none of these
        :raises ValueError: when a field is wrong
        """
        if isinstance(value, Rule):
            return value
        if isinstance(value, (int, float)):
            return cls(probability=float(value))
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is no rule. Give a probability or {{'next': 3, 'operations': ['resend']}}.")
        pairs = frozenset((int(partition), int(offset)) for partition, offset in value.get("only", ()))
        return cls(**checked(Rule, {**value, "only": pairs}))

    def as_json(self) -> dict[str, Any]:
        """
        Show what is not at its default.

        :return: values by field name, fit for JSON
        """
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {
            name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items() if value
        }


NEVER = Rule()
ALWAYS = Rule(probability=1.0)


@dataclass(slots=True)
class Counter:
    """
    One rule in use.

    :param rule: what is counted for
    :param seen: requests that the rule looked at
    :param tokens: requests that may still pass at once, for ``rate``
    :param refilled_s: when ``tokens`` was brought up to date, in seconds
    """

    rule: Rule
    seen: int = 0
    tokens: float = 1.0
    refilled_s: float | None = None

    def strikes(self, rng: random.Random, now_s: float) -> bool:
        """
        Look at one more request.

        :param rng: where probabilities are drawn
        :param now_s: time in seconds, for ``rate``
        :return: whether the fault strikes this request
        """
        rule, position = self.rule, self.seen - self.rule.skip
        self.seen += 1
        if position < 0:
            return False
        if position < rule.next:
            return True
        if rule.rate is not None and self._too_fast(rule.rate, now_s):
            return True
        return rule.probability > 0 and rng.random() < rule.probability

    def _too_fast(self, rate: float, now_s: float) -> bool:
        since = self.refilled_s if self.refilled_s is not None else now_s - 1.0
        self.tokens = min(max(1.0, rate), self.tokens + rate * (now_s - since))
        self.refilled_s = now_s
        if self.tokens < 1.0:
            return True
        self.tokens -= 1.0
        return False
