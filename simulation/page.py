"""The table in ``docs/simulation.md``, written by the command between two marks of that page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simulation.events import EVENTS
from simulation.oracle import CHECKS
from simulation.schedule import TROUBLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_BEGIN, _END = "<!-- written by make simulate -->", "<!-- end of what make simulate writes -->"


def write_page(
    page: Path,
    schedules: int,
    first: int,
    found: Mapping[str, list[int]],
    kinds: Mapping[str, int],
    events: Mapping[str, int],
    exempt: Mapping[str, int],
) -> None:
    """Replace what an earlier run has written."""
    lines = [
        f"{schedules:,} schedules, from seed {first}.",
        "",
        *_table(
            "check", "must never happen", ((name, text, len(found.get(name, ()))) for name, text in CHECKS.items())
        ),
        "",
        *_table("", "what nobody can promise away", (("", text, exempt[text]) for text in sorted(exempt))),
        "",
        *_table("", "reached", (("", text, events.get(text, 0)) for text in EVENTS)),
        "",
        *_table("", "kind of trouble", (("", name, kinds.get(name, 0)) for name in TROUBLES)),
    ]
    text = page.read_text(encoding="utf-8")
    body = "\n".join([_BEGIN, "", *lines, "", _END])
    page.write_text(re.sub(f"{_BEGIN}.*{_END}", lambda _: body, text, flags=re.DOTALL), encoding="utf-8")


def _table(first: str, second: str, rows: Iterable[tuple[str, str, int]]) -> list[str]:
    held = list(rows)
    if first:
        return [
            f"| {first} | {second} | schedules |",
            "|---|---|---:|",
            *(f"| {name} | {text} | {times:,} |" for name, text, times in held),
        ]
    return [f"| {second} | schedules |", "|---|---:|", *(f"| {text} | {times:,} |" for _, text, times in held)]
