"""
Values that several executions write into one store, without losing any: an array of slots, one value each.

No store can list its keys, and none has compare-and-set, so no value that several executions write may hold what must
not be lost. So each value has a *slot* of its own, which nobody else ever writes. Slots are numbered; a slot is taken
with the *splitter* of Moir and Anderson, which needs only reads and writes that are atomic, however long they take::

    x := my token
    is y set?  then somebody came before: try the next slot
    y := set
    is x still my token?  then the slot is mine: write the value.  Otherwise try the next slot

At most one execution stops at a slot. For if one did, then nobody wrote x after its token and before it read x again,
and y was set by then: whoever writes x later finds y set, and whoever wrote x before finds another token. So no value
is ever overwritten, and none is lost. Of several that come at once, perhaps none stops at a slot; they go on after a
random pause. Who finds x written passes the slot without trying, since its token in x would spoil that of another.

Readers go from slot to slot until they find one whose x was never written. All slots before a value have been passed,
so their x is written: whoever begins to read after a value was written finds it. A slot with x and no value was
passed by all, or its owner is about to write, or died in between; readers go on, and look there again the next time.

==================  ========================================  =========================================
key                 written by                                what a crash before or after it leaves
==================  ========================================  =========================================
``{prefix}-{n}-x``  whoever tries to take slot n              an empty slot
``{prefix}-{n}-y``  whoever found no y                        an empty slot
``{prefix}-{n}-e``  the one that stopped at slot n, once      the value
==================  ========================================  =========================================
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.client.flow import Flow, Sleep
from airflow_provider_mqs.core.ledger.store_steps import get, put
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.ledger.stores import Store

_MOST_SLOTS: Final = 200
# each pause is random, and twice as long as the one before, up to this
_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0


class Slots:
    """
    An array of slots, as far as one process has read it.

    ``found`` is given each value at once, before anything can fail. ``jitter`` returns a number from 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        found: Callable[[Any], object],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.through = 0
        """All slots before this one were passed."""
        self.empty: set[int] = set()
        """Which of these had no value."""
        self._prefix = prefix
        self._found = found
        self._jitter = jitter

    def read(self) -> Flow[None]:
        """Find every value that was written before this began."""
        for slot in sorted(self.empty):
            yield from self._read(slot)
        yield from self._read_on()

    def add(self, token: str, value: Any) -> Flow[None]:
        """Write a value into a slot of its own. Whoever begins to read after this finds it."""
        yield from self._read_on()
        for number in range(_MOST_SLOTS):
            slot = self.through
            mine = yield from self._take(slot, token)
            if mine:
                yield from put(self.store, self._key(slot, "e"), value)
                self._found(value)
                self.through += 1
                return
            self.through += 1
            self.empty.add(slot)
            pause_s = min(_PAUSE_S * 2**number, _LONGEST_PAUSE_S) * self._jitter()
            yield Sleep(pause_s, "other runs write into the record at this moment")
            yield from self._read_on()
        raise StoreError(f"Too many runs write into {self.store.name} at this moment: try again later.")

    def _take(self, slot: int, token: str) -> Flow[bool]:
        """Try to take a slot: the splitter."""
        yield from put(self.store, self._key(slot, "x"), token)
        if (yield from get(self.store, self._key(slot, "y"))) is not None:
            return False
        yield from put(self.store, self._key(slot, "y"), 1)
        seen = yield from get(self.store, self._key(slot, "x"))
        if seen is None:
            raise StoreError(f"{self.store.name} does not keep what is written into it, so nothing may be sent.")
        return bool(seen == token)

    def _read_on(self) -> Flow[None]:
        """Read all slots up to the first that nobody has tried to take."""
        while (yield from self._read(self.through)):
            self.through += 1

    def _read(self, slot: int) -> Flow[bool]:
        """Find the value of a slot, if it has one; return whether the slot was passed."""
        value = yield from get(self.store, self._key(slot, "e"))
        if value is not None:
            self._found(value)
            self.empty.discard(slot)
            return True
        if slot >= self.through:
            if (yield from get(self.store, self._key(slot, "x"))) is None:
                return False
            self.empty.add(slot)
        return True

    def _key(self, slot: int, name: str) -> str:
        return f"{self._prefix}-{slot}-{name}"
