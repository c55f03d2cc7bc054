"""
What a fault makes a window query answer instead of the truth: another ``total``, other rows, or no list at all.

A liar is consistent: the store holds what it holds, and only the answer is wrong. So a test can compare what a client
made of the answers with the store.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.faults import Faults


def about(listing: dict[str, Any], *, page: int, faults: Faults) -> dict[str, Any]:
    """Return a page as the faults distort it; pages are counted from 0."""
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(listing["messages"], 1):
        changed = faults.row_changes_every and number % faults.row_changes_every == 0
        rows.append({**row, **faults.row_changes} if changed else row)
        if faults.repeat_every and number % faults.repeat_every == 0:
            rows.append({**rows[-1], **faults.repeat_changes})
    answer = {**listing, "messages": None if faults.null_rows else rows}
    if page not in (faults.total_pages or {page}):
        return answer
    total = listing["total"]
    if wobble := faults.total_wobble:
        total += faults.rng.randint(-wobble, wobble)
    answer["total"] = type(total)(max(0, math.floor(total * faults.total_factor) + faults.total_added))
    match faults.total_says:
        case None:
            pass
        case "page":
            answer["total"] = listing["size"]
        case "null":
            answer["total"] = None
        case "absent":
            del answer["total"]
        case said:
            answer["total"] = said
    return answer
