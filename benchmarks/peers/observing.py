"""Bring outcomes about, and write down what came of them."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from benchmarks.peers.cases import BODY, CASES
from benchmarks.peers.settings import fates
from benchmarks.peers.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers.cases import Case
    from benchmarks.peers.peer import Peer
    from benchmarks.peers.task import Ending


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

    def _at(self, seconds: float, happens: Callable[[], None]) -> None:
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
        peer.begin(cases[0].now())
        found["settings"] = fates(peer.deferral, peer.changed(), peer.after)
    return found
