"""
Guards of the engine, each of which can be taken away: the simulation must notice.

A guard whose removal is never found is unneeded, or the schedules do not reach what it is for. Each mutation is one
line of ``MUTATIONS``: a name, what the guard is for, and the patches that take it away.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_provider_mqs.core.client.flow import Sleep
from airflow_provider_mqs.core.ledger import (
    account,
    index,
    known_copies,
    ledger,
    ledger_reader,
    resume,
    session,
    store_steps,
)
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.query import window_reader
from airflow_provider_mqs.core.resend import claims, replay, sender, stopping, verifier
from airflow_provider_mqs.core.verify import copy_matching, copy_traits, evidence, search, settle
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Mutation:
    """One guard, and how it is taken away."""

    name: str
    guard: str
    """What the guard does, as half a sentence."""
    patches: Callable[[], list[tuple[Any, str, Any]]]
    """What to replace: an object, the name of its attribute, and the replacement."""


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Take a guard away while a block runs."""
    [mutation] = [one for one in MUTATIONS if one.name == name]
    with ExitStack() as stack:
        for owner, attribute, value in mutation.patches():
            stack.enter_context(patch.object(owner, attribute, value))
        yield


def _claims_without_write() -> list[tuple[Any, str, Any]]:
    async def claim(self: Any, batch: list[Any]) -> None:
        self._account.claim([ref for _, drawn in batch for ref in drawn])
        for lane, drawn in batch:
            idle = not lane.ready
            lane.ready.extend(drawn)
            self._ready += len(drawn)
            if idle:
                self._offer(lane)
        self._writing = None
        self._changed.set()

    return [(claims.Claims, "_claim", claim)]


def _no_renewal() -> list[tuple[Any, str, Any]]:
    async def renew(_: Any) -> bool:
        return True

    return [(claims.Claims, "renew", renew)]


def _no_fence() -> list[tuple[Any, str, Any]]:
    def fence(self: Any, token: str, _: str) -> Any:
        return (yield from self.load(token))

    return [(ledger_reader.LedgerReader, "fence", fence)]


def _fence_after_reading() -> list[tuple[Any, str, Any]]:
    def fence(self: Any, token: str, by: str) -> Any:
        read = yield from self.load(token)
        for store in self.stores:
            yield from store_steps.put(store, ledger_reader.fence_key(token), by)
        return read

    return [(ledger_reader.LedgerReader, "fence", fence)]


def _own_fence_unread() -> list[tuple[Any, str, Any]]:
    fenced_by = ledger_reader.LedgerReader.fenced_by

    def own_unread(self: Any, token: str) -> Any:
        if token == getattr(self, "own", None):
            return ""
        return (yield from fenced_by(self, token))

    init = session.LedgerSession.__init__

    def marked(self: Any, head: Any, *args: Any, **kwargs: Any) -> None:
        init(self, head, *args, **kwargs)
        self._reader.own = head.token

    return [
        (ledger_reader.LedgerReader, "fenced_by", own_unread),
        (session.LedgerSession, "__init__", marked),
    ]


def _endless_lease() -> list[tuple[Any, str, Any]]:
    return [(session.LedgerSession, "lease_left_s", lambda self: 0.0 if self._broken else float("inf"))]


def _no_waiting() -> list[tuple[Any, str, Any]]:
    def wait_for_others(self: Any) -> Any:
        stopped, alive = yield from self.judge((yield from self.overlapping()))
        self._head = replace(self._head, after=tuple(one.token for one in stopped))
        return [*stopped, *alive]

    return [(session.LedgerSession, "_wait_for_others", wait_for_others)]


def _looks_before_announcing() -> list[tuple[Any, str, Any]]:
    def opened(self: Any, on_replayed: str) -> Any:
        rivals = yield from self._wait_for_others()
        yield from self._write({"state": ledger.OPENING})
        for one in self._indexes:
            yield from one.announce(self._entry())
        return resume.history_of(self._head, rivals, on_replayed)

    return [(session.LedgerSession, "open", opened)]


