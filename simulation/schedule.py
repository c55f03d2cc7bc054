"""
Schedules: who does what and when, and what goes wrong. A schedule is plain data, and a run depends on nothing else.

``draw`` makes one from a seed. Each seed first draws which kinds of trouble may come at all, so that some schedules
have a single fault and others many: bugs hide in both. ``seed`` also feeds the latencies of each process, by the name
of the process, so that taking one run or fault out of a schedule leaves the latencies of all others as they were. The
shrinker relies on it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

HOUR_S = 3600.0
WINDOWS = 3
"""Hours before the beginning that hold messages."""


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens at one moment of a process; ``seconds`` says how long, if that means anything."""

    what: str
    seconds: float = 0.0
    whom: str = ""
    """Another process that it is about, by name."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A strike, and the moment: the nth request or store call of its kind, before it or when it has taken effect.

    In the phase ``time`` it is the nth millisecond of the process.
    """

    process: str
    phase: str
    kind: str
    nth: int
    strike: Strike


@dataclass(frozen=True, slots=True)
class Written:
    """A message of a producer; ``at_s`` is negative for what the topic holds from the beginning."""

    at_s: float
    partition: int
    value: str
    key: str | None = None
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a DAG (or calls of a command): a query, then the resend of what it found, in one batch or several."""

    name: str
    at_s: float
    start_s: float
    end_s: float
    host: int = 0
    command: bool = False
    consumer_key: str | None = None
    on_replayed: str = "skip"
    on_unknown: str = "verify"
    on_failure: str = "stop"
    ordering: str = "partition"
    verify: bool = True
    verify_wait_s: float = 12.0
    concurrency: int = 4
    batches: int = 1
    retries: int = 1
    retry_delay_s: float = 5.0
    moves: bool = False
    """Whether each try runs on another host."""
    undead_s: float = 1e9
    """Seconds after which Airflow takes a try that is paused for dead, and starts the next beside it."""
    clear_after_s: float | None = None
    """Seconds after its end until somebody clears the resend, so that it runs once more."""
    proves: bool = False
    """Whether a last task proves the copies of all batches together."""
    waits: bool = False
    """Whether a sensor comes first."""
    min_messages: int = 1
    settle_s: float = 0.0
    poll_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A host: how wrong its wall clock is, and whether it shares its name and process ids with another container."""

    ahead_s: float = 0.0
    drift: float = 0.0
    jump_at_s: float | None = None
    jump_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happens to the service at a moment: an attribute of its faults or behaviour takes a value."""

    at_s: float
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a run of the simulation depends on."""

    seed: int
    partitions: int = 1
    messages: tuple[Written, ...] = ()
    runs: tuple[Run, ...] = ()
    faults: tuple[Fault, ...] = ()
    machines: tuple[Machine, ...] = (Machine(),)
    changes: tuple[Change, ...] = ()
    behaviour: tuple[tuple[str, Any], ...] = ()
    store_s: tuple[float, float] = (0.001, 0.02)
    network_s: tuple[float, float] = (0.005, 0.05)
    stores: int = 1
    watched: bool = False
    """Whether a watcher reads the topic meanwhile."""
    page_size: int = 50
    kinds: tuple[str, ...] = field(default=())
    """The kinds of trouble that it was drawn with, for the table."""


TROUBLES = (
    "kills",
    "pauses",
    "stops",
    "network",
    "service",
    "late",
    "lost",
    "hidden",
    "stores",
    "stale",
    "clocks",
    "producers",
    "looks",
    "rivals",
    "overlaps",
    "keys",
    "resends",
    "clears",
    "batches",
    "next",
    "moves",
    "slow stores",
    "watchers",
    "totals",
    "retention",
)


def draw(seed: int) -> Schedule:
    """Make the schedule of a seed."""
    rng = random.Random(seed)
    often = rng.choice((0.12, 0.25, 0.45))
    kinds = tuple(one for one in TROUBLES if rng.random() < often)
    return _Drawing(seed, rng, kinds).schedule()


