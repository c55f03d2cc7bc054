"""
One execution's hold on the ledger of a replay: how it is taken over, written and closed, so that nothing is sent twice.

No store has compare-and-set, so there is no lock. A replay announces itself, then looks for rivals, and only then
sends: of two that want the same messages at once, at least one sees the other. Who may be alive is decided by a lease.

================  ======================================================================================================
``preview``       Read the ledgers of this replay and of others that have messages in common with it, for the same
                  consumer. If the owner of one may be alive, stop with ``ReplayInProgressError``. Writes nothing.
``open``          1. Preview once more. 2. Take over what the last owner left (``resume.py``). 3. Announce: write the
                  ledger as ``opening`` under a token of its own, then the index entry. 4. Look for rivals: one that is
                  ``sending``, or ``opening`` with a smaller token, goes first, and this one gives way: it closes as
                  ``ended`` and stops. Rivals with a larger token have 5 s to give way; if one does not, this one
                  does. 5. Write once more.
``write``         Read the ledger in each store first. If its owner is neither this execution nor (in ``open``) the one
                  that was taken over, stop with ``StoreError``. Then write it whole. A message is posted only after a
                  write that claims it.
``close``         Write the final state, ``ended`` (messages are left) or ``complete``, then the end of the index entry.
lease, heartbeat  A ledger in ``opening`` or ``sending`` is alive for 60 s after its last write (``LEASE_MS``). Claims
                  renew it, and ``core/resend/replay`` writes every 15 s. It is not alive if its owner is an earlier try
                  of this task (Airflow runs one at a time), or a process of this machine that has ended.
================  ======================================================================================================

A store that fails stops the sending. An execution that stalled and was taken over finds another owner's token at its
next write and stops, too. If two owners write at the same moment, one value survives, and the owner that finds the
other's token at its next write stops. Not covered: an execution that stalls for longer than the lease between a write
and the posts that it allows still posts those messages, although another has taken over.

==============================================  ========================================================================
crash                                           what is left, and what it means for the next execution
==============================================  ========================================================================
in ``preview``, or in ``open`` before step 3    Nothing was written: as if this execution had never been.
after the ledger, before the index entry        Only the same replay finds this ledger. Nothing was sent, so nobody else
                                                needs to.
after the index entry, before the first claim   Other runs are refused until the lease ends; the next try of the task is
                                                not. Nothing new is in doubt.
after a claim                                   The same, and at most 500 messages are claimed (``MOST_CLAIMED``). They
                                                are in doubt for every execution that takes over or wants them.
between two stores                              The stores differ. Readers merge them: the newer one counts, with what
                                                either of them knows as done.
in ``close``, before the index entry            The entry has no end; the ledger's last write stands in for it.
==============================================  ========================================================================
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from airflow_provider_mqs.core.ledger.index import IndexEntry, ReplayIndex, load_ledger, load_ledgers, wall_clock_ms
from airflow_provider_mqs.core.ledger.ledger import ENDED, OPENING, SENDING, Ledger, Owner
from airflow_provider_mqs.core.ledger.resume import History, history_of, taken_over
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan, replay_id_of
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.exceptions import ReplayInProgressError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Unpack

    from airflow_provider_mqs.core.ledger.stores import ReplayStores, Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

_GIVE_WAY_ROUNDS = 20
_GIVE_WAY_PAUSE_S = 0.25


class LedgerChanges(TypedDict, total=False):
    """Fields of ``Ledger`` that change while its owner sends."""

    state: str
    done: OffsetsByPartition
    claimed: OffsetsByPartition
    possible_doubles: OffsetsByPartition
    copies: OffsetsByPartition
    copies_known: bool
    until_ms: int


class LedgerSession:
    """
    One execution's hold on the ledger of one replay, in each store that keeps it.

    ``ledger`` starts as it is before anything was sent, owned by this execution. Without ``stores`` nothing is kept.
    ``indexes`` name the replays of the topic, one index for each store that other replays read.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Sequence[Store],
        indexes: Sequence[ReplayIndex] = (),
        *,
        now_ms: Callable[[], int] = wall_clock_ms,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.ledger = ledger
        self._stores = tuple(stores)
        self._indexes = tuple(indexes)
        self._now_ms = now_ms
        self._sleep = sleep
        self._valid_tokens: set[str] = {ledger.owner.token}

    @property
    def durable(self) -> bool:
        """Whether a later execution can resume."""
        return bool(self._stores)

    def begin(self, last_offsets: Mapping[int, int], *, since_ms: int) -> None:
        """Note each partition's last offset and the service's time, before the first message is sent."""
        # if an earlier try noted its own, they take precedence when the ledger is taken over
        self.ledger = replace(
            self.ledger, last_offsets=last_offsets, first_ms=since_ms, since_ms=since_ms, until_ms=since_ms
        )

    def preview(self, on_replayed: str) -> History:
        """Return what earlier tries and runs left; see the table above. Changes nothing."""
        mine, others = load_ledger(self._stores, self.ledger.replay_id), self._overlapping()
        for ledger in (mine, *others):
            self._check_idle(ledger)
        self._valid_tokens |= {mine.owner.token} if mine else set()
        return history_of(self.ledger, mine, others, on_replayed)

    def open(self, on_replayed: str) -> History:
        """Take the ledger over from its last owner and announce this replay; see the table above."""
        history = self.preview(on_replayed)
        mine = load_ledger(self._stores, self.ledger.replay_id)
        if mine is not None:
            self.ledger = taken_over(self.ledger, mine, history, on_replayed)
        self.write(state=OPENING)
        self._valid_tokens = {self.ledger.owner.token}
        self._put_index_entry(until_ms=None)
        self._give_way_or_wait()
        return history

    def write(self, **changes: Unpack[LedgerChanges]) -> None:
        """Write the ledger with changed fields; if this raises ``StoreError``, nothing more may be sent."""
        ledger = replace(self.ledger, **changes, updated_ms=self._now_ms())
        for store in self._stores:
            value = store.get(ledger.replay_id)
            owner = ledger.owner if value is None else Ledger.from_json(value, store.name).owner
            if owner.token not in self._valid_tokens:
                raise StoreError(
                    f"The ledger was taken over by another execution ({owner}); this one stops, "
                    "so that no message is sent twice."
                )
            store.set(ledger.replay_id, ledger.to_json())
        self.ledger = ledger

    def close(self, **changes: Unpack[LedgerChanges]) -> None:
        """Write the ledger for the last time; its ``state`` says how it ended."""
        self.write(**changes)
        self._put_index_entry(until_ms=self.ledger.until_ms)

    def foreign_copies(self, since_ms: int) -> OffsetsByPartition:
        """Return the known copies that other replays have made since a moment of the service's time."""
        ledgers = self._others(lambda entry: (entry.until_ms or since_ms) >= since_ms)
        return partition_offsets.union(*(ledger.copies for ledger in ledgers))

    def _overlapping(self) -> list[Ledger]:
        """Load the other replays that have messages in common with this one, for the same consumer."""
        mine = self.ledger

        def may_overlap(entry: IndexEntry) -> bool:
            spans = {partition: (span,) for partition, span in entry.spans.items()}
            return entry.consumer_key == mine.scope["consumer_key"] and bool(
                partition_offsets.intersection(spans, mine.planned)
            )

        ledgers = self._others(may_overlap)
        return [ledger for ledger in ledgers if partition_offsets.intersection(ledger.planned, mine.planned)]

    def _others(self, matches: Callable[[IndexEntry], bool]) -> list[Ledger]:
        return load_ledgers(self._indexes, lambda entry: entry.replay_id != self.ledger.replay_id and matches(entry))

    def _is_busy(self, ledger: Ledger) -> bool:
        """Return whether another execution may be sending at this moment."""
        owner, me = ledger.owner, self.ledger.owner
        if not ledger.alive(self._now_ms()) or owner.token == me.token or owner.same_task(me):
            return False
        return owner.host != me.host or _is_running(owner.pid)

    def _check_idle(self, ledger: Ledger | None) -> None:
        if ledger is not None and self._is_busy(ledger):
            raise ReplayInProgressError(
                f"Another run is sending some of these messages at this moment ({ledger.owner}, last seen "
                f"{iso(ledger.updated_ms)}). Nothing was sent; try again when it has ended."
            )

    def _put_index_entry(self, until_ms: int | None) -> None:
        mine = self.ledger
        entry = IndexEntry(
            replay_id=mine.replay_id,
            consumer_key=mine.scope["consumer_key"],
            since_ms=mine.first_ms or self._now_ms(),
            until_ms=until_ms,
            spans={partition: (ranges[0][0], ranges[-1][1]) for partition, ranges in mine.planned.items()},
        )
        for index in self._indexes:
            index.put(entry)

    def _give_way_or_wait(self) -> None:
        """Go on once no rival is left; of two that announced themselves, the one with the smaller token goes first."""
        for _ in range(_GIVE_WAY_ROUNDS):
            rivals = [ledger for ledger in self._overlapping() if self._is_busy(ledger)]
            ahead = [one for one in rivals if one.state == SENDING or one.owner.token < self.ledger.owner.token]
            if ahead:
                self.close(state=ENDED)
                self._check_idle(ahead[0])
            if not rivals:
                return self.write()
            self._sleep(_GIVE_WAY_PAUSE_S)
        self.close(state=ENDED)
        return self._check_idle(rivals[0])


def session_for(
    plan: Plan,
    *,
    endpoint: str,
    instance_id: str,
    consumer_key: str | None,
    owner: Owner,
    stores: ReplayStores,
) -> LedgerSession:
    """Return a session for a plan; nothing is read or written yet."""
    scope = {"endpoint": endpoint, "instance_id": instance_id, "topic": plan.topic, "consumer_key": consumer_key}
    replay_id = replay_id_of(endpoint, instance_id, plan, consumer_key)
    ledger = Ledger(replay_id, scope, plan.digest, owner, plan.partitions)
    indexes = [ReplayIndex(record, endpoint, instance_id, plan.topic) for record in stores.records]
    return LedgerSession(ledger, stores.stores, indexes)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # a process of another user
        return True
    return True
