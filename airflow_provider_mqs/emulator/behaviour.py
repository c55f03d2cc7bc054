"""
How this deployment answers where the vendor's documents are silent or contradict each other.

The defaults are the most plausible ROMA Connect; the package's docstring says how sure each of them is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """
    Switches of the service; a frozen value, so changing one replaces it as a whole.

    :param paging: meaning of ``offset``: 0-based page, 1-based page, or row position
    :param page_size_limit: largest page, in rows
    :param default_limit: rows of a page if the request has no ``limit``
    :param refuse_large_pages: answer 400 DMS.10240042 to a larger ``limit`` instead of clamping it
    :param max_skip: rows that ``offset`` may skip before the answer is 400 DMS.10240043; ``None`` for no bound
    :param cap: most rows of one window, over all its pages; ``None`` for no cap
    :param cap_hides_total: ``total`` stops at the cap too
    :param end_inclusive: a message at exactly ``end_time`` belongs to the window
    :param partition_narrows: ``partition`` narrows a window query; otherwise it is ignored
    :param default_asc: value of ``asc`` if the request has none
    :param content_by_offset: a query by partition and message_offset works; otherwise it is refused with 400
    :param download_form: what ``download=true`` answers: JSON with the whole value, or the value as a file
    :param window_value: ``value`` in the rows of a window query: no such field, or an empty text
    :param float_totals: ``total`` and ``size`` are floats, as the vendor's ROMA SDK types them
    :param omit_missing_keys: the row of a message without key has no field ``key``; otherwise an empty one
    :param offset_field: name of a row's offset
    :param search_offset_field: the same in rows of a search by ``key``, ``tag`` or ``message_id``
    :param truncate_bytes: bytes of a value that a content query returns without ``download``
    :param error_form: shape of an error body
    :param integer_error_codes: ``error_code`` is the HTTP status as a number
    :param iam_error_form: IAM's own shape, or the service's flat one with ``IAM.0062``
    :param code_prefix: prefix of the service's error numbers
    :param gateway_prefix: prefix of the gateway's error numbers
    :param styles: which paths of the message query exist
    :param path_prefix: prefix of every path of the service, for example ``/roma``; default none
    :param echo_consumer_key: the response to a resend repeats ``consumer_key``
    :param copy_same_key: a copy has the key of its source; otherwise none
    :param copy_same_size: a copy has the size of its source; otherwise 24 bytes more
    :param copy_same_message_id: a copy has the message id of its source; otherwise an empty one
    :param copy_timestamp: a copy has the time of the resend, or that of its source
    :param absent_message: answer to a resend of an unknown or expired offset
    :param token_lifetime_s: lifetime of a token in seconds
    :param token_bytes: approximate length of a token in characters
    """

    paging: Literal["page0", "page1", "row"] = "page0"
    page_size_limit: int = 50
    default_limit: int = 10
    refuse_large_pages: bool = False
    max_skip: int | None = None
    cap: int | None = 500
    cap_hides_total: bool = False
    end_inclusive: bool = True
    partition_narrows: bool = True
    default_asc: bool = False
    content_by_offset: bool = True
    download_form: Literal["json", "file"] = "json"
    window_value: Literal["absent", "empty"] = "absent"
    float_totals: bool = True
    omit_missing_keys: bool = True
    offset_field: Literal["message_offset", "offset"] = "message_offset"
    search_offset_field: Literal["message_offset", "offset"] = "offset"
    truncate_bytes: int = 4096
    error_form: Literal["error_code", "errorCode", "code", "nested"] = "error_code"
    integer_error_codes: bool = False
    iam_error_form: Literal["nested", "flat"] = "nested"
    code_prefix: Literal["MQS", "DMS"] = "MQS"
    gateway_prefix: Literal["APIGW", "APIG"] = "APIGW"
    styles: frozenset[str] = frozenset({"mqs"})
    path_prefix: str = ""
    echo_consumer_key: bool = True
    copy_same_key: bool = True
    copy_same_size: bool = True
    copy_same_message_id: bool = False
    copy_timestamp: Literal["fresh", "source"] = "fresh"
    absent_message: Literal["invalid_parameter", "no_message", "internal"] = "invalid_parameter"
    token_lifetime_s: int = 24 * 3600
    token_bytes: int = 2000

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """Return a copy with some switches changed by name, as JSON has them (a list for ``styles``)."""
        return dataclasses.replace(self, **checked(Behaviour, changes))

    def as_json(self) -> dict[str, Any]:
        """Return every switch by name, fit for JSON."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values}


def checked(owner: type, changes: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Any]:
    """Check values from outside against the type hints of a dataclass; lists become frozen sets if that is the type."""
    hints = get_type_hints(owner)
    allowed = sorted(hints if names is None else names)
    if unknown := sorted(changes.keys() - set(allowed)):
        raise ValueError(f"There is no switch {unknown[0]!r}. Choose from {', '.join(allowed)}.")
    values = {}
    for name, value in changes.items():
        hint, kind = hints[name], get_origin(hints[name])
        if kind is frozenset and isinstance(value, (list, tuple, set, frozenset)):
            values[name] = frozenset(value)
        elif _fits(hint, value):
            values[name] = value
        elif kind is Literal:
            choices = ", ".join(map(repr, get_args(hint)))
            raise ValueError(f"{name}={value!r} does not fit; it takes one of {choices}.")
        else:
            taken = hint.__name__ if isinstance(hint, type) and kind is None else hint
            raise ValueError(f"{name}={value!r} does not fit; it takes {taken}.")
    return values


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(option, value) for option in get_args(hint))
    accepted = (int, float) if hint is float else get_origin(hint) or hint
    # bool is an int in Python, and JSON's true is no number
    return isinstance(value, accepted) and (hint is bool or not isinstance(value, bool))
