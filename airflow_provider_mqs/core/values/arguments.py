"""
Readers of single arguments: one sentence each, which names the argument and the remedy.

Text is taken as templates write it: ``"3"`` is a number, ``"True"`` a flag, ``""`` and ``"None"`` are absent.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from airflow_provider_mqs.exceptions import ConfigurationError

DEFAULT_CONN_ID: Final = "mqs_default"
_TOPIC = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ABSENT = frozenset({"", "none", "null"})
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def is_absent(value: Any) -> bool:
    """Return whether a templated argument was left out: ``None``, ``""``, or what Jinja makes of ``None``."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def topic_name(value: Any) -> str:
    """
    Check a topic name.

    Source: API document "Querying Messages", table 2.
    """
    if not isinstance(value, str) or not _TOPIC.fullmatch(value):
        raise ConfigurationError(
            f"topic must start with a letter and hold only letters, digits, hyphens and underscores; got {value!r:.80}."
        )
    return value


def partition_number(value: Any, name: str = "partition") -> int:
    """Check a partition number; text is refused, since this comes from data and not from a template."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ConfigurationError(f"{name} must be a whole number from 0; got {value!r:.40}.")
    return value


def whole_number(value: Any, name: str, *, minimum: int, maximum: int | None = None) -> int:
    """Read a whole number within limits."""
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or number < minimum or (maximum is not None and number > maximum):
        limits = f"from {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ConfigurationError(f"{name} must be a whole number {limits}; got {value!r:.40}.")
    return number


def optional_number(value: Any, name: str, *, minimum: int) -> int | None:
    """Read a whole number that may be absent."""
    return None if is_absent(value) else whole_number(value, name, minimum=minimum)


def number_above_0(value: Any, name: str) -> float:
    """Read a number greater than zero."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name} must be a number greater than 0; got {value!r:.40}.")
    return number


def texts(value: Any, name: str) -> list[str]:
    """Read a list of texts, or text with commas or as JSON; each once, in their order."""
    if is_absent(value):
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip().startswith("[") else [part.strip() for part in value.split(",")]
        except ValueError as error:
            raise ConfigurationError(f"{name} is neither a list nor text with commas; got {value!r:.40}.") from error
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(one, str) and one for one in value):
        raise ConfigurationError(f"{name} must be a list of texts; got {value!r:.40}.")
    return list(dict.fromkeys(value))


def documents(value: Any, name: str, expected: str) -> Iterator[Mapping[str, Any]]:
    """
    Yield the objects of an XCom: one, a list or lazy sequence of them, nested lists, or JSON or Python text of these.

    ``expected`` says in errors what ``name`` should be.
    """
    try:
        yield from _flatten(value, name, expected)
    except RecursionError as error:
        raise ConfigurationError(f"{name} is nested too deeply: pass {expected}.") from error


def _flatten(value: Any, name: str, expected: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, str | bytes):
        value = _parse(value, name, expected)
    if isinstance(value, dict):
        yield value
    elif value is None:
        raise ConfigurationError(f"{name} is empty: pass {expected}.")
    else:
        try:
            parts = iter(value)
        except TypeError as error:
            raise ConfigurationError(f"{name} must be {expected}; got {type(value).__name__}.") from error
        yield from chain.from_iterable(_flatten(part, name, expected) for part in parts)


def _parse(text: str | bytes, name: str, expected: str) -> Any:
    """Read JSON, or Python text as Jinja writes it."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        try:
            parsed = ast.literal_eval(text.decode() if isinstance(text, bytes) else text.strip())
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise ConfigurationError(
                f"{name} is text, but neither JSON nor a Python literal: pass {expected}, not a template."
            ) from error
    if isinstance(parsed, str | bytes):
        raise ConfigurationError(f"{name} is text inside text: pass {expected}, not a template.")
    return parsed


def flag(value: Any, name: str) -> bool:
    """Read a yes or no; anything else is refused: ``dry_run="maybe"`` must never send."""
    word = str(value).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise ConfigurationError(f"{name} must be true or false; got {value!r:.40}.")


def choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Read one of a few words."""
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}; got {value!r:.40}.")
    return str(value)
