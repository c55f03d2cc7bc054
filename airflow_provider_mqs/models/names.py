"""Checks of single arguments: one sentence each, naming the argument and the remedy."""

from __future__ import annotations

import re
from typing import Any, Final

from airflow_provider_mqs.exceptions import ConfigurationError

DEFAULT_CONN_ID: Final = "mqs_default"
_TOPIC = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ABSENT = frozenset({"", "none", "null"})
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def topic_name(value: Any) -> str:
    """
    Check a topic name.

    Source: API document "Querying Messages", table 2.

    :param value: begins with a letter; letters, digits, hyphens and underscores
    :return: the name
    :raises ConfigurationError: it is no such name
    """
    if not isinstance(value, str) or not _TOPIC.fullmatch(value):
        raise ConfigurationError(
            f"topic must start with a letter and hold only letters, digits, hyphens and underscores; got {value!r:.80}."
        )
    return value


def partition_number(value: Any, name: str = "partition") -> int:
    """
    Check a partition.

    :param value: a whole number from 0
    :param name: the argument, for the error
    :return: the number
    :raises ConfigurationError: it is something else
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ConfigurationError(f"{name} must be a whole number from 0; got {value!r:.40}.")
    return value


def is_absent(value: Any) -> bool:
    """
    Tell whether a templated argument was left out.

    :param value: anything
    :return: ``True`` for ``None``, ``""`` and what Jinja makes of ``None``
    """
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def whole_number(value: Any, name: str, *, minimum: int, maximum: int | None = None) -> int:
    """
    Read a whole number; text is taken as templates give it.

    :param value: an int, or its digits
    :param name: the argument, for the error
    :param minimum: smallest allowed
    :param maximum: largest allowed, ``None`` for no limit
    :return: the number
    :raises ConfigurationError: it is something else
    """
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or number < minimum or (maximum is not None and number > maximum):
        limits = f"from {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ConfigurationError(f"{name} must be a whole number {limits}; got {value!r:.40}.")
    return number


def number_above_0(value: Any, name: str) -> float:
    """
    Read a number greater than zero; text is taken as templates give it.

    :param value: a number, or its digits
    :param name: the argument, for the error
    :return: the number
    :raises ConfigurationError: it is something else
    """
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name} must be a number greater than 0; got {value!r:.40}.")
    return number


def flag(value: Any, name: str) -> bool:
    """
    Read a yes or no; text is taken as templates give it.

    :param value: a bool, or ``true``, ``false``, ``yes``, ``no``, ``on``, ``off``, ``1``, ``0``
    :param name: the argument, for the error
    :return: the flag
    :raises ConfigurationError: it is something else, so that ``dry_run="maybe"`` never sends
    """
    word = str(value).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise ConfigurationError(f"{name} must be true or false; got {value!r:.40}.")


def choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """
    Read one of a few words.

    :param value: the word
    :param name: the argument, for the error
    :param choices: the words
    :return: the word
    :raises ConfigurationError: it is another
    """
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}; got {value!r:.40}.")
    return str(value)
