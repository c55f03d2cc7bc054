"""The command: ``python -m simulation``, or ``make simulate``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from simulation.events import EVENTS
from simulation.schedule import draw
from simulation.shrink import shows, shrink
from simulation.simulate import simulate
from simulation.story import story

_CHUNK = 100


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
        self.kinds.update(other.kinds)
        self.exempt.update(other.exempt)
        self.events.update(other.events)


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


def main() -> int:
    """Run what the arguments ask for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--story", type=int, metavar="SEED", help="tell one schedule, and nothing else")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make one schedule smaller, and tell it")
    arguments = parser.parse_args()
    if arguments.story is not None:
        schedule = draw(arguments.story)
        print(story(schedule, simulate(schedule)))
        return 0
    if arguments.shrink is not None:
        return _shrink(arguments.shrink)
    began_s, total = time.monotonic(), Tally()
    chunks = [
        range(start, min(start + _CHUNK, arguments.first + arguments.seeds))
        for start in range(arguments.first, arguments.first + arguments.seeds, _CHUNK)
    ]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for tally in pool.map(explore, chunks):
            total.add(tally)
            if time.monotonic() - began_s > arguments.seconds:
                pool.shutdown(cancel_futures=True)
                break
    took_s = time.monotonic() - began_s
    print(f"{total.schedules} schedules from seed {arguments.first}, {total.requests} requests, {took_s:.0f} s.")
    for check, seeds in sorted(total.found.items()):
        print(f"{check}: {len(seeds)} (seeds {', '.join(map(str, sorted(seeds)[:10]))})")
    for sentence in EVENTS:
        print(f"{total.events[sentence]:7} {sentence}")
    for sentence, times in total.exempt.most_common():
        print(f"exempt: {sentence}: {times}")
    return 1 if total.found else 0


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
