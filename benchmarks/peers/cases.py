"""What is tried with each sensor, and how one try is observed."""

from __future__ import annotations

import json
import os
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks.peers.settings import fates
from benchmarks.peers.task import MODES, Ending, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

BODY = "body-of-a-message " * 50
SECRET = "secret-of-the-connection"  # noqa: S105 - made up
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Case:
    """
    One outcome that is brought about.

    :param name: which
    :param need: messages that are waited for
    :param before: messages of the interval that are there when the task starts
    :param later: messages that come after ``later_s``
    :param today: messages of now, whatever the interval is
    :param fault: HTTP status that the service answers with, or that stands for it
    :param fault_s: so long; default for ever
    :param settings: of Airflow's base sensor
    :param timeout_s: of the sensor
    :param restart: see ``Task``
    :param twice: whether the task is cleared and run again, which is what is observed
    :param waits: whether an empty window is waited for until the timeout, where that can be said
    :param defers: whether in the triggerer is looked at what happens, not at the first look in the worker
    :param modes: which are run
    :param current: whether the interval ends in two seconds
    :param patient: whether the client below the sensor repeats requests as it does by default, where that can be said;
        without, an outage is longer than it would bear
    :param interval: filled in when the case begins
    """

    name: str
    need: int = 1
    before: int = 0
    later: int = 0
    later_s: float = 1.2
    today: int = 0
    fault: int = 0
    fault_s: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 4.0
    restart: str = ""
    twice: bool = False
    waits: bool = False
    defers: bool = False
    modes: tuple[str, ...] = MODES
    current: bool = False
    patient: bool = True
    interval: tuple[datetime, datetime] = (datetime.min, datetime.min)  # noqa: DTZ901 - replaced

    @property
    def key(self) -> str:
        """Name it with its settings."""
        return " ".join([self.name, *self.settings])

    def now(self, slack_s: float = 0.0) -> Case:
        """Choose the interval: an hour of yesterday, or one that ends in two seconds; and allow for more time."""
        now = datetime.now(timezone.utc)
        end = now + timedelta(seconds=2) if self.current else now - timedelta(days=1)
        return replace(self, interval=(end - _HOUR, end), timeout_s=self.timeout_s + slack_s)


_DEFERRED = ("deferred",)
_SILENT = {"silent_fail": True}
CASES = (
    Case("there", before=3),
    Case("empty"),
    Case("few", need=3, before=1),
    Case("late", before=1, later=2, timeout_s=8.0, current=True),
    Case("timeout", waits=True),
    Case("timeout", waits=True, settings={"soft_fail": True}),
    Case("timeout", waits=True, settings={"never_fail": True}),
    Case("hiccup", before=1, fault=500, fault_s=1.0, timeout_s=15.0, defers=True),
    Case("outage", before=1, fault=500, fault_s=3.0, timeout_s=15.0, defers=True, patient=False),
    Case("outage", before=1, fault=500, fault_s=3.0, timeout_s=15.0, defers=True, patient=False, settings=_SILENT),
    Case("down", before=1, fault=500, timeout_s=12.0, defers=True, patient=False),
    Case("down patient", before=1, fault=500, defers=True),
    Case("denied", before=1, fault=403, defers=True),
    Case("login", before=1),
    Case("unknown"),
    Case("past", today=1),
    Case("again", before=1, twice=True),
    Case("restart waiting", restart="waiting", later=1, later_s=2.0, timeout_s=8.0, waits=True, defers=True, modes=_DEFERRED),
    Case("restart found", restart="found", before=3, timeout_s=6.0, defers=True, modes=_DEFERRED),
)


class Peer(ABC):
    """A sensor and its service."""

    name: str
    package: str
    service: str
    modes: tuple[str, ...] = MODES
    slack_s = 0.0
    """So much longer everything is given, where reading takes a while to begin."""
    counts = False
    """Whether the number of messages can be a condition."""
    not_run: Mapping[str, str] = {}
    """Cases that cannot be brought about, and why."""
    after: frozenset[str] = frozenset()
    """Arguments that are heeded when the task resumes, so that no trigger needs them."""
    secrets: tuple[str, ...] = (SECRET,)

    @abstractmethod
    def __enter__(self) -> Self:
        """Start the service."""

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Stop it."""

    @abstractmethod
    def begin(self, case: Case) -> None:
        """Begin anew."""

    @abstractmethod
    def put(self, case: Case, count: int, moment: datetime | None = None) -> None:
        """Write messages."""

    @abstractmethod
    def fail(self, status: int) -> None:
        """Let the service fail from now on, or recover with 200."""

    @abstractmethod
    def left(self) -> dict[str, int]:
        """Count what can still be read, and by whom."""

    @abstractmethod
    def times(self) -> list[float]:
        """Give when each request came."""

    @abstractmethod
    def sensor(self, case: Case, mode: str, **arguments: Any) -> Any:
        """Make the sensor."""

    @abstractmethod
    def deferral(self, **arguments: Any) -> Any:
        """Make one that defers, with these arguments instead of the defaults."""

    @abstractmethod
    def changed(self) -> dict[str, Any]:
        """Give another value for each argument."""

    @abstractmethod
    def seen(self, ending: Ending) -> int | None:
        """Say how many messages the task knows of."""

    def logins(self) -> int:
        """Count logins, where there are any."""
        return 0

    def arrive(self, case: Case) -> None:
        """Let the messages come that were waited for."""
        self.put(case, case.later, datetime.now(timezone.utc) if case.current else None)

    @staticmethod
    def set_connection(name: str, document: Mapping[str, Any]) -> None:
        """Set an Airflow connection."""
        os.environ[f"AIRFLOW_CONN_{name}"] = json.dumps(document)

    @staticmethod
    def common(mode: str, case: Case, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Give the arguments of Airflow's base sensor."""
        known = "reschedule" if mode == "reschedule" else "poke"
        times = {"poke_interval": 1.0, "timeout": case.timeout_s}
        return {"task_id": "wait", "mode": known, "retries": 1, **times, **case.settings, **arguments}

    def versions(self) -> dict[str, str]:
        """Name the packages that were run."""
        return {self.package: version(self.package)}


