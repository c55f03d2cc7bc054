"""Wording that logs and errors share."""

from __future__ import annotations


def plural(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 message``, ``2 messages``."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
