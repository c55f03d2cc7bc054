"""
What must never happen, told from the service's own log.

The oracle shares no code with the engine, and believes no report: it compares what reports say with what the service
has. Each check has a name, by which the shrinker and the table know it.

The rules about sending twice speak of *wishes*. A task instance is one wish that each message of its plan be sent;
a Clear is another. Runs with ``on_replayed`` other than ``resend`` wish for no copy if there is one, so two of their
copies of a message are one too many; and so is a copy that such a run makes after any other. Two wishes with
``resend`` are two copies. What is too many must be named, in ``possible_doubles`` or as unknown.

What nobody can promise is counted apart, as an exemption: a service that appends later than ``verify_wait`` after the
POST, and a producer that writes the content of a copy that is lost.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from simulation.facts import refs_of
from simulation.virtual_time import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.facts import Facts, Queried, Resent
    from simulation.process import SharedStore
    from simulation.service import LostAppend, Ref, Row, SimulatedService

OVERLAP_S = 20.0
"""How late a message may come to the watcher."""
STOP_S = 4.5
"""Seconds that a task may take from SIGTERM to the end."""

CHECKS = {
    "lost": "A message was called sent, and the service never had a copy of it.",
    "sent twice": "A message was sent twice, and nobody named it.",
    "original left out": "A query said that it was complete, and lacked a message of a producer.",
    "copy let in": "A query said that it was complete, and held a copy.",
    "original recorded": "A message of a producer was recorded as a copy.",
    "falsely verified": "A report said that each message has its copy, and one has none.",
    "false decision": "A sensor said that a window holds enough, or too little, and it was not so.",
    "not published": "A watcher never published a message of a producer.",
    "endless": "Something went on and on.",
    "falsely missing": "A report said that a message has no copy, and it has one.",
    "counts": "The counts of a report do not add up.",
    "stuck": "Nothing was wrong any more, and no further run got on.",
    "doubts": "More messages were in doubt after a crash than may be claimed at once.",
    "out of order": "Copies of one partition came in another order than their messages.",
    "slow stop": "A task took longer than 4.5 s to end after SIGTERM.",
    "orphan": "A sender whose parent process was gone went on sending.",
    "silent loss": "Every run said that it had sent everything, and a message has no copy.",
    "traceback": "Something raised an error that is none of ours.",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must never happen, and did."""

    check: str
    sentence: str