class _Drawing:
    def __init__(self, seed: int, rng: random.Random, kinds: tuple[str, ...]) -> None:
        self.seed, self.rng, self.kinds = seed, rng, kinds
        self.partitions = rng.choice((1, 1, 2, 3))
        self.machines = rng.choice((1, 2, 3))
        self.page_size = rng.choice((50, 50, 50, 2, 3))

    def schedule(self) -> Schedule:
        rng = self.rng
        runs = self._runs()
        messages = self._messages()
        runs, scene = self._scene(runs)
        return Schedule(
            self.seed,
            partitions=self.partitions,
            messages=messages,
            runs=runs,
            faults=(*self._faults(runs), *scene),
            machines=self._machines(),
            changes=self._changes(),
            behaviour=self._behaviour(),
            store_s=rng.choice(((0.02, 0.3), (0.1, 0.5))) if "slow stores" in self.kinds else (0.001, 0.02),
            network_s=rng.choice(((0.005, 0.05), (0.005, 0.05), (0.01, 0.8))),
            stores=rng.choice((1, 1, 2)),
            watched="watchers" in self.kinds,
            page_size=self.page_size,
            kinds=self.kinds,
        )

    def _messages(self) -> tuple[Written, ...]:
        rng, found = self.rng, []
        for number in range(rng.randint(3, 12)):
            hour = rng.choice((0, 0, 0, 1, 2))
            at_s = -(WINDOWS - hour) * HOUR_S + number * 200 + rng.random() * 100
            found.append(self._written(at_s, number))
        if "producers" in self.kinds:
            found += [self._written(rng.uniform(0, 60), 50 + number) for number in range(rng.randint(1, 4))]
        return tuple(sorted(found, key=lambda one: one.at_s))

    def _written(self, at_s: float, number: int) -> Written:
        rng = self.rng
        alike = rng.random()
        if alike < (0.15 if "looks" not in self.kinds else 0.4):
            return Written(at_s, rng.randrange(self.partitions), rng.choice(("same", "same", "emas")), "k")
        if alike < 0.7:
            return Written(at_s, rng.randrange(self.partitions), f"m{number:03}", "k")  # equal looks, other contents
        return Written(
            at_s,
            rng.randrange(self.partitions),
            f"message {number} ".ljust(14 + number, "."),
            f"k{number}",
            rng.choice(("", "red")),
        )

    def _runs(self) -> tuple[Run, ...]:
        rng = self.rng
        first = self._run("A", rng.uniform(0, 2), hour=0)
        runs = [first]
        if "rivals" in self.kinds:  # the same window once more
            runs.append(
                self._run("B", rng.choice((rng.uniform(0, 3), rng.uniform(0, 60), rng.uniform(60, 200))), hour=0)
            )
        if "overlaps" in self.kinds:
            runs.append(
                self._run("C", rng.choice((rng.uniform(0, 3), rng.uniform(0, 90))), hour=rng.choice((0, 1)), hours=2)
            )
        if "keys" in self.kinds:
            runs.append(self._run("D", rng.uniform(0, 40), hour=0, consumer_key="other"))
        if "next" in self.kinds:  # the interval in which all this happens, queried while it goes on
            end_s = rng.choice((5.0, 15.0, 40.0))
            runs.append(self._run("E", end_s + rng.uniform(0.5, 30), start_s=rng.choice((0.0, -HOUR_S)), end_s=end_s))
        return tuple(runs)

    def _scene(self, runs: tuple[Run, ...]) -> tuple[tuple[Run, ...], tuple[Fault, ...]]:
        """Let trouble come together in half of all schedules, as it seldom does by chance."""
        rng, first = self.rng, runs[0]
        scene = rng.choice(("", "", "", "zombie", "zombie", "together", "chain", "consumers"))
        task = f"{first.name}-resend{rng.randrange(first.batches)}"
        if scene == "zombie":  # a sender is paused for longer than its lease, and another comes in the meantime
            pause = Strike("pause", rng.uniform(45, 150))
            kind, most = rng.choice((("set", 8), ("get", 20), ("post", 4)))
            other = self._run("Y", first.at_s + rng.uniform(1, 60), hour=0, host=self.machines - 1, retries=1)
            first = replace(first, undead_s=rng.choice((1e9, 20.0)), retries=max(first.retries, 1), retry_delay_s=0.5)
            paused = Fault(f"{task}-1", "after", kind, rng.randint(1, most), pause)
            # it may wake just when its successor takes over
            taker = rng.choice((f"{task}-2", "Y-resend0-1"))
            moment = rng.choice(("get", "get", "set")), rng.randint(1, 40)
            wakes = Fault(taker, "after", *moment, Strike("wakes", whom=f"{task}-1"))
            return (first, *runs[1:], other), ((paused, wakes) if rng.random() < 0.7 else (paused,))
        if scene == "together":  # two begin at once, and each is slow at some moment
            other = self._run("Y", first.at_s + rng.uniform(-0.3, 0.3), hour=0, batches=first.batches)
            faults = [
                Fault(
                    rng.choice((f"{task}-1", f"Y{task[1:]}-1")),
                    "after",
                    rng.choice(("get", "set")),
                    rng.randint(1, 12),
                    Strike("pause", rng.uniform(0.05, 5.0)),
                )
                for _ in range(3)
            ]
            return (*runs, replace(other, at_s=max(other.at_s, 0.0))), tuple(faults)
        if scene == "chain":  # one try after another breaks off
            what = ("kill", "kill", "reset", "lost", "silent", "late", "error_500", "timeout_504")
            faults = [
                Fault(
                    f"{task}-{attempt}",
                    "before",
                    "post",
                    rng.randint(1, 4),
                    Strike(rng.choice(what), rng.uniform(1, 7)),
                )
                for attempt in (1, 1, 2, 3)
            ]
            return (replace(first, retries=3, retry_delay_s=rng.choice((0.5, 30.0))), *runs[1:]), tuple(faults)
        if scene == "consumers":  # the same messages go to two consumers, and something is lost on the way
            other = self._run("Y", first.at_s + rng.uniform(0, 40), hour=0, consumer_key="second")
            losses = ("reset", "lost", "lost_after_ack", "hidden", "late", "error_500")
            faults = [
                Fault(
                    rng.choice((f"{task}-1", "Y-resend0-1")),
                    "before",
                    "post",
                    rng.randint(1, 4),
                    Strike(rng.choice(losses), rng.uniform(1, 7)),
                )
                for _ in range(2)
            ]
            return (*runs, other), tuple(faults)
        return runs, ()

    def _run(self, name: str, at_s: float, *, hour: int = 0, hours: int = 1, **changes: Any) -> Run:
        rng, start_s = self.rng, -(WINDOWS - hour) * HOUR_S
        values: dict[str, Any] = {
            "start_s": start_s,
            "end_s": start_s + hours * HOUR_S,
            "host": rng.randrange(self.machines),
            "command": rng.random() < 0.15,
            "ordering": rng.choice(("partition", "none")),
            "on_replayed": rng.choice(("skip", "resend", "fail")) if "resends" in self.kinds else "skip",
            "on_unknown": rng.choice(("verify", "verify", "verify", "verify", "resend", "fail")),
            "on_failure": rng.choice(("stop", "continue")),
            "verify": rng.random() < 0.9,
            "verify_wait_s": rng.choice((8.0, 12.0, 20.0)),
            "concurrency": rng.choice((1, 2, 4, 8)),
            "batches": rng.choice((2, 3)) if "batches" in self.kinds else 1,
            "retries": rng.choice((0, 1, 2)),
            "retry_delay_s": rng.choice((0.5, 5.0, 70.0)),
            "moves": "moves" in self.kinds,
            "undead_s": rng.choice((1e9, 30.0)),
            "clear_after_s": rng.uniform(1, 100) if "clears" in self.kinds else None,
            "proves": rng.random() < 0.3,
            "waits": rng.random() < 0.2,
            "min_messages": rng.choice((0, 1, 3)),
            **changes,
        }
        return Run(name, at_s, **values)

    def _machines(self) -> tuple[Machine, ...]:
        rng = self.rng
        if "clocks" not in self.kinds:
            return (Machine(),) * self.machines
        return tuple(
            Machine(
                ahead_s=rng.choice((0.0, 120.0, -120.0, 900.0, rng.uniform(-600, 600))),
                drift=rng.choice((0.0, 0.0, 1e-3, -1e-3)),
                jump_at_s=rng.choice((None, rng.uniform(0, 60))),
                jump_s=rng.uniform(-900, 900),
            )
            for _ in range(self.machines)
        )

    def _changes(self) -> tuple[Change, ...]:
        rng, found = self.rng, []
        if "clocks" in self.kinds and rng.random() < 0.3:
            found.append(Change(0.0, "clock_offset_s", rng.choice((600.0, -600.0, rng.uniform(-100, 100)))))
        if "totals" in self.kinds:
            name, value = rng.choice(
                (
                    ("total_factor", 0.5),
                    ("total_factor", 0.9),
                    ("total_factor", 2.0),
                    ("total_added", -1),
                    ("total_added", 1),
                    ("total_added", 5),
                    ("total_says", "null"),
                    ("total_says", "absent"),
                    ("total_says", "page"),
                )
            )
            found.append(Change(rng.choice((0.0, 0.0, rng.uniform(0, 30))), name, value))
        return tuple(found)

    def _behaviour(self) -> tuple[tuple[str, Any], ...]:
        rng = self.rng
        found: list[tuple[str, Any]] = []
        if "looks" in self.kinds:
            found += [
                ("copy_same_key", rng.random() < 0.7),
                ("copy_same_size", rng.random() < 0.7),
                ("copy_same_message_id", rng.random() < 0.3),
            ]
        # below the size of a page, or beside a total that lies, nobody can see a cap
        if rng.random() < 0.2 and self.page_size == 2 and "totals" not in self.kinds:
            found += [("cap", rng.choice((3, 4, 5))), ("cap_hides_total", rng.random() < 0.5)]
        found.append(("paging", rng.choice(("page0", "page0", "page1", "row"))))
        found.append(("end_inclusive", rng.random() < 0.7))
        return tuple(found)

    def _faults(self, runs: tuple[Run, ...]) -> tuple[Fault, ...]:
        rng, found = self.rng, []
        wanted = {
            "kills": (self._kill, 3),
            "pauses": (self._pause, 2),
            "stops": (self._stop, 1),
            "network": (self._network, 4),
            "service": (self._service, 4),
            "late": (self._late, 2),
            "lost": (self._lost, 2),
            "hidden": (self._hidden, 2),
            "stores": (self._store, 2),
            "stale": (self._stale, 3),
        }
        for kind, (make, most) in wanted.items():
            if kind in self.kinds:
                found += [make(self._process(runs)) for _ in range(rng.randint(1, most))]
        return tuple(found)

    def _process(self, runs: tuple[Run, ...]) -> str:
        rng = self.rng
        run = rng.choice(runs)
        task = rng.choice(("query", *("resend",) * 9))
        batch = f"{rng.randrange(run.batches)}" if task == "resend" else ""
        return f"{run.name}-{task}{batch}-{rng.choice((1, 1, 1, 1, 1, 2, 2, 3))}"

    def _moment(self, process: str, strike: Strike) -> Fault:
        rng = self.rng
        kind, most = rng.choice((("post", 6), ("post", 3), ("set", 12), ("get", 30), ("query", 8), ("any", 80)))
        return Fault(process, rng.choice(("before", "after")), kind, rng.randint(1, most), strike)

    def _kill(self, process: str) -> Fault:
        if self.rng.random() < 0.2:
            return Fault(process, "time", "ms", self.rng.randrange(20_000), Strike("kill"))
        return self._moment(process, Strike("kill"))

    def _pause(self, process: str) -> Fault:
        strike = Strike("pause", self.rng.choice((0.5, 5.0, 20.0, 45.0, 62.0, 100.0, 150.0)))
        if self.rng.random() < 0.3:
            return Fault(process, "time", "ms", self.rng.randrange(3000), strike)
        return self._moment(process, strike)

    def _stop(self, process: str) -> Fault:
        if self.rng.random() < 0.2:
            return self._moment(process, Strike("orphan"))
        if self.rng.random() < 0.5:
            return Fault(process, "time", "ms", self.rng.randrange(20_000), Strike("stop"))
        return self._moment(process, Strike("stop"))

    def _post(self, process: str, what: str, seconds: float = 0.0) -> Fault:
        return Fault(process, "before", "post", self.rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 7)), Strike(what, seconds))

    def _network(self, process: str) -> Fault:
        what = self.rng.choice(("reset", "reset", "lost", "lost", "silent", "unreachable"))
        if self.rng.random() < 0.8:
            return self._post(process, what)
        kind = self.rng.choice(("query", "content", "topics", "login"))
        return Fault(process, "before", kind, self.rng.randint(1, 5), Strike(what))

    def _service(self, process: str) -> Fault:
        rng = self.rng
        on_post = (
            "throttle_429",
            "throttle_404",
            "error_400",
            "error_500",
            "error_500_after",
            "html_502",
            "timeout_504",
            "lost_504",
            "html_502_after",
            "redirect",
            "iam_unavailable",
            "error_503",
            "drop_before",
            "drop_after",
        )
        if rng.random() < 0.7:
            return self._post(process, rng.choice(on_post))
        what = rng.choice(("throttle_429", "error_500", "error_502", "error_503", "html_502", "query_timeout"))
        return Fault(process, "before", rng.choice(("query", "content")), rng.randint(1, 6), Strike(what))

    def _late(self, process: str) -> Fault:
        return self._post(process, self.rng.choice(("late", "late_silent")), self.rng.choice((0.5, 3.0, 6.0, 7.5)))

    def _lost(self, process: str) -> Fault:
        return self._post(process, "lost_after_ack")

    def _hidden(self, process: str) -> Fault:
        return self._post(process, "hidden", self.rng.choice((0.5, 2.0, 6.0)))

    def _store(self, process: str) -> Fault:
        rng = self.rng
        kind = rng.choice(("get", "set"))
        what = rng.choice(
            ("fail", "fail", "hang") if kind == "get" else ("fail", "fail_after", "fail_after", "hang", "hang_after")
        )
        return Fault(process, "before", kind, rng.randint(1, 16), Strike(what))

    def _stale(self, process: str) -> Fault:
        return Fault(process, "before", "get", self.rng.randint(1, 20), Strike("stale", self.rng.uniform(0.05, 2.0)))