def _no_announcement() -> list[tuple[Any, str, Any]]:
    def announce(*_: Any) -> Any:
        return
        yield

    return [(index.ReplayIndex, "announce", announce)]


def _both_first() -> list[tuple[Any, str, Any]]:
    def in_the_way(self: Any) -> Any:
        stopped, alive = yield from self.judge((yield from self.overlapping()))
        while any(one.state == ledger.SENDING for one in alive):
            yield Sleep(2.0, "mutation")
            stopped, alive = yield from self.judge((yield from self.overlapping()))
        self._head = replace(self._head, after=tuple(one.token for one in stopped))
        return stopped

    return [(session.LedgerSession, "_wait_for_others", in_the_way)]


def _history(change: Callable[[Any], Any]) -> list[tuple[Any, str, Any]]:
    history_of = resume.history_of

    def changed(mine: Any, others: Any, on_replayed: str) -> Any:
        return history_of(mine, [change(one) for one in others], on_replayed)

    return [(session, "history_of", changed)]


def _no_doubts() -> list[tuple[Any, str, Any]]:
    return _history(lambda one: replace(one, claimed={}))


def _doubts_are_sent() -> list[tuple[Any, str, Any]]:
    return _history(lambda one: replace(one, done=partition_offsets.union(one.done, one.claimed), claimed={}))


def _doubts_of_strangers_forgotten() -> list[tuple[Any, str, Any]]:
    history_of = resume.history_of

    def changed(mine: Any, others: Any, on_replayed: str) -> Any:
        lineage = resume.lineage_of(mine, resume.in_order(one for one in others if one.has_copies))
        kept = [one if one in lineage else replace(one, claimed={}) for one in others]
        return history_of(mine, kept, on_replayed)

    return [(session, "history_of", changed)]


def _done_of_strangers_forgotten() -> list[tuple[Any, str, Any]]:
    history_of = resume.history_of

    def changed(mine: Any, others: Any, on_replayed: str) -> Any:
        lineage = resume.lineage_of(mine, resume.in_order(one for one in others if one.has_copies))
        return history_of(mine, [one for one in others if one in lineage], on_replayed)

    return [(session, "history_of", changed)]


def _failed_writes_are_good() -> list[tuple[Any, str, Any]]:
    put = store_steps.put

    def careless(store: Any, key: str, value: Any) -> Any:
        try:
            yield from put(store, key, value)
        except StoreError:
            return

    return [(session, "put", careless)]


def _older_head_counts() -> list[tuple[Any, str, Any]]:
    def newest(self: Any, token: str) -> Any:
        for store in self.stores:
            head = yield from store_steps.get(store, ledger_reader.head_key(token))
            if head is not None:
                return store, {**head, "claimed": {}}
        return None

    return [(ledger_reader.LedgerReader, "_newest_head", newest)]


def _segments_forgotten() -> list[tuple[Any, str, Any]]:
    part = ledger_reader.LedgerReader._part

    def only_plan(self: Any, store: Any, key: str) -> Any:
        return (yield from part(self, store, key)) if key.endswith("-plan") else {}

    return [(ledger_reader.LedgerReader, "_part", only_plan)]


def _no_marks() -> list[tuple[Any, str, Any]]:
    return [(module, "marks_of", lambda _: {}) for module in (search, settle)]


def _alone() -> list[tuple[Any, str, Any]]:
    def touching(*_: Any) -> Any:
        return []
        yield

    return [(verifier.Verifier, "_touching", touching)]


def _foreign_copies_stay() -> list[tuple[Any, str, Any]]:
    return [(search.Search, "rows", lambda self: list(self.evidence.rows.values()))]


def _equal_contents() -> list[tuple[Any, str, Any]]:
    return [(evidence, "_digest", lambda _: b"")]


def _no_traits() -> list[tuple[Any, str, Any]]:
    learn = copy_traits.learn

    def dropped(pairs: Any) -> Any:
        kept = learn(pairs)
        return None if kept is None else replace(kept, names=())

    return [(evidence, "learn", dropped)]


