"""
What a field of a connection is, and how a raw value becomes a typed one, or a sentence about what is wrong.

Knows no field by name; the table of them is ``connection_fields``. Standard library only and cheap to import.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from airflow_provider_mqs.exceptions import ConfigurationError

Kind = Literal["text", "secret", "bool", "int", "float", "list"]

_TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0"})
_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Field:
    """
    One field of the connection's ``extra``.

    :param name: key in ``extra``; names of secrets hold a word that Airflow masks (``token``, ``proxy``)
    :param label: caption in the form
    :param description: help text in the form, with an example, since the form of Airflow 3 has no other place
    :param kind: what the value is; ``secret`` is text without white space that is never shown
    :param default: value where the field is absent, null or empty
    :param choices: the only values allowed, if any
    :param minimum: smallest number allowed
    :param maximum: largest number allowed
    :param path: whether the text is the path of a file that must exist where the connection is used
    """

    name: str
    label: str
    description: str
    kind: Kind = "text"
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    path: bool = False

    def read(self, value: Any) -> Any:
        """
        Check a raw value of this field and return it typed.

        Text is coerced (``"true"``, ``"5"``, ``'["a"]'``, ``"a, b"``): URI connections carry nothing else.

        :param value: what ``extra`` holds; ``None`` and ``""`` mean absent
        :return: the typed value, or the default where it is absent; a list comes back as a tuple
        :raises ConfigurationError: if the value is wrong; the message names the field and the remedy
        """
        if value is None or value == "":
            return self.default
        typed = _READERS[self.kind](self, value)
        if self.choices and typed not in self.choices:
            raise self.error(f"is {shown(value)}: use one of {', '.join(self.choices)}")
        return typed

    def error(self, problem: str) -> ConfigurationError:
        """
        Make the error for this field.

        :param problem: verb and remedy, such as ``"is 'x': use a number"``
        :return: the error, to be raised
        """
        return field_error(self.name, problem)


def field_error(name: str, problem: str) -> ConfigurationError:
    """
    Make the error for a connection field.

    :param name: the field
    :param problem: verb and remedy, such as ``"is missing: enter the IAM user name"``
    :return: the error, to be raised
    """
    return ConfigurationError(f"Connection field '{name}' {problem}.")


def shown(value: Any) -> str:
    """
    Return a value as it may stand in an error: quoted, with control characters escaped, and short.

    :param value: a value that is no secret
    :return: at most 60 characters and a mark where something was cut
    """
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _read_text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise field.error(f"is {shown(value)}: it must be text, so put quotes around it")
    if value != value.strip() or not value.isprintable():
        raise field.error("has white space around it or a line break in it: remove it")
    if field.path and not Path(value).exists():
        raise field.error(
            f"is {shown(value)}, which does not exist on this machine: correct the path or mount the file"
        )
    return value


def _read_secret(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise field.error("is not text: put quotes around it")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise field.error("has white space or a character that is not ASCII in it: copy it again without line breaks")
    return value


def _read_bool(field: Field, value: Any) -> bool:
    word = str(value).strip().lower()
    if isinstance(value, (bool, int, str)) and word in _TRUE | _FALSE:
        return word in _TRUE
    raise field.error(f"is {shown(value)}: use true or false")


def _read_int(field: Field, value: Any) -> int:
    number = _read_float(field, value)
    if not number.is_integer():
        raise field.error(f"is {shown(value)}: use a whole number")
    return int(number)


def _read_float(field: Field, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise field.error(f"is {shown(value)}: use a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise field.error(f"is {shown(value)}: use a number") from None
    low, high = field.minimum, field.maximum
    if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
        raise field.error(f"is {shown(value)}: use a number {_span(low, high)}")
    return number


def _span(low: float | None, high: float | None) -> str:
    return f"of at least {low:g}" if high is None else f"between {low:g} and {high:g}"


def _read_list(field: Field, value: Any) -> tuple[str, ...]:
    items = _split(field, value) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise field.error(f"is {shown(value)}: use a list of texts, or one text with commas between them")
    cleaned = tuple(item.strip() for item in items if item.strip())
    if not cleaned:
        raise field.error("is an empty list: name at least one, or leave the field empty (null)")
    return cleaned


def _split(field: Field, text: str) -> Any:
    if not text.lstrip().startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except ValueError:
        raise field.error(f'is {shown(text)}, which is not a JSON list: write it like ["orders", "audit-*"]') from None


_READERS: Final = {
    "text": _read_text,
    "secret": _read_secret,
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "list": _read_list,
}