@dataclass(slots=True)
class Oracle:
    """Compares what was said with what is so."""

    service: SimulatedService
    facts: Facts
    stores: list[SharedStore]
    most_claimed: int
    exempt: list[str] = field(default_factory=list)
    """What nobody can promise, and happened."""
    _copies: dict[tuple[Ref, str | None], list[Row]] = field(default_factory=lambda: defaultdict(list))
    _lost: dict[tuple[Ref, str | None], list[LostAppend]] = field(default_factory=lambda: defaultdict(list))

    def judge(self) -> list[Violation]:
        """Return everything that must not have happened, the worst first."""
        for row in self.service.rows.values():
            if row.source is not None:
                self._copies[row.source, row.consumer_key].append(row)
        for lost in self.service.lost:
            self._lost[lost.source, lost.consumer_key].append(lost)
        found = [
            Violation(check, sentence)
            for method in (
                self._reports,
                self._sent_twice,
                self._queries,
                self._sensors,
                self._watcher,
                self._order,
                self._stops,
                self._doubts,
                self._orphans,
                self._silent_loss,
            )
            for check, sentence in method()
        ]
        found += [Violation("stuck", sentence) for sentence in self._stuck()]
        order = list(CHECKS)
        return sorted(dict.fromkeys(found), key=lambda one: order.index(one.check))

    def _stuck(self) -> Iterator[str]:
        yield from self.facts.stuck
        posted = {ref for _, _, ref in self.service.posted}
        contents = {(ref[0], self.service.rows[ref].value) for ref in posted}
        alike = any(
            row.source is None and row.appended_s > 0 and (row.ref[0], row.value) in contents
            for row in self.service.rows.values()
        )
        for sentence in self.facts.unsettled:
            if self.service.lost:
                self.exempt.append("a copy is lost, so a window stays incomplete")
            elif alike:
                self.exempt.append("a producer wrote the content of a copy, so a window stays incomplete")
            else:
                yield sentence

    def _reports(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.resent:
            if one.error_type and one.error_type not in _OURS:
                yield "traceback", f"{one.process} raised {one.error_type}: {one.error}"
            if one.report is not None:
                yield from self._report(one, one.report)

    def _report(self, one: Resent, report: dict[str, Any]) -> Iterator[tuple[str, str]]:
        sent = refs_of(report["sent_ranges"])
        yield from self._counts(one, report, len(sent))
        yield from self._called_sent(one, sent)
        if report["verified"] is True:
            for ref in sorted(sent):
                if not self._has_copy(ref, one) and not self._excused(ref):
                    yield "falsely verified", f"{one.process} says that {ref} has its copy, and it has none"
        for ref in sorted(refs_of(report["missing_copies"])):
            if self._is_falsely_missing(ref, one):
                yield "falsely missing", f"{one.process} says that {ref} has no copy, and it has one"
        for ref in sorted(refs_of(report["copies"])):
            row = self.service.rows.get(ref)
            if (row is None or row.source is None) and not (row and self._stands_for_lost(row)):
                yield "original recorded", f"{one.process} reports {ref} as a copy, which a producer wrote"

    def _counts(self, one: Resent, report: dict[str, Any], sent: int) -> Iterator[tuple[str, str]]:
        counts = [report[name] for name in ("sent", "already_sent", "failed", "unknown", "not_attempted")]
        if report["requested"] != sum(counts) or min(counts) < 0:
            yield "counts", f"{one.process}: {report['requested']} is not the sum of {counts}"
        if sent != report["sent"] or report["requested"] != len(one.planned):
            yield "counts", f"{one.process}: sent {report['sent']} of {report['requested']}, its ranges hold {sent}"

    def _called_sent(self, one: Resent, sent: set[Ref]) -> Iterator[tuple[str, str]]:
        for ref in sorted(sent):
            if not self._is_sent(ref, one) and not self._excused(ref):
                yield "lost", f"{one.process} says that {ref} was sent, and it never was"
        if one.succeeded:
            for ref in sorted(one.planned - sent):
                if not self._was_sent_by(ref, one.run.consumer_key, one.ended_s) and not self._excused(ref):
                    yield "lost", f"{one.process} says that {ref} was sent already, and it never was"

    def _is_falsely_missing(self, ref: Ref, one: Resent) -> bool:
        wishes = {other.process for other in self.facts.resent if (other.task, other.wish) == (one.task, one.wish)}
        copies = [row for row in self._own_copies(ref, one) if row.by in wishes or one.run.on_replayed != "resend"]
        seen_s = (one.ended_s or 0) - _SKEW_S
        return any(row.visible_s < seen_s for row in copies) and not self._twin_is_lost(ref)

    def _has_copy(self, ref: Ref, one: Resent) -> bool:
        return bool(self._own_copies(ref, one))

    def _own_copies(self, ref: Ref, one: Resent) -> list[Row]:
        """Return the copies that count for an execution; if it sends what others have sent, those of its task."""
        rows = self._copies[ref, one.run.consumer_key]
        if one.run.on_replayed != "resend":
            return rows
        mine = {other.process for other in self.facts.resent if other.task == one.task}
        return [row for row in rows if row.by in mine]

    def _is_sent(self, ref: Ref, one: Resent) -> bool:
        """Return whether there is a copy, or the service has said so, which is as good as the sender can know."""
        return self._has_copy(ref, one) or bool(self._lost[ref, one.run.consumer_key])

    def _was_sent_by(self, ref: Ref, key: str | None, by_s: float | None) -> bool:
        rows = self._copies[ref, key]
        return any(by_s is None or row.appended_s <= by_s for row in rows) or bool(self._lost[ref, key])

    def _excused(self, ref: Ref) -> bool:
        """Return whether a producer wrote the content of a message after it was posted: nobody can tell them apart."""
        value = self.service.rows[ref].value
        posted = [when_s for when_s, _, posted in self.service.posted if posted == ref]
        # what was claimed may have been posted: for those who come later that is the same
        posted += [0.0 for one in self.facts.resent if ref in one.in_doubt]
        since_s = min(posted, default=None)
        if since_s is None:
            return False
        found = any(
            row.source is None and row.value == value and row.ref[0] == ref[0] and row.appended_s >= since_s - _SKEW_S
            for row in self.service.rows.values()
        )
        if found:
            self.exempt.append(_LOOK_ALIKE)
        return found

    def _twin_is_lost(self, ref: Ref) -> bool:
        """Return whether a copy of equal content is lost, so that nobody can tell which of both it is."""
        value = self.service.rows[ref].value
        return any(
            one.source[0] == ref[0] and self.service.rows[one.source].value == value for one in self.service.lost
        )

    def _stands_for_lost(self, row: Row) -> bool:
        """Return whether a row has the content of a message that was posted in its partition and has no copy."""
        posted = {(ref, by) for _, by, ref in self.service.posted}
        posted |= {(ref, "") for one in self.facts.resent for ref in one.in_doubt}
        held = {(copy.source, copy.by) for copies in self._copies.values() for copy in copies}
        found = any(
            ref[0] == row.ref[0] and self.service.rows[ref].value == row.value
            for ref, _ in posted - held
            if ref != row.ref
        )
        if found:
            self.exempt.append(_LOOK_ALIKE)
        return found

    def _sent_twice(self) -> Iterator[tuple[str, str]]:
        resent, named = {one.process: one for one in self.facts.resent}, self._named()
        for (ref, key), rows in self._copies.items():
            ordered = sorted(rows, key=lambda row: (row.posted_s, row.ref))
            for earlier, later in combinations(ordered, 2):
                before, one = resent[earlier.by], resent[later.by]
                if one.run.on_replayed == "resend" and (one.task, one.wish) != (before.task, before.wish):
                    continue  # another wish
                if (ref, key) in named or ref in one.unknown:
                    continue
                if earlier.appended_s - earlier.posted_s > one.run.verify_wait_s:
                    self.exempt.append("the service appended later than verify_wait")
                    continue
                first = f"{before.process} sent {ref} at {earlier.posted_s:.3f} s (appended {earlier.appended_s:.3f})"
                yield "sent twice", f"{first}, and {one.process} at {later.posted_s:.3f} s once more"

    def _named(self) -> set[tuple[Ref, str | None]]:
        """Return what any report or stored ledger names as a possible double."""
        named: set[tuple[Ref, str | None]] = set()
        for store in self.stores:
            for key in store.values:
                named |= _doubles_in(store.get(key, float("inf")))
        for one in self.facts.resent:
            if one.report is not None:
                named |= {(ref, one.run.consumer_key) for ref in refs_of(one.report["possible_doubles"])}
        return named

    def _queries(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.queried:
            if one.complete and not one.error:
                yield from self._query(one)

    def _query(self, one: Queried) -> Iterator[tuple[str, str]]:
        for row in self.service.rows.values():
            inside = one.start_ms <= row.timestamp_ms < one.end_ms
            if row.ref in one.refs and row.source is not None:
                yield "copy let in", f"{one.process} returns {row.ref}, which is a copy of {row.source}"
            lacks = inside and row.source is None and row.ref not in one.refs and row.visible_s < one.began_s
            if lacks and not self._stands_for_lost(row):
                yield "original left out", f"{one.process} lacks {row.ref}, which a producer wrote"

    def _sensors(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.sensed:
            rows = [row for row in self.service.rows.values() if one.start_ms <= row.timestamp_ms < one.end_ms]
            most = sum(row.appended_s <= one.ended_s for row in rows)
            least = sum(row.visible_s < one.began_s for row in rows)
            if one.status == "satisfied" and most < one.least:
                yield "false decision", f"{one.process} is satisfied by {most} messages of {one.least}"
            if one.status == "skip" and least >= one.least:
                yield "false decision", f"{one.process} skips a window with {least} messages"

    def _watcher(self) -> Iterator[tuple[str, str]]:
        seen: set[Ref] = set()
        for one in self.facts.published:
            seen |= one.refs
            for ref in sorted(one.refs):
                row = self.service.rows[ref]
                if row.source is not None and one.complete:
                    yield "copy let in", f"the watcher publishes {ref}, which is a copy of {row.source}"
        for row in self.service.rows.values():
            # a watcher waits for what the service's clock has dated in the future
            dated_s = row.timestamp_ms / 1000 - EPOCH_S
            came_s = max(row.appended_s, dated_s)
            due = row.source is None and row.appended_s > 0 and came_s < self.facts.watched_until_s
            if due and row.appended_s - dated_s > OVERLAP_S - _SKEW_S:
                self.exempt.append("a message came later than the overlap of the watcher")
                continue
            if due and row.ref not in seen and not self._stands_for_lost(row):
                yield "not published", f"the watcher never publishes {row.ref}"

    def _order(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.resent:
            if one.run.ordering != "partition":
                continue
            last: dict[int, Ref] = {}
            rows = [row for row in self.service.rows.values() if row.by == one.process and row.source is not None]
            for row in sorted(rows, key=lambda row: row.posted_s):
                before = last.get(row.ref[0])
                if before is not None and row.source is not None and row.source < before:
                    yield "out of order", f"{one.process} sent {row.source} after {before}"
                last[row.ref[0]] = row.source  # type: ignore[assignment]

    def _stops(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.resent:
            if one.stopped_s is None or one.was_paused or (one.killed and not one.overdue):
                continue
            took_s = (float("inf") if one.ended_s is None else one.ended_s) - one.stopped_s
            if took_s > STOP_S:
                yield "slow stop", f"{one.process} took {took_s:.1f} s"

    def _orphans(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.resent:
            if one.orphaned_s is not None:
                after = [
                    ref for when_s, by, ref in self.service.posted if by == one.process and when_s > one.orphaned_s
                ]
                if after:
                    yield "orphan", f"{one.process} posted {after} although its parent was gone"

    def _doubts(self) -> Iterator[tuple[str, str]]:
        for one in self.facts.resent:
            if len(one.in_doubt) > self.most_claimed * len({other.task for other in self.facts.resent}):
                yield "doubts", f"{one.process} began with {len(one.in_doubt)} messages in doubt"

    def _silent_loss(self) -> Iterator[tuple[str, str]]:
        """Find messages without a copy in the last word about each plan."""
        last: dict[tuple[frozenset[Ref], str | None], Resent] = {}
        for one in self.facts.resent:
            if one.report is not None:
                last[one.planned, one.run.consumer_key] = one
        for (planned, key), one in last.items():
            if one.succeeded:
                for ref in sorted(planned):
                    if not self._was_sent_by(ref, key, None) and not self._excused(ref):
                        yield (
                            "silent loss",
                            f"{ref} has no copy, and {one.process} was the last to say that all is sent",
                        )


def _doubles_in(value: Any) -> set[tuple[Ref, str | None]]:
    """Read what a stored ledger names as possible doubles; whatever it is, this is where it says so."""
    if not isinstance(value, dict):
        return set()
    ranges = value.get("possible_doubles", value.get("doubles"))
    if not isinstance(ranges, dict):
        return set()
    return {(ref, value.get("consumer_key")) for ref in refs_of(ranges)}


_SKEW_S = 5.0
_LOOK_ALIKE = "a producer wrote the content of a lost copy"
_OURS = {
    "ConfigurationError",
    "IncompleteWindowError",
    "ProtocolError",
    "ReplayInProgressError",
    "ResendError",
    "StoreError",
    "StoppedError",
    "TransportError",
    "ApiError",
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "RateLimitedError",
    "BadRequestError",
    "ServerError",
    "WindowTooLargeError",
}