def _no_late_wait() -> list[tuple[Any, str, Any]]:
    settle_in_doubt = settle.settle

    def hasty(*args: Any, **kwargs: Any) -> Any:
        return (yield from settle_in_doubt(*args, **{**kwargs, "wait_ms": 0}))

    return [(verifier, "settle", hasty)]


def _no_visibility_check() -> list[tuple[Any, str, Any]]:
    def unsent(_: Any, doubts: Any, matching: Any, *__: Any) -> Any:
        return [source.ref for source in matching.absent if source.ref in doubts], 0.0
        yield

    return [(settle, "_surely_unsent", unsent)]


def _doubt_ends_with_last_write() -> list[tuple[Any, str, Any]]:
    return [(ledger.Ledger, "posts_until_ms", property(lambda self: self.renewed_ms))]


def _no_times() -> list[tuple[Any, str, Any]]:
    return [(copy_matching.Source, "covers", lambda *_: True)]


def _any_row_will_do() -> list[tuple[Any, str, Any]]:
    def exact(sources: Any, rows: Any) -> bool:
        return len(rows) >= len(sources)

    return [(copy_matching, "_are_exact", exact), (copy_matching, "_is_quiet", lambda _: True)]


def _doubles_unnamed() -> list[tuple[Any, str, Any]]:
    return [(account.Account, "note_possible_doubles", lambda *_: None)]


def _resends_without_end() -> list[tuple[Any, str, Any]]:
    return [(verifier.Resolver, "_allowed", lambda _, wanted, __: wanted)]


def _unknown_copies_ignored() -> list[tuple[Any, str, Any]]:
    from simulation import engine  # noqa: PLC0415 - it imports all of the engine

    find = known_copies.known_copies

    def only_known(*args: Any) -> Any:
        return known_copies.KnownCopies((yield from find(*args)).offsets)

    return [(engine, "known_copies", only_known)]


def _copies_stay_in() -> list[tuple[Any, str, Any]]:
    return [(known_copies.KnownCopies, "split", lambda _, rows: ((), rows))]


def _no_margin() -> list[tuple[Any, str, Any]]:
    def until(self: Any, _: int = 0) -> int:
        return int(self.renewed_ms)

    return [(ledger.Ledger, "until", until)]


def _unknown_is_failed() -> list[tuple[Any, str, Any]]:
    failure_of = sender.failure_of
    return [(sender, "failure_of", lambda *args: replace(failure_of(*args), unknown=False))]


def _lost_answers_repeated() -> list[tuple[Any, str, Any]]:
    from airflow_provider_mqs.core.client import retry  # noqa: PLC0415 - only here

    return [(retry, "surely_not_executed", lambda _: True)]


