"""
What a schedule has reached, so that nobody believes a simulation that never gets to the interesting states.

Each event is a question about what became of a schedule, asked of the facts, of the log of what happened, or of what
the engine has said in its own log.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulation.facts import refs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.facts import Facts, Resent
    from simulation.service import SimulatedService

_ENGINE = "airflow_provider_mqs"


class Listener(logging.Handler):
    """Counts what the engine says, by the text before anything is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.said: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a sentence."""
        self.said[str(record.msg)] += 1

    def has_said(self, beginning: str) -> bool:
        """Return whether a sentence with this beginning was said."""
        return any(sentence.startswith(beginning) for sentence in self.said)


def listen() -> Listener:
    """Return the listener of this process, and keep the engine from saying anything elsewhere."""
    logger = logging.getLogger(_ENGINE)
    listener = next((one for one in logger.handlers if isinstance(one, Listener)), None)
    if listener is None:
        listener = Listener()
        logger.handlers, logger.propagate = [listener], False
        logger.setLevel(logging.INFO)
    return listener


def events_of(
    facts: Facts, log: list[tuple[float, str, str]], service: SimulatedService, listener: Listener
) -> set[str]:
    """Return the events that a schedule has reached."""
    found = {sentence for beginning, sentence in _SAID.items() if listener.has_said(beginning)}
    found |= {sentence for part, sentence in _NOTED.items() if any(part in what for _, _, what in log)}
    posted = {(by, ref) for _, by, ref in service.posted}
    for one in facts.resent:
        found.update(_of_resend(one, facts, {ref for by, ref in posted if by == one.process}))
    for query in facts.queried:
        if query.complete and query.excluded:
            found.add("a query left out copies, and was complete")
        if "has put up to" in query.error:
            found.add("a query was refused, because copies were not known yet")
    for sensed in facts.sensed:
        found.add(f"a sensor decided: {sensed.status}")
    if any(not one.complete for one in facts.published):
        found.add("a watcher published messages that may be copies, and said so")
    elif facts.published:
        found.add("a watcher published messages")
    return found


def _of_resend(one: Resent, facts: Facts, posted: set[tuple[int, int]]) -> Iterator[str]:
    others = [other for other in facts.resent if other is not one and _overlap(one, other)]
    found = {
        "a sender was killed after its first POST": one.killed and posted,
        "a sender was killed before its first POST": one.killed and not posted,
        "an execution began with messages in doubt": one.in_doubt,
        "a doubt was resolved: not sent, and sent again": one.in_doubt & posted,
        "a doubt stayed unknown": one.in_doubt & one.unknown,
        "a message became unknown, and the task failed": one.unknown - one.in_doubt,
        "a paused sender woke, found itself fenced, and stopped": one.was_paused and "taken over" in one.error,
        "two tries of one task lived at once": any(other.task == one.task for other in others),
        "two runs with messages in common lived at once": any(
            other.task != one.task and other.planned & one.planned for other in others
        ),
    }
    yield from (sentence for sentence, holds in found.items() if holds)
    if one.report is not None:
        yield from _of_report(one, one.report, posted)


def _of_report(one: Resent, report: dict[str, Any], posted: set[tuple[int, int]]) -> Iterator[str]:
    verdict = {True: "all copies were proven", False: "a copy was missing", None: "copies stayed unproven"}
    found = {
        "a doubt was resolved: sent": one.in_doubt & (refs_of(report["sent_ranges"]) - posted),
        "a possible double was named": report["possible_doubles"],
        "messages were left out, because another run had sent them": report["already_sent"],
        "a task was stopped, and ended with a report": one.stopped_s is not None,
        verdict[report["verified"]]: report["sent"],
    }
    yield from (sentence for sentence, holds in found.items() if holds)


def _overlap(one: Resent, other: Resent) -> bool:
    ends = [float("inf") if each.ended_s is None else each.ended_s for each in (one, other)]
    return one.began_s < ends[1] and other.began_s < ends[0]


_SAID = {
    "Waiting for another run": "an execution waited for a rival",
    "Taking over from another run": "an execution took over from a dead one",
    "Resuming an earlier try": "a try went on where an earlier one had broken off",
    "No copy of a message": "a doubt could not be resolved, since no copy was known",
    "The service asks for fewer requests": "the service throttled a sender",
    "Not verified": "a resend said why it could not prove its copies",
    "The copies could not be read back": "the copies could not be read back",
}
_NOTED = {
    "is killed": "a process was killed",
    "wakes": "a paused process woke",
    "receives SIGTERM": "a process got SIGTERM",
    "runs into its execution_timeout": "a process ran into its time limit",
    "acknowledges": "the service acknowledged a POST and lost it",
    "(late": "a POST was executed after its client had given up",
    "(lost)": "a POST was executed, and its answer was lost",
    "(silent)": "a POST was executed, and no answer came",
    "(reset)": "a POST was not executed, and the client could not know",
    "(hidden)": "a copy became visible late",
    "is told that a write": "a write of a store took effect and was called failed",
    "waits for ever": "a store hung",
    "reads an old value": "a store showed an old value",
    "cannot set": "a write of a store failed",
    "sets its clock": "a clock jumped",
    "loses its parent": "a sender became an orphan",
    "is cleared": "somebody cleared a task",
    "proves all": "the copies of several executions were proven together",
    "total_": "the service lied about its totals",
}
EVENTS = (
    *_NOTED.values(),
    *_SAID.values(),
    "a sender was killed after its first POST",
    "a sender was killed before its first POST",
    "an execution began with messages in doubt",
    "a doubt was resolved: sent",
    "a doubt was resolved: not sent, and sent again",
    "a doubt stayed unknown",
    "a message became unknown, and the task failed",
    "a possible double was named",
    "messages were left out, because another run had sent them",
    "two tries of one task lived at once",
    "two runs with messages in common lived at once",
    "a paused sender woke, found itself fenced, and stopped",
    "a task was stopped, and ended with a report",
    "all copies were proven",
    "a copy was missing",
    "copies stayed unproven",
    "a query left out copies, and was complete",
    "a query was refused, because copies were not known yet",
    "a sensor decided: satisfied",
    "a sensor decided: skip",
    "a watcher published messages",
    "a watcher published messages that may be copies, and said so",
)
