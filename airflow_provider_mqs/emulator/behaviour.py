"""
How this deployment answers if the vendor's documents are silent or contradict each other.

The defaults are the most plausible ROMA Connect; the package's docstring says how sure each of them is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Switches of the service; a frozen value, so changing one replaces it as a whole."""

    paging: Literal["page0", "page1", "row"] = "page0"
    """Meaning of ``offset``: 0-based page, 1-based page, or row position."""
    page_size_limit: int = 50
    """Largest page, in rows."""
    default_limit: int = 10
    """Rows of a page if the request has no ``limit``."""
    refuse_large_pages: bool = False
    """Answer 400 DMS.10240042 to a larger ``limit`` instead of clamping it."""
    max_skip: int | None = None
    """Rows that ``offset`` may skip before the answer is 400 DMS.10240043; ``None`` for no bound."""
    cap: int | None = 500
    """Most rows of one window, over all its pages; ``None`` for no cap."""
    cap_hides_total: bool = False
    """``total`` stops at the cap too."""
    end_inclusive: bool = True
    """A message at exactly ``end_time`` belongs to the window."""
    partition_narrows: bool = True
    """``partition`` narrows a window query; otherwise it is ignored."""
    default_asc: bool = False
    """Value of ``asc`` if the request has none."""
    content_by_offset: bool = True
    """A query by ``partition`` and ``message_offset`` works; otherwise it is refused with 400."""
    download_form: Literal["json", "file"] = "json"
    """What ``download=true`` answers: JSON with the whole value, or the value as a file."""
    window_value: Literal["absent", "empty"] = "absent"
    """``value`` in the rows of a window query: no such field, or an empty string."""
    float_totals: bool = True
    """``total`` and ``size`` are floats, as the vendor's ROMA SDK types them."""
    omit_missing_keys: bool = True
    """The row of a message without key has no field ``key``; otherwise an empty one."""
    offset_field: Literal["message_offset", "offset"] = "message_offset"
    """Name of the field that holds a row's offset."""
    search_offset_field: Literal["message_offset", "offset"] = "offset"
    """The same in the rows of a search by ``key``, ``tag`` or ``message_id``."""
    truncate_bytes: int = 4096
    """Bytes of a value that a content query returns without ``download``."""
    error_form: Literal["error_code", "errorCode", "code", "nested"] = "error_code"
    """Shape of an error body."""
    integer_error_codes: bool = False
    """``error_code`` is the HTTP status as a number."""
    iam_error_form: Literal["nested", "flat"] = "nested"
    """IAM's own shape, or the service's flat one with ``IAM.0062``."""
    code_prefix: Literal["MQS", "DMS"] = "MQS"
    """Prefix of the service's error numbers."""
    gateway_prefix: Literal["APIGW", "APIG"] = "APIGW"
    """Prefix of the gateway's error numbers."""
    styles: frozenset[str] = frozenset({"mqs"})
    """Which paths of the message query exist: ``mqs``, ``dms`` or both."""
    path_prefix: str = ""
    """Prefix of every path of the service, such as ``/roma``; none by default."""
    echo_consumer_key: bool = True
    """The response to a resend repeats ``consumer_key``."""
    copy_same_key: bool = True
    """A copy has the key of its source; otherwise none."""
    copy_same_size: bool = True
    """A copy has the size of its source; otherwise 24 bytes more."""
    copy_same_message_id: bool = False
    """A copy has the message id of its source; otherwise an empty one."""
    copy_same_tag: bool = True
    """A copy has ``tag`` and ``app_id`` of its source; otherwise empty ones."""
    copy_timestamp: Literal["fresh", "source"] = "fresh"
    """A copy has the time of the resend, or the time of its source."""
    copy_partition: Literal["source", "next", "random"] = "source"
    """A copy lands in the partition of its source, in the next one, or in any."""
    echo_numbers: Literal["integer", "text", "float"] = "integer"
    """How the response to a resend writes partition and offset."""
    date_header: bool = True
    """Responses have the header ``Date``."""
    timestamp_unit: Literal["ms", "s"] = "ms"
    """Unit of ``timestamp`` in the rows; the parameters of a query are always ms."""
    topic_page_limit: int | None = None
    """Most topics of one page; ``None`` for no limit."""
    topic_paging: bool = True
    """``offset`` of the topic list skips rows; otherwise it is ignored."""
    absent_message: Literal["invalid_parameter", "no_message", "internal"] = "invalid_parameter"
    """Answer to a resend of an unknown or expired offset."""
    token_lifetime_s: int = 24 * 3600
    """Lifetime of a token in seconds."""
    token_bytes: int = 2000
    """Approximate length of a token in characters."""

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """Return a copy with some switches changed by name, as JSON has them (a list for ``styles``)."""
        return dataclasses.replace(self, **checked(Behaviour, changes))

    def as_json(self) -> dict[str, Any]:
        """Return every switch by name, fit for JSON."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def plain(value: Any) -> Any:
    """Return a value fit for JSON, in which a set is a sorted list."""
    if isinstance(value, tuple):
        return [one.as_json() if hasattr(one, "as_json") else one for one in value]
    return sorted(value) if isinstance(value, frozenset) else value


def checked(owner: type, changes: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Any]:
    """Check values from outside against the type hints of a dataclass; lists become frozen sets if that is the type."""
    hints = _hints(owner)
    allowed = sorted(hints if names is None else names)
    if unknown := sorted(changes.keys() - set(allowed)):
        raise ValueError(f"There is no switch {unknown[0]!r}. Choose from {', '.join(allowed)}.")
    values = {}
    for name, value in changes.items():
        hint, kind = hints[name], get_origin(hints[name])
        if kind in (frozenset, tuple) and isinstance(value, (list, tuple, set, frozenset)):
            if not all(_fits(get_args(hint)[0], one) for one in value):
                raise ValueError(f"{name}={value!r} does not fit; it takes {hint}.")
            values[name] = kind(value)
        elif _fits(hint, value):
            values[name] = value
        elif kind is Literal:
            choices = ", ".join(map(repr, get_args(hint)))
            raise ValueError(f"{name}={value!r} does not fit; it takes one of {choices}.")
        else:
            taken = hint.__name__ if isinstance(hint, type) and kind is None else hint
            raise ValueError(f"{name}={value!r} does not fit; it takes {taken}.")
    return values


@cache
def _hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(option, value) for option in get_args(hint))
    if hint is Any:
        return True
    accepted = (int, float) if hint is float else get_origin(hint) or hint
    # bool is an int in Python, and JSON's true is no number
    return isinstance(value, accepted) and (hint is bool or not isinstance(value, bool))
