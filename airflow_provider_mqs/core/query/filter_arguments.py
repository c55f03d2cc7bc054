"""Filters as templates and people write them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.query.filters import FILTER_FIELDS, Filters
from airflow_provider_mqs.core.values.arguments import flag, is_absent, partition_number
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.values.message import Message

FILTER_NAMES = ("partitions", "message_filter", "fetch_values", *FILTER_FIELDS)
"""The arguments of ``filters_of``."""


def filters_of(
    *,
    partitions: Any = None,
    message_filter: Callable[[Message], bool] | None = None,
    fetch_values: Any = False,
    **fields: Any,
) -> Filters:
    """
    Read the filter arguments that operators and the sensor share.

    :param partitions: numbers, or text with commas or as JSON; ``None`` and ``""`` mean all
    :param message_filter: a function, or ``None``
    :param fetch_values: whether the function sees contents
    :param fields: ``key``, ``tag``, ``message_id``, ``app_id``; ``None`` means any
    :return: the filters
    :raises ConfigurationError: one of them is of the wrong kind
    """
    if message_filter is not None and not callable(message_filter):
        raise ConfigurationError("message_filter must be a function that takes a Message.")
    wants_values = flag(fetch_values, "fetch_values")
    if wants_values and message_filter is None:
        raise ConfigurationError("fetch_values needs a message_filter that looks at the values.")
    return Filters(
        partitions=_partitions(partitions),
        message_filter=message_filter,
        fetch_values=wants_values,
        **{name: _field(fields.get(name), name) for name in FILTER_FIELDS},
    )


def _field(value: Any, name: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigurationError(f"{name} must be text; got {value!r:.40}.")
    return str(value)


def _partitions(value: Any) -> frozenset[int] | None:
    if is_absent(value):
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value if value.strip().startswith("[") else f"[{value}]")
        except ValueError as error:
            raise ConfigurationError(f"partitions must be whole numbers, like 0,2; got {value!r:.40}.") from error
    if isinstance(value, int):
        value = [value]
    try:
        numbers = frozenset(partition_number(number, "partitions") for number in value)
    except TypeError as error:
        raise ConfigurationError(f"partitions must be whole numbers, like [0, 2]; got {value!r:.40}.") from error
    if not numbers:
        raise ConfigurationError("partitions is an empty list; leave it out to mean all.")
    return numbers