def observe(peer: Peer, case: Case, mode: str) -> dict[str, Any]:
    """Bring one outcome about, and write down what came of it."""
    case = case.now(peer.slack_s)
    peer.begin(case)
    peer.put(case, case.before, datetime.now(timezone.utc) if case.current else None)
    peer.put(case, case.today, datetime.now(timezone.utc))
    happenings = Happenings(peer, case, mode)
    task = Task(
        lambda: peer.sensor(case, mode),
        case.interval,
        on_deferral=happenings.deferred,
        restart=case.restart if mode == "deferred" else "",
        between=happenings.restarted,
        life_s=1.0 + peer.slack_s,
    )
    happenings.begin()
    if case.twice:
        task.run()
    asked = len(peer.times())
    ending = task.run()
    happenings.end()
    return describe(peer, case, ending, peer.times()[asked:])


class Happenings:
    """What happens to the service while a task waits."""

    def __init__(self, peer: Peer, case: Case, mode: str) -> None:
        self._peer, self._case = peer, case
        self._in_triggerer = case.defers and mode == "deferred"
        self._timers: list[threading.Timer] = []

    def begin(self) -> None:
        """Do what belongs to the beginning of the task."""
        if self._case.later and not self._case.restart:
            self._at(self._case.later_s, lambda: self._peer.arrive(self._case))
        if not self._in_triggerer:
            self._fail()

    def deferred(self) -> None:
        """Do what belongs to the beginning of the waiting in the triggerer."""
        if self._in_triggerer:
            self._fail()

    def restarted(self) -> None:
        """Let come what was waited for, once the service has noticed that the first life has ended."""
        if self._case.later:
            self._at(self._case.later_s, lambda: self._peer.arrive(self._case))

    def end(self) -> None:
        """Wait until all has happened that should, and recover."""
        for timer in self._timers:
            timer.join()
        if self._case.fault:
            self._peer.fail(200)

    def _fail(self) -> None:
        if self._case.fault:
            self._peer.fail(self._case.fault)
            if self._case.fault_s is not None:
                self._at(self._case.fault_s, lambda: self._peer.fail(200))

    def _at(self, seconds: float, happens: Any) -> None:
        self._timers.append(threading.Timer(seconds, happens))
        self._timers[-1].start()


def describe(peer: Peer, case: Case, ending: Ending, times: list[float]) -> dict[str, Any]:
    """Write an ending and what the service saw as JSON."""
    span_s = times[-1] - times[0] if len(times) > 1 else 0.0
    return {
        "state": ending.state,
        "timeout": case.timeout_s,
        "seconds": ending.seconds,
        "error": ending.error,
        "deferrals": ending.deferrals,
        "deferral_timeout": None if ending.timeout_s is None else round(ending.timeout_s, 1),
        "seen": peer.seen(ending),
        "left": peer.left(),
        "requests": len(times),
        "per_second": round((len(times) - 1) / span_s, 1) if span_s >= 1 else None,
        "logins": peer.logins(),
        "holds": {
            "xcom": holds(ending.xcom, peer),
            "event": holds(ending.event, peer),
            "trigger": holds(ending.arguments, peer),
        },
    }


def holds(value: Any, peer: Peer) -> dict[str, Any]:
    """Say how large a document is, and what is in it that should not be."""
    if not value:
        return {"bytes": 0, "bodies": 0, "secrets": 0}
    text = json.dumps(value, default=str)
    return {
        "bytes": len(text),
        "bodies": text.count(BODY),
        "secrets": sum(text.count(secret) for secret in peer.secrets),
    }


def run(peer: Peer, cases: tuple[Case, ...] = CASES) -> dict[str, Any]:
    """Try everything with one sensor."""
    found: dict[str, Any] = {"service": peer.service, "package": peer.package, "modes": list(peer.modes)}
    found["counts"], found["not_run"], found["cases"] = peer.counts, dict(peer.not_run), {}
    with peer:
        found["versions"] = peer.versions()
        for case in cases:
            for mode in (mode for mode in case.modes if mode in peer.modes and case.name not in peer.not_run):
                began_s = time.monotonic()
                row = observe(peer, case, mode)
                found["cases"].setdefault(case.key, {})[mode] = row
                spent_s = time.monotonic() - began_s
                print(f"{spent_s:5.1f} s  {peer.name}, {case.key}, {mode}: {row['state']} {row['error']}", flush=True)
        peer.begin(Case("settings").now())
        found["settings"] = fates(peer.deferral, peer.changed(), peer.after)
    return found
