"""
Which messages of a window count: read from arguments, compared exactly on our side, written to XCom and trigger.

Filters are never sent to the service: its own key search is "contains", reads 10,000 messages at most and answers 10.

To add a filter: a field here, its name in ``FilterArguments`` and ``read``, its comparison in ``_compare``; then the
argument in ``tasks/filtered.py``. JSON, command-line option and documentation follow from the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from airflow_provider_mqs.core.values.arguments import flag, is_absent, whole_number
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self

    from airflow_provider_mqs.core.values.message import Message, Row, Rows

PartitionsArgument: TypeAlias = Iterable[int | str] | int | str | None
"""Numbers, or text with commas or as JSON."""
MessageFilter: TypeAlias = Callable[["Message"], bool]

FUNCTIONS: Final = ("message_filter", "fetch_values")
"""The filters that need a function, which can be written neither as JSON nor on a command line."""


class FilterArguments(TypedDict, total=False):
    """The filters as keyword arguments: ``def query(..., **filters: Unpack[FilterArguments])``."""

    partitions: PartitionsArgument
    key: str | None
    tag: str | None
    message_id: str | None
    app_id: str | None
    message_filter: MessageFilter | None
    fetch_values: bool | str


@dataclass(frozen=True, slots=True)
class Filters:
    """What a message must be to count; all that is set must match. The metadata documents the argument."""

    partitions: frozenset[int] | None = field(
        default=None,
        metadata={"help": "only these partitions: numbers, or text with commas (default: all)", "metavar": "0,2"},
    )
    key: str | None = field(default=None, metadata={"help": "only messages with exactly this key"})
    tag: str | None = field(default=None, metadata={"help": "only messages with exactly this tag"})
    message_id: str | None = field(default=None, metadata={"help": "only messages with exactly this message id"})
    app_id: str | None = field(default=None, metadata={"help": "only messages of exactly this application"})
    message_filter: MessageFilter | None = field(
        default=None,
        metadata={"help": "``callable(Message) -> bool``: only messages for which it is true; its errors are raised"},
    )
    fetch_values: bool = field(
        default=False,
        metadata={"help": "whether ``message_filter`` sees the contents, at one request a message (default: false)"},
    )

    @classmethod
    def read(
        cls,
        *,
        partitions: PartitionsArgument = None,
        key: str | None = None,
        tag: str | None = None,
        message_id: str | None = None,
        app_id: str | None = None,
        message_filter: MessageFilter | None = None,
        fetch_values: bool | str = False,
    ) -> Self:
        """Check and convert arguments as people and templates write them."""
        if message_filter is not None and not callable(message_filter):
            raise ConfigurationError("message_filter must be a function that takes a Message.")
        filters = cls(
            partitions=_partitions(partitions),
            key=_text(key, "key"),
            tag=_text(tag, "tag"),
            message_id=_text(message_id, "message_id"),
            app_id=_text(app_id, "app_id"),
            message_filter=message_filter,
            fetch_values=not is_absent(fetch_values) and flag(fetch_values, "fetch_values"),
        )
        if filters.fetch_values and message_filter is None:
            raise ConfigurationError("fetch_values needs a message_filter to pass the contents to.")
        return filters

    @property
    def unset(self) -> bool:
        """Whether every message counts."""
        return self == _UNSET

    def to_xcom(self) -> dict[str, Any]:
        """Write what is set as plain JSON; a function by its name."""
        written: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, frozenset):
                written[one.name] = sorted(value)
            elif callable(value):
                written[one.name] = getattr(value, "__qualname__", "callable")
            elif value != one.default:
                written[one.name] = value
        if self.message_filter is not None:
            written["fetch_values"] = self.fetch_values
        return written

    @classmethod
    def from_xcom(cls, document: Mapping[str, Any]) -> Self:
        """Read what ``to_xcom`` wrote; a function, or a filter of another version, is an error and never ignored."""
        unknown = document.keys() - {one.name for one in fields(cls)}
        if unknown:
            raise ConfigurationError(f"There is no filter {min(unknown)!r:.40}.")
        return cls.read(**document)

    def match_row(self, message: Message) -> bool:
        """Compare the fields of a row; ``message_filter`` is called here, too, unless it needs the content."""
        if self.partitions is not None and message.partition not in self.partitions:
            return False
        if not all(matches for _, _, matches in self._compare(message)):
            return False
        return self.fetch_values or self.match_value(message)

    def match_value(self, message: Message) -> bool:
        """Call ``message_filter`` with a row, or with ``fetch_values`` with the message and its content."""
        return self.message_filter is None or bool(self.message_filter(message))

    def lacking(self, message: Message) -> list[str]:
        """Name the fields that are compared and that a row does not carry."""
        return [name for name, actual, _ in self._compare(message) if actual in (None, "")]

    def _compare(self, message: Message) -> Iterator[tuple[str, Any, bool]]:
        """Yield, for each filter that is set, the field of a row, its value, and whether it matches."""
        texts = (
            ("key", self.key, message.key),
            ("tag", self.tag, message.tag),
            ("message_id", self.message_id, message.message_id),
            ("app_id", self.app_id, message.app_id),
        )
        for name, wanted, actual in texts:
            if wanted is not None:
                yield name, actual, actual == wanted


_UNSET = Filters()
_BITS = 64


class RowFilter:
    """Filters the rows of a window, each once however often it is read, and counts those that lack a filtered field."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._rows = 0
        self._lacking: dict[str, int] = {}
        # a bit for each offset that was seen: a window may have millions, nearly all of them side by side
        self._seen: dict[int, dict[int, int]] = {}

    def matching(self, rows: Rows) -> Rows:
        """Return the rows that match, of those that were not seen before."""
        if self._filters.unset:
            return rows
        matching: list[Row | Message] = []
        for row in rows:
            words = self._seen.setdefault(row.partition, {})
            number, bit = divmod(row.message_offset, _BITS)
            word = words.get(number, 0)
            if word >> bit & 1:
                continue
            words[number] = word | 1 << bit
            message = row.message
            self._rows += 1
            for name in self._filters.lacking(message):
                self._lacking[name] = self._lacking.get(name, 0) + 1
            if self._filters.match_row(message):
                matching.append(row)
        return matching

    def notes(self) -> list[str]:
        """Return a sentence for each field that some rows lack; refuse a filter on one that all of them lack."""
        for name, rows in self._lacking.items():
            if rows == self._rows:
                raise ConfigurationError(
                    f"The filter on {name} can match nothing: no message that the service shows of this window has one."
                )
        return [
            f"{rows} rows have no {name} and do not match the filter on it."
            if rows > 1
            else f"1 row has no {name} and does not match the filter on it."
            for name, rows in sorted(self._lacking.items())
        ]


def _text(value: Any, name: str) -> str | None:
    # "none" and "null" may be keys; "None" is what Jinja makes of an empty Param
    if value is None or value in ("", "None"):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigurationError(f"{name} must be text; got {value!r:.40}.")
    return str(value)


def _partitions(value: Any) -> frozenset[int] | None:
    if is_absent(value):
        return None
    try:
        if isinstance(value, str):
            value = json.loads(value if value.strip().startswith("[") else f"[{value}]")
        numbers = [value] if isinstance(value, int) else list(value)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"partitions must be whole numbers, like 0,2; got {value!r:.40}.") from error
    if not numbers:
        raise ConfigurationError("partitions is an empty list; leave it out to mean all.")
    return frozenset(whole_number(number, "partitions", minimum=0, maximum=2**31 - 1) for number in numbers)
