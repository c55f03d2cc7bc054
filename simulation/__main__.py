"""The command: ``python -m simulation``, or ``make simulate``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.mutations import MUTATIONS, mutated
from simulation.page import write_page
from simulation.schedule import draw
from simulation.shrink import shows, shrink
from simulation.simulate import simulate
from simulation.story import story

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 50
_FOUND_WITHIN = 20_000
"""Schedules within which a missing guard must be noticed."""


@dataclass(slots=True)
class Tally:
    """What became of some schedules."""

    schedules: int = 0
    requests: int = 0
    found: dict[str, list[int]] = field(default_factory=dict)
    """Seeds by the name of the violation."""
    kinds: Counter[str] = field(default_factory=Counter)
    exempt: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Join what another process has counted."""
        self.schedules += other.schedules
        self.requests += other.requests
        for check, seeds in other.found.items():
            self.found.setdefault(check, []).extend(seeds)
        for mine, theirs in ((self.kinds, other.kinds), (self.exempt, other.exempt), (self.events, other.events)):
            mine.update(theirs)


def explore(seeds: range) -> Tally:
    """Run the schedules of some seeds."""
    tally = Tally()
    gc.disable()  # what killed processes left must not be closed in the midst of another schedule
    for seed in seeds:
        schedule = draw(seed)
        outcome = simulate(schedule)
        tally.schedules += 1
        tally.requests += outcome.requests
        for check in {violation.check for violation in outcome.violations}:
            tally.found.setdefault(check, []).append(seed)
        tally.kinds.update(schedule.kinds)
        tally.exempt.update(outcome.exempt)
        tally.events.update(outcome.events)
    gc.collect()
    return tally


def hunt(name: str, first: int, most: int = _FOUND_WITHIN) -> tuple[str, int, str, int]:
    """Take a guard away; return after how many schedules which check notices it, and the seed; 0 if none does."""
    gc.disable()
    for number, seed in enumerate(range(first, first + most), 1):
        schedule = draw(seed)
        with mutated(name):
            violations = simulate(schedule).violations
        if violations and not simulate(schedule).violations:
            return name, number, violations[0].check, seed
        if not number % _CHUNK:
            gc.collect()
    return name, 0, "", 0


def main() -> int:
    """Run what the arguments ask for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing more after this time")
    parser.add_argument("--story", type=int, metavar="SEED", help="tell one schedule, and nothing else")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make one schedule smaller, and tell it")
    parser.add_argument("--mutation", action="append", default=[], metavar="NAME", help="take a guard away; or 'all'")
    parser.add_argument("--output", type=Path, help="write the table into this page")
    arguments = parser.parse_args()
    if arguments.story is not None:
        schedule = draw(arguments.story)
        print(story(schedule, simulate(schedule)))
        return 0
    if arguments.shrink is not None:
        return _shrink(arguments.shrink)
    if arguments.mutation:
        return _hunt_all(arguments.mutation, arguments)
    began_s, total = time.monotonic(), Tally()
    for tally in _explored(arguments):
        total.add(tally)
    took_s = time.monotonic() - began_s
    print(f"{total.schedules} schedules from seed {arguments.first}, {total.requests} requests, {took_s:.0f} s.")
    for check, seeds in sorted(total.found.items()):
        print(f"VIOLATION {check}: {len(seeds)} (seeds {', '.join(map(str, sorted(seeds)[:10]))})")
    for sentence, times in total.exempt.most_common():
        print(f"exempt: {sentence}: {times}")
    if arguments.output is not None:
        write_page(
            arguments.output, total.schedules, arguments.first, total.found, total.kinds, total.events, total.exempt
        )
    return 1 if total.found else 0


def _explored(arguments: argparse.Namespace) -> Iterator[Tally]:
    last, until_s = arguments.first + arguments.seeds, time.monotonic() + arguments.seconds
    with ProcessPoolExecutor(arguments.jobs) as pool:
        chunks = (range(start, min(start + _CHUNK, last)) for start in range(arguments.first, last, _CHUNK))
        running = [pool.submit(explore, chunk) for chunk, _ in zip(chunks, range(2 * arguments.jobs), strict=False)]
        while running:
            yield running.pop(0).result()
            if time.monotonic() < until_s:
                running += [pool.submit(explore, chunk) for chunk, _ in zip(chunks, range(1), strict=False)]


def _hunt_all(names: list[str], arguments: argparse.Namespace) -> int:
    wanted = [one.name for one in MUTATIONS] if names == ["all"] else names
    missed = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        search = partial(hunt, first=arguments.first, most=arguments.seeds)
        for done in as_completed([pool.submit(search, name) for name in wanted]):
            name, number, check, seed = done.result()
            missed += not number
            print(f"{name}: found after {number} schedules ({check}, seed {seed})" if number else f"{name}: NOT FOUND")
            sys.stdout.flush()
    return 1 if missed else 0


def _shrink(seed: int) -> int:
    schedule = draw(seed)
    violations = simulate(schedule).violations
    if not violations:
        print("Nothing happened that must not happen.")
        return 0
    small = shrink(schedule, shows(violations[0].check))
    print(story(small, simulate(small)))
    print(f"\n{small!r}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
