"""
Which rows of a window count: exact comparison, on our side.

Filters are never sent to the service: its own key search is "contains", reads 10,000 messages at most and answers 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.values.message import Message, Rows

FILTER_FIELDS = ("key", "tag", "message_id", "app_id")


@dataclass(frozen=True, slots=True)
class Filters:
    """
    What a row must be to count. What is not set does not matter.

    :param partitions: one of these partitions
    :param key: exactly this key
    :param tag: exactly this tag
    :param message_id: exactly this message id
    :param app_id: exactly this application id
    :param message_filter: a function that says so; an exception in it is never "no match"
    :param fetch_values: whether ``message_filter`` sees the content, which costs one request a message
    """

    partitions: frozenset[int] | None = None
    key: str | None = None
    tag: str | None = None
    message_id: str | None = None
    app_id: str | None = None
    message_filter: Callable[[Message], bool] | None = None
    fetch_values: bool = False

    @property
    def unset(self) -> bool:
        """Whether every row counts."""
        return self == _UNSET

    def to_xcom(self) -> dict[str, Any]:
        """
        Write down what was asked for.

        :return: only what is set; a function by its name
        """
        wanted: dict[str, Any] = dict(self._wanted())
        if self.partitions is not None:
            wanted["partitions"] = sorted(self.partitions)
        if self.message_filter is not None:
            wanted["message_filter"] = getattr(self.message_filter, "__qualname__", "callable")
            wanted["fetch_values"] = self.fetch_values
        return wanted

    def match_row(self, message: Message) -> bool:
        """
        Decide by what a row shows.

        :param message: a row of the window
        :return: whether it may count; ``message_filter`` is asked here unless it needs contents
        """
        if self.partitions is not None and message.partition not in self.partitions:
            return False
        if any(getattr(message, name) != value for name, value in self._wanted()):
            return False
        return self.fetch_values or self.match_value(message)

    def match_value(self, message: Message) -> bool:
        """
        Ask ``message_filter``.

        :param message: a row, or with ``fetch_values`` the message with its content
        :return: what it says; ``True`` where there is none
        """
        return self.message_filter is None or bool(self.message_filter(message))

    def lacking(self, message: Message) -> list[str]:
        """
        Name the filtered fields that a row does not carry.

        :param message: a row of the window
        :return: their names
        """
        return [name for name, _ in self._wanted() if not getattr(message, name)]

    def _wanted(self) -> list[tuple[str, str]]:
        return [(name, value) for name in FILTER_FIELDS if (value := getattr(self, name)) is not None]


_UNSET = Filters()


class Tally:
    """
    Counts which filtered fields the rows of a window carry.

    :param filters: the filters
    """

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._rows = 0
        self._lacking: dict[str, int] = {}

    def matching(self, rows: Rows) -> Rows:
        """
        Count rows, and choose those that count.

        :param rows: of the window
        :return: those that the filters let through by what a row shows
        """
        if self._filters.unset:
            return rows
        return [row for row in rows if self._matches(row.message)]

    def _matches(self, message: Message) -> bool:
        self._rows += 1
        for name in self._filters.lacking(message):
            self._lacking[name] = self._lacking.get(name, 0) + 1
        return self._filters.match_row(message)

    def check(self) -> list[str]:
        """
        Judge the filters by the whole window.

        :return: a sentence for each field that some rows lack
        :raises ConfigurationError: no row at all carries a field, so that a filter on it says nothing
        """
        for name, rows in self._lacking.items():
            if rows == self._rows:
                raise ConfigurationError(
                    f"The filter on {name} can match nothing: no message that the service shows of this window has one."
                )
        return [
            f"{rows} rows have no {name} and do not match the filter on it."
            for name, rows in sorted(self._lacking.items())
        ]
