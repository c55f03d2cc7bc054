"""
One execution's hold on its ledger: how it is opened, written and closed, so that nothing is sent twice.

No store has compare-and-set, so there is no lock. The protocol needs only that reads and writes of a store are atomic,
however long they take and in whatever order they happen. It rests on two rules:

* *Announce, then look.* An execution writes its ledger as ``opening`` and its index entry, and only then looks for
  rivals: executions that have messages in common with it, for the same consumer. So of two that want the same messages
  at least one sees the other, and does not go on. An execution begins only after a look that found nobody in its way.
* *Fence, then read.* Whoever takes a rival for dead raises the rival's fence, a flag that is never lowered, and then
  reads its ledger. The owner of a ledger looks at its own fence after each write, and posts nothing of that write
  before. So either the taker reads what was claimed, and has it in doubt, or the owner finds the fence and stops.

Whether a rival is alive is only a guess that saves time. A wrong guess is safe, by the second rule: a rival that lives
on stops at its next write, and everything that it may post until then is in doubt for the taker.

================  ======================================================================================================
``preview``       Look, without being announced. Writes nothing.
``open``          1. Announce. 2. Look. Fence all that are dead. Of those alive: one that is ``sending``, or ``opening``
                  with a smaller token, goes first: say ``waiting``, look every 2 s until it does not, say ``opening``,
                  and look again. One that is ``opening`` with a larger token will find this one and say ``waiting``;
                  look again until it does. One that is ``waiting`` is in nobody's way. 3. Begin when one look since
                  ``opening`` was last written finds nobody in the way. After an hour, give up.
``write``         Write what was found out about others, then the ledger, then look at the own fence. A message is
                  posted only after a write that claims it.
``close``         Write the final state, ``ended`` (messages are left) or ``complete``, then note the end in the index.
overtaken         Whoever finds that Airflow has started a later try of its task meanwhile has been taken for dead, and
                  stops, whatever has become of the later one.
own lease         A write allows to post for 40 s after it began (``OWN_LEASE_MS``); after that, its owner writes again
                  before the next POST. It writes every 15 s in every phase that lasts, so it seldom has to.
lease             A rival is dead if it is an earlier try of the same task (Airflow runs one at a time); or a process of
                  this machine that has ended; or has not written for 60 s (``LEASE_MS``). The latter is told in the
                  service's time. If one of both does not know it, the rival is dead if no write is seen for 60 s.
================  ======================================================================================================

A store that fails stops the sending: after a write that failed or was cut off, only ``close`` writes. A write that
takes effect late can so undo nothing but the end, and what it brings back is in doubt.

==============================================  ========================================================================
crash                                           what is left, and what it means for the next execution
==============================================  ========================================================================
before the first write                          Nothing was written: as if this execution had never been.
after the ledger, before the index entry        Nobody finds this ledger. Nothing was sent, so nobody needs to.
after the index entry, before the first claim   Others wait until it is dead, the next try of the task does not. Nothing
                                                new is in doubt.
after a claim                                   The same, and at most 500 messages are claimed. They are in doubt for
                                                every later execution that wants them.
between two stores                              The stores differ. Nothing of this write was posted; who finds it in one
                                                of them has too many messages in doubt, never too few.
after a rival was fenced                        The rival stays fenced, and is dead for everybody.
in ``close``, before the index entry            The index does not say when it ended; its ledger does.
==============================================  ========================================================================
"""

from __future__ import annotations

import logging
import random
from collections import deque
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypedDict

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.ledger import process_identity
from airflow_provider_mqs.core.ledger.findings import Finding, add_finding, findings_about, union
from airflow_provider_mqs.core.ledger.index import IndexEntry, ReplayIndex, read_indexes
from airflow_provider_mqs.core.ledger.ledger import (
    ENDED,
    LEASE_MS,
    OPENING,
    OWN_LEASE_MS,
    SENDING,
    WAITING,
    Ledger,
    Owner,
)
from airflow_provider_mqs.core.ledger.ledger_reader import LedgerReader, head_key, plan_key, segment_key
from airflow_provider_mqs.core.ledger.resume import History, history_of
from airflow_provider_mqs.core.ledger.store_steps import put
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan, replay_id_of
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.exceptions import MqsError, ReplayInProgressError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Unpack

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