def _no_order() -> list[tuple[Any, str, Any]]:
    init = sender.Sender.__init__

    def unordered(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._ordered = False

    return [(sender.Sender, "__init__", unordered)]


def _no_hurry() -> list[tuple[Any, str, Any]]:
    async def patient(_: Any, coroutine: Any, **__: Any) -> Any:
        return await coroutine

    return [(stopping.Stop, "guard", patient)]


def _stores_may_hang() -> list[tuple[Any, str, Any]]:
    return [(stopping, "MOST_CALL_S", 1e9), (replay, "LEDGER_S", 1e9), (sender, "LEDGER_S", 1e9)]


def _orphans_go_on() -> list[tuple[Any, str, Any]]:
    return [(replay.Replay, "_look_for_parent", lambda _: None)]


def _cap_unknown() -> list[tuple[Any, str, Any]]:
    def fits(_: Any) -> Any:
        return True
        yield

    return [(window_reader.WindowReader, "_check_cap", fits)]


def _moved_rows_unnoticed() -> list[tuple[Any, str, Any]]:
    def fits(_: Any) -> Any:
        return True
        yield

    return [(window_reader.WindowReader, "_check_moved", fits)]


def _doubts_settled_by_look() -> list[tuple[Any, str, Any]]:
    return [(copy_matching, "_want", lambda *_: False)]


def _closes_unfinished() -> list[tuple[Any, str, Any]]:
    return [(account.Account, "maybe_sent", property(lambda self: partition_offsets.from_refs(self.claimed)))]


MUTATIONS = (
    Mutation("claim", "A claim is written before its messages are posted.", _claims_without_write),
    Mutation("renewal", "The ledger is written before a message is posted once more.", _no_renewal),
    Mutation("fence", "Whoever takes over sets a flag first.", _no_fence),
    Mutation("fence order", "The flag is set before the ledger is read, not after.", _fence_after_reading),
    Mutation("own fence", "An execution looks at its own flag after each write.", _own_fence_unread),
    Mutation("own lease", "A sender that has not written for 40 s posts nothing.", _endless_lease),
    Mutation("waiting", "An execution waits while another one sends its messages.", _no_waiting),
    Mutation("announcement", "An execution enters itself in the index before it sends.", _no_announcement),
    Mutation("second look", "An execution looks for rivals after it has announced itself.", _looks_before_announcing),
    Mutation("precedence", "Of two that open at once, one goes first.", _both_first),
    Mutation("in doubt", "What was claimed and not done is in doubt.", _no_doubts),
    Mutation("not sent", "What is in doubt does not count as sent.", _doubts_are_sent),
    Mutation("doubts of others", "What another run has left in doubt is in doubt.", _doubts_of_strangers_forgotten),
    Mutation("done by others", "What another run has sent is left out.", _done_of_strangers_forgotten),
    Mutation("failed write", "After a write that failed nothing is posted.", _failed_writes_are_good),
    Mutation("newest head", "A head counts with all that it claims.", _older_head_counts),
    Mutation("segments", "A ledger is read with all of its segments.", _segments_forgotten),
    Mutation("marks", "A copy has an offset beyond those before the first POST.", _no_marks),
    Mutation("neighbours", "The messages of all executions explain rows.", _alone),
    Mutation("foreign copies", "Rows that are known copies of others are nobody else's.", _foreign_copies_stay),
    Mutation("contents", "Contents are compared.", _equal_contents),
    Mutation("wanted contents", "A doubt is settled by contents, never by looks.", _doubts_settled_by_look),
    Mutation("traits", "A copy keeps the traits that compared pairs have kept.", _no_traits),
    Mutation("late copies", "A message counts as not sent only after verify_wait.", _no_late_wait),
    Mutation("visibility", "... and only if a later copy of its partition is in sight.", _no_visibility_check),
    Mutation("last post", "A dead sender may have posted until its lease ended.", _doubt_ends_with_last_write),
    Mutation("times", "The time of a copy lies in the interval of its POST.", _no_times),
    Mutation("exact counts", "Rows beyond those that messages explain need contents.", _any_row_will_do),
    Mutation("doubles", "A message that is sent again on a guess is named.", _doubles_unnamed),
    Mutation("once again", "A message is sent again at most once after it was found missing.", _resends_without_end),
    Mutation("unknown copies", "A window with copies that nobody knows is not complete.", _unknown_copies_ignored),
    Mutation("known copies", "Copies are left out of a window.", _copies_stay_in),
    Mutation("late margin", "Copies may come after the last write of a ledger.", _no_margin),
    Mutation("unknown", "A POST without a clear answer is in doubt.", _unknown_is_failed),
    Mutation("repeats", "A POST that may have been executed is not repeated.", _lost_answers_repeated),
    Mutation("order", "A partition has one message in flight.", _no_order),
    Mutation("hurry", "A stop in a hurry ends whatever runs.", _no_hurry),
    Mutation("hanging store", "A store that hangs does not hold the task.", _stores_may_hang),
    Mutation("open doubts", "What stays unknown is claimed in the last write.", _closes_unfinished),
    Mutation("orphan", "A sender whose parent is gone posts nothing more.", _orphans_go_on),
    Mutation("cap", "A window is compared with its halves.", _cap_unknown),
    Mutation("moved rows", "A window is checked for rows that came while it was read.", _moved_rows_unnoticed),
)
