"""Checks of single arguments: one sentence each, naming the argument and the remedy."""

from __future__ import annotations

import json
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


def optional_number(value: Any, name: str, *, minimum: int) -> int | None:
    """
    Read a whole number that may be left out.

    :param value: an int, or its digits; absent for ``None``
    :param name: the argument, for the error
    :param minimum: smallest allowed
    :return: the number, or ``None``
    :raises ConfigurationError: it is something else
    """
    return None if is_absent(value) else whole_number(value, name, minimum=minimum)


def texts(value: Any, name: str) -> list[str]:
    """
    Read a list of texts; text is taken as templates and people give it.

    :param value: a list, or text with commas or as JSON; absent for none
    :param name: the argument, for the error
    :return: each text once, in their order
    :raises ConfigurationError: it is something else
    """
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
