"""
The account of a resend: what has become of each message of the plan. Nothing else keeps count.

The ledger serialises it, the report renders it, verification reads it. Claims and sender change it, only by the methods
named here. A message is in one state at a time::

    to be sent ──claim──▶ claimed ──mark_sent──▶ done
       ▲   ▲                │  │ └──mark_failed──▶ failed
       │   └────release─────┘  │
       │                       └──mark_in_doubt──▶ in doubt ──mark_sent──▶ done
       └────────────send_again──────────────────────┘ └──────give_up────▶ unknown

*Claimed*: the message may be posted once the ledger says so, and may have been posted from then on. *Done*: it was
surely sent. *Failed*: its last POST was surely not executed. *In doubt*: it was posted, and no answer says whether it
was executed; that must be resolved. *Unknown*: it could not be resolved in this run.

What was once in doubt may have been sent until it is done, whatever state it is in: the account remembers it, and so
does the ledger, which calls everything claimed that may have been sent. So a crash between two POSTs of one message
loses no doubt.

What another run has sent is in ``already_sent``, and is not in ``done``, which earlier tries of the same task share.

An account belongs to the event loop. Threads get values that were read there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.offsets import partition_offsets

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

MAX_FAILURES_LISTED = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message was not surely sent."""

    partition: int
    message_offset: int
    error_code: str
    """The service's code, ``""`` if no answer came."""
    message: str
    """One sentence without secrets or contents."""
    request_id: str
    """For the vendor's support, or ``""``."""
    unknown: bool
    """Whether the copy may be there all the same."""

    @property
    def ref(self) -> MessageRef:
        """Which message it is about."""
        return self.partition, self.message_offset


@dataclass(frozen=True)
class Counts:
    """How many messages are in which state; ``requested`` is the sum of the others."""

    requested: int
    sent: int
    already_sent: int
    failed: int
    unknown: int
    not_attempted: int

    def __str__(self) -> str:
        return (
            f"{self.sent} of {self.requested} messages sent, {self.already_sent} already sent, {self.failed} failed, "
            f"{self.unknown} unknown, {self.not_attempted} not attempted"
        )


class Account:
    """What has become of each message of a plan; see the module."""

    def __init__(
        self,
        planned: OffsetsByPartition,
        *,
        done: OffsetsByPartition | None = None,
        already_sent: OffsetsByPartition | None = None,
        in_doubt: Iterable[Failure] = (),
        possible_doubles: OffsetsByPartition | None = None,
    ) -> None:
        self.planned = planned
        self.already_sent = already_sent or {}
        self.claimed: set[MessageRef] = set()
        self.in_doubt = {failure.ref: failure for failure in in_doubt}
        self.failed: set[MessageRef] = set()
        self.unknown: set[MessageRef] = set()
        self.failures: list[Failure] = []
        """Why messages failed or are unknown, in this order; the first 100 of them."""
        self.possible_doubles = possible_doubles or {}
        self.sent_now = 0
        """How many messages this try has sent."""
        self._requested = partition_offsets.count(planned)
        self._already_sent = partition_offsets.count(self.already_sent)
        self._sent_before = partition_offsets.count(done or {})
        self._once_in_doubt = set(self.in_doubt)
        self._inherited = set(self.in_doubt)
        self._done = done or {}
        # a message costs two appends; they are joined when somebody asks for them
        self._new: list[MessageRef] = []
        self._untaken: list[MessageRef] = []

    @property
    def done(self) -> OffsetsByPartition:
        """What was surely sent, by this try and earlier ones of the same task."""
        if self._new:
            self._done, self._new = partition_offsets.union(self._done, partition_offsets.from_refs(self._new)), []
        return self._done

    def take_new_done(self) -> OffsetsByPartition:
        """Return what was sent since this was last asked, for the ledger; its cost does not grow with what is done."""
        taken, self._untaken = self._untaken, []
        return partition_offsets.from_refs(taken)

    @property
    def maybe_sent(self) -> OffsetsByPartition:
        """What may have been sent, by this try or an earlier one."""
        return partition_offsets.from_refs(self.claimed | self._once_in_doubt)

    @property
    def inherited(self) -> OffsetsByPartition:
        """What only earlier tries may have sent; their ledgers claim it."""
        return partition_offsets.from_refs(self._inherited)

    @property
    def unsettled_count(self) -> int:
        """How many messages are claimed, in doubt or unknown."""
        return len(self.claimed) + len(self.in_doubt) + len(self.unknown)

    @property
    def remaining(self) -> OffsetsByPartition:
        """What may be claimed: neither sent nor failed, and not being sent or resolved at this moment."""
        gone = partition_offsets.from_refs((*self.failed, *self.claimed, *self.in_doubt, *self.unknown))
        return partition_offsets.difference(self.planned, partition_offsets.union(self.done, self.already_sent, gone))

    @property
    def counts(self) -> Counts:
        """How many messages are in which state; those that are claimed or in doubt count as not attempted."""
        sent, failed, unknown = self._sent_before + self.sent_now, len(self.failed), len(self.unknown)
        left = self._requested - sent - self._already_sent - failed - unknown
        return Counts(self._requested, sent, self._already_sent, failed, unknown, left)

    @property
    def complete(self) -> bool:
        """Whether every message was surely sent, by this run or another."""
        return self._sent_before + self.sent_now + self._already_sent == self._requested

    def claim(self, refs: Iterable[MessageRef]) -> None:
        """Note messages that are about to be posted. They may be once the ledger has been written."""
        refs = list(refs)
        self.claimed.update(refs)
        self._inherited.difference_update(refs)

    def release(self, refs: Iterable[MessageRef]) -> None:
        """Free messages that were claimed and surely not executed since, so that they may be claimed again."""
        self.claimed.difference_update(refs)

    def mark_sent(self, ref: MessageRef) -> None:
        """Note that a message was acknowledged, or its copy found."""
        self.claimed.discard(ref)
        self.in_doubt.pop(ref, None)
        self._once_in_doubt.discard(ref)
        self._inherited.discard(ref)
        self._new.append(ref)
        self._untaken.append(ref)
        self.sent_now += 1

    def mark_failed(self, failure: Failure) -> None:
        """Note that a message was surely not executed, and will not be posted again in this run."""
        self.claimed.discard(failure.ref)
        self.failed.add(failure.ref)
        self._list(failure)

    def mark_in_doubt(self, failure: Failure) -> None:
        """Note that a message was posted, and no answer says whether it was executed."""
        self.claimed.discard(failure.ref)
        self.in_doubt[failure.ref] = failure
        self._once_in_doubt.add(failure.ref)

    def send_again(self, ref: MessageRef) -> None:
        """Let a message in doubt be claimed once more: its copy is not there, or the user accepts a double."""
        del self.in_doubt[ref]

    def note_possible_doubles(self, offsets: OffsetsByPartition) -> None:
        """Note messages that are sent again although an earlier POST of theirs may have worked."""
        self.possible_doubles = partition_offsets.union(self.possible_doubles, offsets)

    def give_up(self, refs: Iterable[MessageRef]) -> None:
        """Count messages in doubt as unknown."""
        for ref in refs:
            self.unknown.add(ref)
            self._list(self.in_doubt.pop(ref))

    def _list(self, failure: Failure) -> None:
        if len(self.failures) < MAX_FAILURES_LISTED:
            self.failures.append(failure)