_log = logging.getLogger(__name__)
SEGMENT: Final = 2_000
"""How many ranges of ``done`` a head holds at most; more become a segment."""
_POLL_S: Final = 2.0
_LOG_EVERY_S: Final = 60.0
_RENEW_EVERY_S: Final = 15.0
_LONGEST_WAIT_S: Final = 3_600.0
_MOST_ENDS_READ: Final = 16
"""How many ledgers a closing execution reads to note in the index that they have ended."""
_SURELY_GONE_MS: Final = 3_600_000


class LedgerChanges(TypedDict, total=False):
    """Fields of ``Ledger`` that change while its owner sends."""

    state: str
    verifying: bool
    claimed: OffsetsByPartition
    settled: OffsetsByPartition
    possible_doubles: OffsetsByPartition
    missing: OffsetsByPartition
    copies: OffsetsByPartition
    copies_known: bool
    other_copies: OffsetsByPartition
    copies_keep_time: bool | None
    until_ms: int


class LedgerSession:
    """
    One execution's hold on its ledger, in each store that keeps it. Without stores nothing is kept.

    ``ledger`` is what was last written, and before that what will be written first. ``clock`` must be that of the
    client, once there is one. ``started_at`` returns when a process of this machine started, ``None`` if there is none.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Sequence[Store],
        *,
        clock: ServiceClock | None = None,
        started_at: Callable[[int], int | None] = process_identity.started_at,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock or ServiceClock()
        self._head = ledger  # all but what is done
        self._unsealed: OffsetsByPartition = {}
        self._sealed: list[OffsetsByPartition] = []
        # what was sent is told once: it is kept even if the write that it came with fails, or never begins
        self._handed_over: deque[OffsetsByPartition] = deque()
        self._stores = tuple(stores)
        # what never changes is written before the head that needs it, into each store
        plan = plan_key(ledger.token), offset_ranges.to_json(ledger.planned)
        self._unwritten: list[list[tuple[str, Any]]] = [[plan] for _ in self._stores]
        self._seq = 0
        self._began_s: float | None = None
        self._began_ms = float("inf")
        self._writing = self._broken = False
        self._renewed_s = self._lease_ends_s = float("-inf")
        self._reader = LedgerReader(self._stores)
        topic = TopicRef(*(ledger.scope[name] for name in TopicRef._fields))
        self._indexes = [ReplayIndex(store, topic, jitter=jitter) for store in self._stores]
        self._started_at = started_at
        self._jitter = jitter
        self._findings: dict[str, Finding] = {}  # what was written about others
        self._last_seen: dict[str, tuple[int, float]] = {}

    @property
    def ledger(self) -> Ledger:
        """The ledger as it was last written; to join what is done costs more, the more was sent."""
        return replace(self._head, done=partition_offsets.union(*self._sealed, self._unsealed))

    @property
    def durable(self) -> bool:
        """Whether a later execution can resume."""
        return bool(self._stores)

    def begin(self, last_offsets: Mapping[int, int], *, first_ms: int) -> None:
        """Note each partition's last offset and the service's earliest time, before the first message is sent."""
        self._head = replace(self._head, last_offsets=last_offsets, first_ms=first_ms)

    def preview(self, on_replayed: str) -> Flow[History]:
        """Return what earlier executions left, and those left so far that are still sending. Changes nothing."""
        self._note_begin()
        history = history_of(self._head, (yield from self.overlapping()), on_replayed)
        self._note_begin()
        return history

    def open(self, on_replayed: str) -> Flow[History]:
        """Announce this execution and wait until it may begin; see the table above."""
        # what is refused is refused before anything is written
        history = yield from self.preview(on_replayed)
        if not self.durable:
            return history
        yield from self._write({"state": OPENING})
        try:
            for index in self._indexes:
                yield from index.announce(self._entry())
            return history_of(self._head, (yield from self._wait_for_others()), on_replayed)
        except MqsError:
            if not self._broken:
                yield from self._write({"state": ENDED})
            raise

    def write(
        self,
        *,
        done: OffsetsByPartition | None = None,
        findings: Mapping[str, Finding] | None = None,
        **changes: Unpack[LedgerChanges],
    ) -> Flow[None]:
        """
        Write the ledger; ``done`` is what was sent since the last write. After a ``StoreError`` nothing may be posted.

        ``findings`` are what was found out about other executions, by token; what was written before costs nothing.
        One at a time, and not to be cut off but at the end: after a write that failed only ``close`` may write.
        """
        self._handed_over.append(done or {})
        return self._write_unless_broken(changes, findings or {})

    def close(
        self,
        *,
        done: OffsetsByPartition | None = None,
        findings: Mapping[str, Finding] | None = None,
        **changes: Unpack[LedgerChanges],
    ) -> Flow[OffsetsByPartition]:
        """
        Write the ledger for the last time; its ``state`` says how it ended.

        Return messages that another execution may have sent too, without having known of this one. There are none
        unless a store has shown old values.
        """
        self._handed_over.append(done or {})
        return self._close(changes, findings or {})

    def lease_left_s(self) -> float:
        """Return for how many seconds messages may still be posted; none are left before the first write."""
        if not self.durable:
            return float("inf")
        if self._broken:
            return 0.0
        left_s = self._lease_ends_s - self.clock.monotonic()
        if self._head.clock_known and self.clock.known:
            # a machine that was suspended may have a monotonic clock that stood still, but the service's did not
            left_s = min(left_s, (self._head.renewed_ms + OWN_LEASE_MS - self.clock.earliest_ms()) / 1000)
        return max(left_s, 0.0)

    def overlapping(self) -> Flow[list[Ledger]]:
        """Return the ledgers of the executions that have messages in common with this one, for the same consumer."""
        mine = self._head

        def may_overlap(entry: IndexEntry) -> bool:
            return entry.consumer_key == mine.scope["consumer_key"] and entry.may_overlap(mine.planned)

        ledgers = yield from self._others(may_overlap)
        return [ledger for ledger in ledgers if partition_offsets.intersection(ledger.planned, mine.planned)]

    def touching(self, start_ms: int, end_ms: int) -> Flow[list[Ledger]]:
        """Return the ledgers of all other executions of the topic whose copies may be from within an interval."""
        ledgers = yield from self._others(lambda entry: entry.may_have_sent_within(start_ms, end_ms))
        return [ledger for ledger in ledgers if ledger.may_have_sent_within(start_ms, end_ms)]

    def found_by_others(self) -> Flow[Finding]:
        """Return what other executions have found out about this one."""
        return (yield from findings_about(self._stores, self._head.token))

    def fence(self, ledger: Ledger) -> Flow[Ledger]:
        """Keep another execution from posting what it has not claimed yet, and return its ledger as it is then."""
        return (yield from self._reader.fence(ledger.token, str(self._head.owner))) or ledger

    def _others(self, matches: Callable[[IndexEntry], bool]) -> Flow[list[Ledger]]:
        entries = yield from read_indexes(self._indexes)
        tokens = [entry.token for entry in entries if entry.token != self._head.token and matches(entry)]
        return (yield from self._reader.load_all(tokens))

    def _entry(self) -> IndexEntry:
        mine = self._head
        return IndexEntry(
            token=mine.token,
            consumer_key=mine.scope["consumer_key"],
            since_ms=self.clock.earliest_ms(),
            spans={partition: (ranges[0][0], ranges[-1][1]) for partition, ranges in mine.planned.items()},
            span_ms=mine.span_ms,
        )

    def _wait_for_others(self) -> Flow[list[Ledger]]:
        """Look until nobody is in the way; return the ledgers of all that have stopped by then."""
        began_s, logged_s = self.clock.monotonic(), float("-inf")
        while True:
            stopped, alive = yield from self.judge((yield from self.overlapping()))
            self._check_turn((*stopped, *alive))
            ahead = [rival for rival in alive if self._goes_first(rival)]
            waiting = self._head.state == WAITING
            if not ahead and waiting:
                yield from self._write({"state": OPENING})
                continue
            in_the_way = ahead or [rival for rival in alive if rival.state == OPENING]
            if not in_the_way:
                self._head = replace(self._head, after=tuple(ledger.token for ledger in stopped))
                return stopped
            if ahead and not waiting:
                yield from self._write({"state": WAITING})
            rival, now_s = in_the_way[0], self.clock.monotonic()
            if now_s - began_s >= _LONGEST_WAIT_S:
                raise ReplayInProgressError(
                    f"Another run has been sending some of these messages for an hour ({rival.owner}, last seen "
                    f"{iso(rival.renewed_ms)}). Nothing was sent; try again when it has ended."
                )
            if now_s - logged_s >= _LOG_EVERY_S:
                logged_s = now_s
                _log.info("Waiting for another run that has some of these messages (%s).", rival.owner)
            yield Sleep(_POLL_S, "another run has some of these messages")
            if self.clock.monotonic() - self._renewed_s >= _RENEW_EVERY_S:
                yield from self._write({})

    def _check_turn(self, ledgers: Iterable[Ledger]) -> None:
        """Refuse to begin if Airflow has started a later try of this task since, because it took this one for dead."""
        began_ms = self._note_begin()
        for ledger in ledgers:
            # a run that was deleted and made anew has tries with greater numbers in its past
            if self._head.owner.is_earlier_try_of(ledger.owner) and ledger.renewed_ms >= began_ms:
                raise StoreError(
                    f"A later try of this task has begun ({ledger.owner}), so this one stops, and sends nothing twice. "
                    "The later one sends what is left."
                )

    def _note_begin(self) -> float:
        """Return the earliest time at which this may have begun, also if a clock stood still or was set since."""
        if self._began_s is None:
            self._began_s = self.clock.monotonic()
        began_ms = self.clock.earliest_ms() - (self.clock.monotonic() - self._began_s) * 1000
        if self.clock.known:
            self._began_ms = began_ms = min(self._began_ms, began_ms)
        return began_ms

    def _goes_first(self, rival: Ledger) -> bool:
        return rival.state == SENDING or (rival.state == OPENING and rival.token < self._head.token)

    def judge(self, ledgers: Iterable[Ledger]) -> Flow[tuple[list[Ledger], list[Ledger]]]:
        """Return the ledgers of executions that have stopped, fenced if they did not say so, and of those alive."""
        stopped, alive = [], []
        for ledger in ledgers:
            if not ledger.is_open:
                stopped.append(ledger)
                continue
            gone = ledger.owner.process.has_ended(self._head.owner.process.machine, self._started_at)
            gone_ms = self.clock.latest_ms() if gone else None
            if (yield from self._reader.fenced_by(ledger.token)):
                # read again: what it wrote before it could see the fence counts
                fenced = (yield from self._reader.load(ledger.token)) or ledger
            elif gone or self._is_dead(ledger):
                _log.info("Taking over from another run that has ended without saying so (%s).", ledger.owner)
                fenced = yield from self.fence(ledger)
            else:
                alive.append(ledger)
                continue
            stopped.append(replace(fenced, gone_ms=gone_ms))
        return stopped, alive

    def _is_dead(self, rival: Ledger) -> bool:
        """Return whether the owner of an open ledger is gone, as far as one can tell without seeing its process."""
        me, now_s = self._head.owner, self.clock.monotonic()
        seq, since_s = self._last_seen.setdefault(rival.token, (rival.seq, now_s))
        if seq != rival.seq:
            self._last_seen[rival.token] = rival.seq, now_s
        if rival.owner.is_earlier_try_of(me):
            return True
        if rival.clock_known and self.clock.known:
            return self.clock.earliest_ms() - rival.renewed_ms >= LEASE_MS
        return seq == rival.seq and (now_s - since_s) * 1000 >= LEASE_MS

    def _write_unless_broken(self, changes: LedgerChanges, findings: Mapping[str, Finding]) -> Flow[None]:
        if self._broken:
            raise StoreError("An earlier write of the ledger failed, so nothing more is sent.")
        yield from self._write(changes, findings)

    def _close(self, changes: LedgerChanges, findings: Mapping[str, Finding]) -> Flow[OffsetsByPartition]:
        yield from self._write(changes, findings)
        try:
            doubles = yield from self._unforeseen()
            if doubles:
                doubles = partition_offsets.union(self._head.possible_doubles, doubles)
                yield from self._write({"possible_doubles": doubles})
            yield from self._note_ends()
        except StoreError as error:
            _log.warning("The ledger is closed, but the index of replays could not be brought up to date: %s", error)
            return {}
        return doubles

    def _write(self, changes: LedgerChanges, findings: Mapping[str, Finding] = MappingProxyType({})) -> Flow[None]:
        """Write what was found out about others, then the ledger that builds on it."""
        if self._writing:
            raise RuntimeError("The ledger is being written at this moment.")
        self._writing, sound = True, False
        try:
            yield from self._write_findings(findings)
            while self._handed_over:
                self._add(self._handed_over.popleft())
            yield from self._write_head(changes)
            sound = True
        finally:
            self._writing = False
            self._broken = self._broken or not sound

    def _write_findings(self, findings: Mapping[str, Finding]) -> Flow[None]:
        """Write what was found out about others, as far as it is new."""
        for token, finding in findings.items():
            before = self._findings.get(token, Finding())
            both = union((before, finding))
            if both == before:
                continue
            for store in self._stores:
                yield from add_finding(store, token, finding, finder=self._head.token, jitter=self._jitter)
            self._findings[token] = both
            # many findings and a slow store must not make their finder look dead
            if self._seq and self.clock.monotonic() - self._renewed_s >= _RENEW_EVERY_S:
                yield from self._write_head({})

    def _write_head(self, changes: LedgerChanges) -> Flow[None]:
        """Write the ledger into each store, then look at the own fence."""
        began_s = self.clock.monotonic()
        before = self._head
        head = replace(
            before, **changes, seq=self._seq + 1, renewed_ms=self.clock.latest_ms(), clock_known=self.clock.known
        )
        # the service's clock may be set, and copies have the times of before and after
        head = replace(
            head,
            first_ms=min(head.first_ms, self.clock.earliest_ms() - self.clock.set_ms),
            until_ms=max(head.until_ms, before.until_ms),
        )
        self._seq += 1
        value = replace(head, done=self._unsealed).to_json(len(self._sealed))
        for store, unwritten in zip(self._stores, self._unwritten, strict=True):
            while unwritten:
                yield from put(store, *unwritten[0])
                del unwritten[0]
            yield from put(store, head_key(head.token), value)
        self._head = head
        taker = yield from self._reader.fenced_by(head.token)
        if taker:
            raise StoreError(
                f"The messages were taken over by another execution ({taker}), which took this one for dead; this "
                "one stops, so that no message is sent twice. Run it again to send what is left."
            )
        self._renewed_s, self._lease_ends_s = began_s, began_s + OWN_LEASE_MS / 1000

    def _add(self, done: OffsetsByPartition) -> None:
        """Note what was sent since the last write; seal it once it is much."""
        if not done:
            return
        self._unsealed = partition_offsets.union(self._unsealed, done)
        if sum(map(len, self._unsealed.values())) > SEGMENT:
            segment = segment_key(self._head.token, len(self._sealed)), offset_ranges.to_json(self._unsealed)
            for unwritten in self._unwritten:
                unwritten.append(segment)
            self._sealed.append(self._unsealed)
            self._unsealed = {}

    def _unforeseen(self) -> Flow[OffsetsByPartition]:
        """Return what another execution has sent too, or may have, though neither of both came after the other."""
        mine, ledgers = self.ledger, (yield from self.overlapping())
        unforeseen = [one for one in ledgers if one.token not in mine.after and mine.token not in one.after]
        return partition_offsets.intersection(
            mine.maybe_sent, partition_offsets.union(*(one.maybe_sent for one in unforeseen))
        )

    def _note_ends(self) -> Flow[None]:
        """Note in the index when this execution ended, and others that could not note it themselves."""
        now_ms, mine = self.clock.latest_ms(), self._head
        for index in self._indexes:
            tokens = [token for token in index.without_end() if token != mine.token][:_MOST_ENDS_READ]
            ledgers = yield from self._reader.load_all(tokens)
            # one that was seen lately may go on
            ended, _ = yield from self.judge(
                one for one in ledgers if not one.is_open or now_ms - one.renewed_ms > _SURELY_GONE_MS
            )
            # who never came to send anything has no first time
            sent_ms = {one.token: (one.first_ms or now_ms, one.until()) for one in (*ended, mine)}
            yield from index.note_ends(sent_ms, now_ms if self.clock.known else None)


def session_for(
    plan: Plan,
    *,
    endpoint: str,
    instance_id: str,
    consumer_key: str | None,
    owner: Owner,
    stores: Sequence[Store],
    ordering: str = "partition",
    clock: ServiceClock | None = None,
) -> LedgerSession:
    """Return a session for a plan; nothing is read or written yet."""
    scope = {"endpoint": endpoint, "instance_id": instance_id, "topic": plan.topic, "consumer_key": consumer_key}
    replay_id = replay_id_of(endpoint, instance_id, plan, consumer_key)
    ledger = Ledger(replay_id, scope, plan.digest, owner, plan.partitions, ordering=ordering, span_ms=plan.span_ms)
    return LedgerSession(ledger, stores, clock=clock)
