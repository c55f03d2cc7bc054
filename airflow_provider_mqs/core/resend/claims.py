"""
Hand out messages to be posted, none before its claim is written into the ledger.

A claim says in the ledger that a message may be posted from now on. It is written before the message is handed out, so
after a crash the ledger names every message that may have been sent: those are in doubt, and no others.
At most 500 messages are claimed and not done at any time, which limits how many copies must be looked for.

One write closes what is finished and opens the next claim, since a ledger is written whole anyway. It starts while
enough claimed messages are left to work on, so that no worker waits for a store. If it fails, its messages were not
handed out and are released, and nothing more is handed out: the sending ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from airflow_provider_mqs.core.ledger.account import Account
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef

# a write of a Variable or an asset's state takes some 20 ms: with so many messages it costs less than 2 % of the time
CLAIM = 200
"""How many messages a write claims at most."""
MOST_CLAIMED = 500
"""How many messages may be claimed and not finished: so many can be in doubt after a crash."""
_LOW = 2
"""A lane with fewer messages ready is filled up before it runs dry."""


@dataclass(slots=True, eq=False)
class Lane:
    """Messages that are handed out in this order: all of a plan, or those of one partition."""

    unclaimed: Iterator[MessageRef]
    exclusive: bool
    """Whether the next message waits until the outcome of the one before is known."""
    ready: deque[MessageRef] = field(default_factory=deque)
    """Claimed, waiting to be handed out."""
    busy: bool = False
    """Whether a message is out; only of an exclusive lane."""
    drained: bool = False
    """Whether everything is claimed."""

    def draw(self, most: int) -> list[MessageRef]:
        """Return the next messages to claim; fewer if the lane ends."""
        drawn = list(islice(self.unclaimed, most))
        self.drained = len(drawn) < most
        return drawn


class Claims:
    """
    The messages of one round, lane by lane.

    ``write`` writes the account into the ledger; no message is handed out before it returns.
    """

    def __init__(
        self, lanes: Iterable[Lane], account: Account, write: Callable[[], Awaitable[None]], *, concurrency: int
    ) -> None:
        self.lanes = list(lanes)
        self.error: Exception | None = None
        self.closed = False
        self._account = account
        self._write = write
        # two messages a worker: while one is posted, the next is ready
        self._margin = 2 * concurrency
        self._free: deque[Lane] = deque()
        self._ready = self._out = 0
        self._may_run_dry = True  # whether few messages may be ready, of a lane or of all
        self._writing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def take(self) -> tuple[Lane, MessageRef] | None:
        """Wait for the next message that may be posted; ``None`` if nothing is left, or the claims are closed."""
        while not self.closed:
            self._claim_ahead()
            if self._free:
                lane = self._free.popleft()
                ref = lane.ready.popleft()
                self._ready -= 1
                self._out += 1
                self._may_run_dry = self._may_run_dry or self._ready < self._margin or len(lane.ready) < _LOW
                lane.busy = lane.exclusive
                self._offer(lane)
                return lane, ref
            if self._writing is None and (not self._out or all(lane.drained for lane in self.lanes)):
                return None
            self._changed.clear()
            await self._changed.wait()
        return None

    def done_with(self, lane: Lane) -> None:
        """Let a lane go on: its message has an outcome, or stays in doubt."""
        self._out -= 1
        if lane.exclusive:
            lane.busy = False
            self._offer(lane)
        self._changed.set()

    def close(self) -> None:
        """Hand out nothing more."""
        self.closed = True
        self._changed.set()

    async def renew(self) -> bool:
        """Write the ledger before a message is posted once more; if that fails, the claims are closed."""
        try:
            await self._write()
        except StoreError as error:
            self._fail(error)
        return self.error is None

    async def flush(self, *, write: bool = True) -> None:
        """
        End the round: release what was never handed out, and write the ledger. Raise what failed before.

        Without ``write`` only a write under way is waited for, since another one follows at once.
        """
        if self._writing is not None:
            await self._writing
        for lane in self.lanes:
            self._account.release(lane.ready)
            lane.ready.clear()
        if write:
            await self.renew()
        if self.error is not None:
            raise self.error

    def _fail(self, error: StoreError) -> None:
        self.error = self.error or error
        self.close()

    def _offer(self, lane: Lane) -> None:
        if lane.ready and not lane.busy:
            self._free.append(lane)

    def _claim_ahead(self) -> None:
        """Start to claim more messages, if few are ready and there is room for more."""
        if self._writing is not None or not self._may_run_dry:
            return
        unclaimed = [lane for lane in self.lanes if not lane.drained]
        if not unclaimed or (self._ready >= self._margin and all(len(lane.ready) >= _LOW for lane in unclaimed)):
            self._may_run_dry = False
            return
        room = min(CLAIM, MOST_CLAIMED - self._account.unsettled_count)
        if room <= 0:
            return
        # those with the fewest ready come first, so that a fast lane does not wait for a slow one
        unclaimed.sort(key=lambda lane: len(lane.ready))
        batch = []
        for others, lane in zip(range(len(unclaimed), 0, -1), unclaimed, strict=True):
            share = -(-room // others)
            if share <= 0:
                break
            drawn = lane.draw(share)
            room -= len(drawn)
            batch.append((lane, drawn))
        self._writing = asyncio.ensure_future(self._claim(batch))

    async def _claim(self, batch: list[tuple[Lane, list[MessageRef]]]) -> None:
        refs = [ref for _, drawn in batch for ref in drawn]
        try:
            if refs:
                self._account.claim(refs)
                await self._write()
        except StoreError as error:
            # not one of them was handed out
            self._account.release(refs)
            self._fail(error)
        else:
            for lane, drawn in batch:
                idle = not lane.ready
                lane.ready.extend(drawn)
                self._ready += len(drawn)
                if idle:
                    self._offer(lane)
        finally:
            self._writing = None
            self._changed.set()
