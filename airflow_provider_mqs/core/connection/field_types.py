"""
What a field of a connection is, and how a raw value becomes a typed one, or an error that names the field.

Knows no field by name: the table is in ``fields``. Standard library only, since provider discovery imports it in every
process.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
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
    """One field of the connection's ``extra``."""

    name: str
    label: str
    description: str
    kind: Kind
    default: Any
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    is_path: bool

    @property
    def form_default(self) -> Any:
        """The default as the form shows it: ``None`` if that is an empty field."""
        return None if self.default in ("", ()) else self.default

    def read(self, value: Any) -> Any:
        """
        Return a raw value typed, or the default if it is absent (``None``, ``""``); a list becomes a tuple.

        Text is coerced (``"true"``, ``"5"``, ``'["a"]'``, ``"a, b"``), since connections given as a URI hold only text.
        """
        if value is None or value in ("", ()):
            return self.default
        typed = _READERS[self.kind](self, value)
        if self.choices and typed not in self.choices:
            raise self.error(f"is {shown(value)}: use one of {', '.join(self.choices)}")
        return typed

    def error(self, problem: str) -> ConfigurationError:
        """Return the error for this field; ``problem`` is verb and remedy, such as ``"is 'x': use a number"``."""
        return field_error(self.name, problem)


def extra(
    label: str,
    description: str,
    *,
    kind: Kind = "text",
    default: Any = None,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    is_path: bool = False,
) -> Any:
    """
    Declare a field of ``extra`` as the attribute of a dataclass that has its name.

    ``description`` is the help text of the form and holds an example, since the form of Airflow 3 has no other place
    for one. A ``secret`` is text without white space that is never shown; its name must contain a word that Airflow
    masks (``token``, ``proxy``). An ``is_path`` text is the path of a file that must exist where the connection is
    used.
    """
    declared = Field("", label, description, kind, default, choices, minimum, maximum, is_path)
    return dataclasses.field(default=default, repr=kind != "secret", metadata={"field": declared})


def fields_of(table: type) -> tuple[Field, ...]:
    """Return the fields that a dataclass declares with ``extra``."""
    return tuple(dataclasses.replace(one.metadata["field"], name=one.name) for one in dataclasses.fields(table))


def field_error(name: str, problem: str) -> ConfigurationError:
    """Return the error for a connection field; ``problem`` is verb and remedy, such as ``"is missing: enter it"``."""
    return ConfigurationError(f"Connection field '{name}' {problem}.")


def shown(value: Any) -> str:
    """Return a value that is no secret as an error may quote it: escaped, and cut after 60 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def read_text(field: Field, value: Any) -> str:
    """Read text that may be the path of a file."""
    if not isinstance(value, str):
        raise field.error(f"is {shown(value)}, which is not text: put quotes around it")
    if value != value.strip() or not value.isprintable():
        raise field.error("has white space around it or contains a line break: remove it")
    if field.is_path and not Path(value).exists():
        raise field.error(
            f"is {shown(value)}, which does not exist on this machine: correct the path or mount the file"
        )
    return value


def read_secret(field: Field, value: Any) -> str:
    """Read text without white space; errors do not show it."""
    if not isinstance(value, str):
        raise field.error("is not text: put quotes around it")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise field.error("contains white space or a non-ASCII character: copy it again without line breaks")
    return value


def read_bool(field: Field, value: Any) -> bool:
    """Read a flag, also from a word such as ``"off"``."""
    word = str(value).strip().lower()
    if isinstance(value, (bool, int, str)) and word in _TRUE | _FALSE:
        return word in _TRUE
    raise field.error(f"is {shown(value)}: use true or false")


def read_int(field: Field, value: Any) -> int:
    """Read a whole number; 5.0 is one."""
    number = read_float(field, value)
    if not number.is_integer():
        raise field.error(f"is {shown(value)}: use a whole number")
    return int(number)


def read_float(field: Field, value: Any) -> float:
    """Read a number within the limits of its field."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):  # True is an int in Python
        raise field.error(f"is {shown(value)}: use a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise field.error(f"is {shown(value)}: use a number") from None
    low, high = field.minimum, field.maximum
    if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
        allowed = f"of at least {low:g}" if high is None else f"between {low:g} and {high:g}"
        raise field.error(f"is {shown(value)}: use a number {allowed}")
    return number


def read_list(field: Field, value: Any) -> tuple[str, ...]:
    """Read a list of names, also from JSON or from text with commas."""
    items = value
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            items = json.loads(value)
        except ValueError:
            raise field.error(
                f'is {shown(value)}, which is not a JSON list: write it like ["orders", "audit-*"]'
            ) from None
    elif isinstance(value, str):
        items = value.split(",")
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise field.error(f"is {shown(value)}: use a list of names, or one text with commas between them")
    cleaned = tuple(item.strip() for item in items if item.strip())
    if not cleaned:
        raise field.error("is an empty list: name at least one, or leave the field empty (null)")
    return cleaned


_READERS: Final[Mapping[Kind, Any]] = {
    "text": read_text,
    "secret": read_secret,
    "bool": read_bool,
    "int": read_int,
    "float": read_float,
    "list": read_list,
}
