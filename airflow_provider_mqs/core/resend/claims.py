"""
Hand out messages, none before it is claimed in the ledger.

One write closes what is finished and opens the next claim. It is started while enough claimed messages are left to work
on, so that nobody waits for it. Whatever becomes of the process, only claimed messages can be in doubt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

CLAIM = 200
"""Messages that a write claims: measured to cost less than 2 % of the time."""
MOST_CLAIMED = 500
"""Messages that may be claimed and not finished, so many can be in doubt after a crash."""
_LOW = 2


@dataclass(slots=True, eq=False)
class Lane:
    """
    Messages that are sent in this order.

    :param todo: not yet claimed
    :param exclusive: whether one must be finished before the next is handed out
    :param ready: claimed, waiting to be handed out
    :param busy: whether one is out; only of an exclusive lane
    :param drained: whether everything is claimed
    """

    todo: Iterator[MessageRef]
    exclusive: bool
    ready: deque[MessageRef] = field(default_factory=deque)
    busy: bool = False
    drained: bool = False

    def draw(self, most: int) -> list[MessageRef]:
        """
        Take the next messages to claim.

        :param most: how many
        :return: fewer, where the lane ends
        """
        drawn = list(islice(self.todo, most))
        self.drained = len(drawn) < most
        return drawn


class Claims:
    """
    The messages of a run, lane by lane.

    :param lanes: the order of the messages
    :param write: writes ``done`` and ``claimed`` into the ledger; nothing is handed out before it returns
    :param concurrency: messages that may be out at once
    :param done: what earlier tries have sent
    :param doubts: what is in doubt, and stays claimed
    """

    def __init__(
        self,
        lanes: Iterable[Lane],
        write: Callable[[OffsetsByPartition, OffsetsByPartition], Awaitable[None]],
        *,
        concurrency: int,
        done: OffsetsByPartition,
        doubts: OffsetsByPartition,
    ) -> None:
        self.lanes = list(lanes)
        self.error: Exception | None = None
        self.closed = False
        self._write = write
        self._margin = 2 * concurrency
        self._done = done
        self._news: list[MessageRef] = []
        self._open: set[MessageRef] = set(partition_offsets.expand(doubts))
        self._free: deque[Lane] = deque()
        self._ready = self._out = 0
        self._writing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def done(self) -> OffsetsByPartition:
        """What was surely sent, by this try and earlier ones."""
        if self._news:
            self._done, self._news = partition_offsets.union(self._done, partition_offsets.from_refs(self._news)), []
        return self._done

    @property
    def open(self) -> OffsetsByPartition:
        """What is claimed and not finished."""
        return partition_offsets.from_refs(self._open)

    async def take(self) -> tuple[Lane, MessageRef] | None:
        """
        Take the next message that may be sent.

        :return: its lane and place; ``None`` where nothing is left, or the claims are closed
        """
        while not self.closed:
            self._claim_ahead()
            if self._free:
                return self._hand_out(self._free.popleft())
            if self._writing is None and not (self._out and not self._drained):
                return None
            self._changed.clear()
            await self._changed.wait()
        return None

    def finish(self, lane: Lane, place: MessageRef, *, sent: bool) -> None:
        """
        Close a message whose outcome stands.

        :param lane: its lane
        :param place: partition and offset
        :param sent: whether it was sent; else it surely was not
        """
        self.resolve(place, sent=sent)
        self._give_back(lane)

    def doubt(self, lane: Lane) -> None:
        """
        Leave a message in doubt: it stays claimed.

        :param lane: its lane
        """
        self._give_back(lane)

    def resolve(self, place: MessageRef, *, sent: bool) -> None:
        """
        Settle a message in doubt.

        :param place: partition and offset
        :param sent: whether it was sent; else it surely was not
        """
        self._open.discard(place)
        if sent:
            self._news.append(place)

    def close(self) -> None:
        """Hand out nothing more."""
        self.closed = True
        self._changed.set()

    async def flush(self) -> None:
        """
        Write what is finished when the sending has ended; what was claimed and never handed out is free again.

        :raises StoreError: the ledger could not be written
        """
        if self._writing is not None:
            await self._writing
        for lane in self.lanes:
            self._open.difference_update(lane.ready)
            lane.ready.clear()
        await self._write(self.done, self.open)

    @property
    def _drained(self) -> bool:
        return all(lane.drained for lane in self.lanes)

    @property
    def _room(self) -> int:
        return min(CLAIM, MOST_CLAIMED - len(self._open))

    def _hand_out(self, lane: Lane) -> tuple[Lane, MessageRef]:
        place = lane.ready.popleft()
        self._ready -= 1
        self._out += 1
        lane.busy = lane.exclusive
        self._offer(lane)
        return lane, place

    def _give_back(self, lane: Lane) -> None:
        self._out -= 1
        if lane.exclusive:
            lane.busy = False
            self._offer(lane)
        self._changed.set()

    def _offer(self, lane: Lane) -> None:
        if lane.ready and not lane.busy:
            self._free.append(lane)

    def _claim_ahead(self) -> None:
        if self._writing is not None or self._room <= 0 or self._drained:
            return
        if self._ready < self._margin or any(len(lane.ready) < _LOW and not lane.drained for lane in self.lanes):
            self._writing = asyncio.ensure_future(self._claim())

    async def _claim(self) -> None:
        batch = self._next_batch()
        places = [place for _, drawn in batch for place in drawn]
        try:
            if places:
                self._open.update(places)
                await self._write(self.done, self.open)
        except StoreError as error:
            # not one of them was handed out
            self._open.difference_update(places)
            self.error = error
            self.close()
        else:
            self._open_up(batch)
        finally:
            self._writing = None
            self._changed.set()

    def _open_up(self, batch: list[tuple[Lane, list[MessageRef]]]) -> None:
        for lane, drawn in batch:
            idle = not lane.ready
            lane.ready.extend(drawn)
            self._ready += len(drawn)
            if idle:
                self._offer(lane)

    def _next_batch(self) -> list[tuple[Lane, list[MessageRef]]]:
        """Draw from the lanes that have least ready, so that a fast one does not wait for a slow one."""
        room = self._room
        hungry = sorted((lane for lane in self.lanes if not lane.drained), key=lambda lane: len(lane.ready))
        batch = []
        for left, lane in zip(range(len(hungry), 0, -1), hungry, strict=True):
            share = -(-room // left)
            if share <= 0:
                break
            drawn = lane.draw(share)
            room -= len(drawn)
            batch.append((lane, drawn))
        return batch
