"""
The ledger of one execution (``mqs.ledger/2``): which messages it surely sent, and which it may have sent.

An *execution* is one try of a task, or one command; its token names it. Only the execution itself writes its ledger, so
no write is ever lost, and what a ledger once claimed stays there for whoever comes next. Ledgers are also the replay
record: later queries and resends of the same topic read them.

The states of a ledger::

    opening ──▶ sending ──▶ complete    every message of the plan was sent, by this execution or another
     │  ▲          └──────▶ ended       something is left: failed, unknown or never attempted
     ▼  │
    waiting ──────────────▶ ended       another execution has some of the messages, and did not end in time

Of the states of a message (see ``account``) a ledger keeps two:

``done``
    The service acknowledged the message, or its copy was found.
``claimed``
    The message may have been sent. It is claimed *before* it is posted, at most 500 at a time, and stays claimed while
    it is in doubt or unknown.

What a crash leaves of a message, depending on when it comes:

==================================  ==================================================================================
before its claim is written         Not sent, and the ledger says so: the next execution sends it.
between its claim and its POST      Not sent, but the ledger does not show it: it is in doubt.
between its POST and the next       Perhaps sent: it is in doubt.
write
after the write that has it done    Sent, and the ledger says so: no later run sends it again by itself.
==================================  ==================================================================================

So after a crash at most 500 messages are in doubt, and their copies are looked for. Nothing else is a guess. Whoever
finds out what became of them writes it beside this ledger, not into it (see ``findings``); who reads it has both.

Three values make up a ledger, so that a write costs the same however much was sent before: the *head*, written at every
claim; the *plan*, written once, before the first head; and *segments* of ``done``, each written once, before the head
that counts it. A head holds only what is done and in no segment yet. ``seq`` grows with each write of the head: of two
stores the one with the greater number counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.ledger.process_identity import ProcessIdentity
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.findings import Finding
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

SCHEMA: Final = "mqs.ledger/2"
OPENING, WAITING, SENDING, ENDED, COMPLETE = "opening", "waiting", "sending", "ended", "complete"
# four heartbeats: one or two late writes must not make a living sender look dead
LEASE_MS: Final = 60_000
"""Milliseconds of the service's time without a write after which the owner of an open ledger counts as gone."""
OWN_LEASE_MS: Final = 40_000
"""For how long after the start of a write its owner may post; well before others take it for gone."""
LATE_MS: Final = 100_000
"""How long after it was posted a copy may still be appended: longer than any request and any ``verify_wait``."""
MARGIN_MS: Final = 300_000
"""How far the time of a copy may lie outside the interval in which it was sent, after correction of the clocks."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who sends: one execution of a task, or of a command."""

    token: str
    """Different for each execution."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """``dag_id``, ``run_id``, ``task_id``, ``map_index``, ``try_number``, ``conn_id``."""
    max_tries: int | None = None
    """Airflow's number: a retry leaves it alone, a Clear raises it."""
    host: str = ""
    process: ProcessIdentity = field(default_factory=ProcessIdentity)

    @property
    def task_instance(self) -> tuple[Any, ...] | None:
        """What the tries of one task instance have in common; ``None`` outside Airflow."""
        names = ("dag_id", "run_id", "task_id", "map_index")
        return tuple(self.run.get(name) for name in names) if self.run.get("dag_id") else None

    def is_earlier_try_of(self, other: Owner) -> bool:
        """Return whether both are tries of one task instance, this one the earlier; Airflow runs one at a time."""
        if self.task_instance is None or self.task_instance != other.task_instance:
            return False
        mine, theirs = (int(owner.run.get("try_number") or 0) for owner in (self, other))
        return mine < theirs

    def is_retried_by(self, other: Owner) -> bool:
        """Return whether the other is Airflow's next try, after no Clear and with the run not deleted and recreated."""
        return self.is_earlier_try_of(other) and self.max_tries == other.max_tries

    def __str__(self) -> str:
        if self.task_instance is None:
            return f"a process ({self.process.pid}) on {self.host or 'an unknown host'}"
        named = ((name, self.run.get(name)) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number"))
        return ", ".join(f"{name} {value}" for name, value in named if value not in (None, -1))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "token": self.token,
            "run": dict(self.run),
            "max_tries": self.max_tries,
            "host": self.host,
            "process": list(self.process),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Owner:
        """Read what ``to_json`` wrote."""
        machine, pid, started = value["process"]
        process = ProcessIdentity(str(machine), int(pid), int(started))
        return cls(str(value["token"]), value["run"], value["max_tries"], str(value["host"]), process)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known about one execution; times are epoch ms of the service's clock."""

    replay_id: str
    """SHA-256 of endpoint, instance, topic, consumer key and the exact ranges."""
    scope: Mapping[str, Any]
    """``endpoint``, ``instance_id``, ``topic``, ``consumer_key``."""
    digest: str | None
    """That of the query's document; ``None`` if the plan does not come from one."""
    owner: Owner
    """Who writes this."""
    planned: OffsetsByPartition
    ordering: str = "partition"
    span_ms: tuple[int, int] | None = None
    """Within which time the planned messages lie, half-open; ``None`` if the plan does not say."""
    state: str = OPENING
    verifying: bool = False
    """Whether it has stopped sending, and looks for its copies."""
    seq: int = 0
    """How many times it was written."""
    after: tuple[str, ...] = ()
    """The executions with messages in common that had stopped when this one began: what it does, it does knowingly."""
    done: OffsetsByPartition = field(default_factory=dict)
    claimed: OffsetsByPartition = field(default_factory=dict)
    settled: OffsetsByPartition = field(default_factory=dict)
    """Done, since this execution found that an earlier one had sent it; its copies are those of the earlier one."""
    possible_doubles: OffsetsByPartition = field(default_factory=dict)
    """Sent although an earlier POST of theirs may have worked."""
    missing: OffsetsByPartition = field(default_factory=dict)
    """Acknowledged, and surely without a copy."""
    copies: OffsetsByPartition = field(default_factory=dict)
    """Offsets of its copies that were found."""
    copies_known: bool = False
    """Whether ``copies`` holds every copy that it has made."""
    other_copies: OffsetsByPartition = field(default_factory=dict)
    """Rows that surely are copies, made by others, or nobody knows by whom."""
    copies_keep_time: bool | None = None
    """Whether a copy has the timestamp of its source; ``None`` if it is not known."""
    last_offsets: Mapping[int, int] = field(default_factory=dict)
    """By partition, the last offset before the first message was sent: copies come after it."""
    first_ms: int = 0
    """Earliest time of the first POST."""
    until_ms: int = 0
    """Latest time of the last answer to a POST."""
    renewed_ms: int = 0
    """Latest time at which the last write began."""
    clock_known: bool = False
    """Whether ``renewed_ms`` is the service's time, and not a guess by the owner's own clock."""
    sent_late: bool = False
    """Whether others found out that messages which it left in doubt were sent; never written."""
    gone_ms: int | None = None
    """When its process surely had ended, as the reader saw it; never written, since it can only be seen nearby."""

    @property
    def token(self) -> str:
        """The name of the execution."""
        return self.owner.token

    @property
    def is_open(self) -> bool:
        """Whether its owner has not closed it."""
        return self.state not in (ENDED, COMPLETE)

    @property
    def maybe_sent(self) -> OffsetsByPartition:
        """What was surely sent or may have been."""
        return partition_offsets.union(self.done, self.claimed)

    @property
    def posted(self) -> OffsetsByPartition:
        """What this execution itself has surely sent: the sources of its copies."""
        return partition_offsets.difference(self.done, self.settled) if self.settled else self.done

    @property
    def has_copies(self) -> bool:
        """Whether it has posted anything, or may have."""
        return bool(self.claimed or self.posted)

    @property
    def posts_until_ms(self) -> int:
        """The latest time at which its owner may have begun a POST, unless it writes again."""
        if not self.is_open:
            return self.until_ms or self.renewed_ms
        until_ms = self.renewed_ms + OWN_LEASE_MS
        return until_ms if self.gone_ms is None else min(until_ms, self.gone_ms)

    def until(self, late_ms: int = LATE_MS) -> int:
        """Return the latest time that a copy of this execution may have, unless it writes again."""
        late = self.is_open or self.claimed or self.possible_doubles or self.sent_late
        return self.posts_until_ms + (late_ms if late else 0)

    def may_have_sent_within(self, start_ms: int, end_ms: int) -> bool:
        """Return whether a copy of this execution may be from within an interval, unless it writes again."""
        return self.has_copies and self.first_ms < end_ms and self.until() >= start_ms

    def is_continued_by(self, other: Owner) -> bool:
        """Return whether the other execution is a retry of this one, whose messages count as its own."""
        if self.state == COMPLETE:
            return self.owner.is_retried_by(other)
        # a command has no task instance, and continues any call that broke off
        return self.owner.task_instance == other.task_instance

    def with_finding(self, finding: Finding) -> Ledger:
        """Return the ledger with what others have found out about this execution."""
        union, difference = partition_offsets.union, partition_offsets.difference
        return replace(
            self,
            done=union(self.done, finding.sent),
            sent_late=self.sent_late or bool(finding.sent),
            claimed=difference(self.claimed, union(finding.sent, finding.unsent)),
            copies=union(self.copies, finding.copies),
            missing=union(self.missing, finding.missing),
            copies_known=self.copies_known or finding.whole,
        )

    def to_json(self, segments: int = 0) -> dict[str, Any]:
        """Return the head, whose ``done`` is what is in none of the segments."""
        return {
            "schema": SCHEMA,
            "replay_id": self.replay_id,
            **self.scope,
            "digest": self.digest,
            "owner": self.owner.to_json(),
            "ordering": self.ordering,
            "span_ms": self.span_ms and list(self.span_ms),
            "state": self.state,
            "verifying": self.verifying,
            "seq": self.seq,
            "after": list(self.after),
            "segments": segments,
            "done": offset_ranges.to_json(self.done),
            "claimed": offset_ranges.to_json(self.claimed),
            "settled": offset_ranges.to_json(self.settled),
            "possible_doubles": offset_ranges.to_json(self.possible_doubles),
            "missing": offset_ranges.to_json(self.missing),
            "copies": offset_ranges.to_json(self.copies),
            "copies_known": self.copies_known,
            "other_copies": offset_ranges.to_json(self.other_copies),
            "copies_keep_time": self.copies_keep_time,
            "last_offsets": {str(partition): offset for partition, offset in self.last_offsets.items()},
            "first_ms": self.first_ms,
            "until_ms": self.until_ms,
            "renewed_ms": self.renewed_ms,
            "clock_known": self.clock_known,
        }

    @classmethod
    def from_json(cls, value: Any, store: str, planned: OffsetsByPartition, sealed: OffsetsByPartition) -> Ledger:
        """Read a head, perhaps of another version, with its plan and segments; ``store`` is its name for errors."""
        check_schema(value, store)

        def offsets(name: str) -> OffsetsByPartition:
            return partition_offsets.from_json(value[name], name)

        try:
            span_ms, keep_time = value["span_ms"], value["copies_keep_time"]
            return cls(
                replay_id=str(value["replay_id"]),
                scope={name: value[name] for name in ("endpoint", "instance_id", "topic", "consumer_key")},
                digest=value["digest"],
                owner=Owner.from_json(value["owner"]),
                planned=planned,
                ordering=str(value["ordering"]),
                span_ms=None if span_ms is None else (int(span_ms[0]), int(span_ms[1])),
                state=str(value["state"]),
                verifying=value["verifying"] is True,
                seq=int(value["seq"]),
                after=tuple(map(str, value["after"])),
                done=partition_offsets.union(sealed, offsets("done")),
                claimed=offsets("claimed"),
                settled=offsets("settled"),
                possible_doubles=offsets("possible_doubles"),
                missing=offsets("missing"),
                copies=offsets("copies"),
                copies_known=value["copies_known"] is True,
                other_copies=offsets("other_copies"),
                copies_keep_time=None if keep_time is None else bool(keep_time),
                last_offsets={int(partition): int(offset) for partition, offset in value["last_offsets"].items()},
                first_ms=int(value["first_ms"]),
                until_ms=int(value["until_ms"]),
                renewed_ms=int(value["renewed_ms"]),
                clock_known=value["clock_known"] is True,
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigurationError) as error:
            raise broken(store, error) from error


def check_schema(value: Any, store: str) -> None:
    """Refuse a head that this version cannot read."""
    schema = value.get("schema") if isinstance(value, Mapping) else None
    if schema != SCHEMA:
        raise StoreError(
            f"The ledger in {store} has schema {str(schema)[:40]!r}, this version reads {SCHEMA!r}: "
            "upgrade the provider, or remove the record if you know what was sent."
        )


def broken(store: str, error: object) -> StoreError:
    """Return the error for a ledger that cannot be read."""
    return StoreError(
        f"The ledger in {store} cannot be read ({error}), and nothing is sent on a guess: "
        "restore it, or remove it if you know what was sent."
    )
