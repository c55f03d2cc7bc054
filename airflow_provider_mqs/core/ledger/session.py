"""
Open, write and close the ledger of a replay, so that what was sent once is not sent again.

No store can compare and set, so a replay first announces itself and then looks around: of two that want the same
messages at the same time, at least one sees the other and gives way. Each write looks first whether the ledger still
belongs to the writer; a try that was overtaken stops there.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.index import IndexEntry, ReplayIndex, ledgers_of, load
from airflow_provider_mqs.core.ledger.ledger import ENDED, OPENING, SENDING, Ledger
from airflow_provider_mqs.core.ledger.resume import history_of, taken_over
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import replay_id_of
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.exceptions import ReplayInProgressError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_mqs.core.ledger.ledger import Owner
    from airflow_provider_mqs.core.ledger.resume import History
    from airflow_provider_mqs.core.ledger.stores import ReplayStores, Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan

_LOOKS = 20
_PAUSE_S = 0.25


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class LedgerSession:
    """
    The ledger of one replay, in each store that keeps it.

    :param first: the ledger as it is before anything was sent; its owner is this execution
    :param stores: where the ledger is written; none where there is no memory
    :param indexes: which replays the topic had, in each store where others look
    :param now_ms: this machine's time, epoch ms
    :param sleep: waits for a number of seconds
    """

    def __init__(
        self,
        first: Ledger,
        stores: Sequence[Store],
        indexes: Sequence[ReplayIndex] = (),
        *,
        now_ms: Callable[[], int] = _now_ms,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.ledger = first
        self._stores = tuple(stores)
        self._indexes = tuple(indexes)
        self._now_ms = now_ms
        self._sleep = sleep
        self._expected: set[str] = {first.owner.token}

    @property
    def durable(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._stores)

    def begin(self, marks: Mapping[int, int], *, since_ms: int) -> None:
        """
        Note where the topic ended before the first message was sent; what an earlier try noted goes before it.

        :param marks: by partition, the last offset
        :param since_ms: the service's time, epoch ms
        """
        self.ledger = replace(self.ledger, last_offsets=marks, first_ms=since_ms, since_ms=since_ms, until_ms=since_ms)

    def look(self, on_replayed: str) -> History:
        """
        See what earlier tries and runs left, and change nothing.

        :param on_replayed: ``skip``, ``fail`` or ``resend``
        :return: what is to be left out, and what is in doubt
        :raises ReplayInProgressError: another run is sending some of these messages at this moment
        :raises ConfigurationError: some were sent already and ``on_replayed`` is ``fail``
        :raises StoreError: a ledger cannot be read
        """
        mine, others = load(self._stores, self.ledger.replay_id), self._overlapping()
        for ledger in (mine, *others):
            self._check_idle(ledger)
        self._expected |= {mine.owner.token} if mine else set()
        return history_of(self.ledger, mine, others, on_replayed)

    def open(self, on_replayed: str) -> History:
        """
        Take the ledger over from whoever had it, and tell other runs.

        :param on_replayed: ``skip``, ``fail`` or ``resend``
        :return: what is to be left out, and what is in doubt
        :raises ReplayInProgressError: another run is sending some of these messages at this moment
        :raises ConfigurationError: some were sent already and ``on_replayed`` is ``fail``
        :raises StoreError: a ledger cannot be read or written; nothing may be sent
        """
        history = self.look(on_replayed)
        mine = load(self._stores, self.ledger.replay_id)
        if mine is not None:
            self.ledger = taken_over(self.ledger, mine, history, on_replayed)
        self.write(state=OPENING)
        self._expected = {self.ledger.owner.token}
        self._tell_index(until_ms=None)
        self._give_way_or_wait()
        return history

    def write(self, **changes: Any) -> None:
        """
        Write the ledger.

        :param changes: fields of ``Ledger``
        :raises StoreError: a store failed, or the ledger belongs to another execution by now; nothing may be sent
        """
        ledger = replace(self.ledger, **changes, updated_ms=self._now_ms())
        for store in self._stores:
            value = store.get(ledger.replay_id)
            if value is not None:
                self._check_mine(Ledger.from_json(value, store.name))
            store.set(ledger.replay_id, ledger.to_json())
        self.ledger = ledger

    def close(self, **changes: Any) -> None:
        """
        Write the ledger for the last time.

        :param changes: fields of ``Ledger``; its ``state`` says how it ended
        :raises StoreError: see ``write``
        """
        self.write(**changes)
        self._tell_index(until_ms=self.ledger.until_ms)

    def around(self, since_ms: int) -> OffsetsByPartition:
        """
        Give the copies that other replays made since a moment.

        :param since_ms: the service's time, epoch ms
        :return: the copies, as far as they are known
        """
        found = self._others(lambda entry: (entry.until_ms or since_ms) >= since_ms)
        return partition_offsets.union(*(ledger.copies for ledger in found))

    def _overlapping(self) -> list[Ledger]:
        """Find the other replays that have messages in common with this one, for the same consumer."""
        mine = self.ledger

        def touches(entry: IndexEntry) -> bool:
            spans = {partition: (span,) for partition, span in entry.spans.items()}
            return entry.consumer_key == mine.scope["consumer_key"] and bool(
                partition_offsets.intersection(spans, mine.planned)
            )

        return [
            ledger for ledger in self._others(touches) if partition_offsets.intersection(ledger.planned, mine.planned)
        ]

    def _others(self, chosen: Callable[[IndexEntry], bool]) -> list[Ledger]:
        return ledgers_of(self._indexes, lambda entry: entry.replay_id != self.ledger.replay_id and chosen(entry))

    def _busy(self, ledger: Ledger | None) -> bool:
        if ledger is None or not ledger.alive(self._now_ms()):
            return False
        owner, me = ledger.owner, self.ledger.owner
        if owner.token == me.token or owner.same_task(me):
            return False
        return owner.host != me.host or _is_running(owner.pid)

    def _check_idle(self, ledger: Ledger | None) -> None:
        if ledger is not None and self._busy(ledger):
            raise ReplayInProgressError(
                f"Another run is sending some of these messages at this moment ({ledger.owner}, last seen "
                f"{iso(ledger.updated_ms)}). Nothing was sent; try again when it has ended."
            )

    def _check_mine(self, ledger: Ledger) -> None:
        if ledger.owner.token not in self._expected:
            raise StoreError(
                f"The ledger was taken over by another execution ({ledger.owner}); this one stops, "
                "so that no message is sent twice."
            )

    def _tell_index(self, until_ms: int | None) -> None:
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
        """See whether another replay announced itself, too; of two the one with the smaller token goes on."""
        for _ in range(_LOOKS):
            rivals = [ledger for ledger in self._overlapping() if self._busy(ledger)]
            ahead = [one for one in rivals if one.state == SENDING or one.owner.token < self.ledger.owner.token]
            if ahead:
                self.close(state=ENDED)
                self._check_idle(ahead[0])
            if not rivals:
                return self.write()
            self._sleep(_PAUSE_S)
        self.close(state=ENDED)
        return self._check_idle(rivals[0])


def session_for(
    plan: Plan,
    *,
    endpoint: str,
    instance_id: str,
    consumer_key: str | None,
    owner: Owner,
    memory: ReplayStores,
) -> LedgerSession:
    """
    Make the journal of a replay.

    :param plan: what is sent
    :param endpoint: host that is asked
    :param instance_id: instance that is asked
    :param consumer_key: to whom
    :param owner: who sends
    :param memory: where it is remembered
    :return: the journal; nothing was read or written yet
    """
    scope = {"endpoint": endpoint, "instance_id": instance_id, "topic": plan.topic, "consumer_key": consumer_key}
    replay_id = replay_id_of(endpoint, instance_id, plan, consumer_key)
    first = Ledger(replay_id, scope, plan.digest, owner, plan.partitions)
    indexes = [ReplayIndex(record, endpoint, instance_id, plan.topic) for record in memory.records]
    return LedgerSession(first, memory.stores, indexes)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
