"""
The ledger of a replay (``mqs.ledger/1``): which messages were surely sent, and which may have been.

One value, always written whole. It is also the replay record: later queries and resends of the same topic read it.

The states of a ledger::

    opening ──▶ sending ──▶ complete    every message of the plan was sent, by this replay or another
       │           └──────▶ ended       something is left: failed, unknown or never attempted
       └──────────────────▶ ended       another run is sending some of the messages, and this one gave way

Only the ``owner`` may write: one execution of a task or of a command. Each write of an open ledger renews its lease;
an owner that has not written for ``LEASE_MS`` counts as gone. The next execution takes the ledger over by making itself
the owner; the former one, if it is still alive, finds out at its next write and stops. ``session`` has that protocol.

Of the states of a message (see ``account``) a ledger keeps two:

``done``
    The service acknowledged the message, or its copy was found.
``claimed``
    The message may have been sent. It is claimed *before* it is posted, at most 500 at a time, and stays claimed while
    it is in doubt or unknown.

What a crash leaves of a message, depending on when it comes:

==================================  ==================================================================================
before its claim is written         Not sent, and the ledger says so: the next try sends it.
between its claim and its POST      Not sent, but the ledger does not show it: it is in doubt.
between its POST and the next       Perhaps sent: it is in doubt.
write
after the write that has it done    Sent, and the ledger says so: no later run sends it again by itself.
==================================  ==================================================================================

So after a crash at most 500 messages are in doubt, and their copies are looked for. Nothing else is a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

SCHEMA = "mqs.ledger/1"
OPENING, SENDING, ENDED, COMPLETE = "opening", "sending", "ended", "complete"
# four heartbeats: one or two late writes must not make a living sender look dead
LEASE_MS = 60_000
"""Milliseconds without a write after which the owner of an open ledger counts as gone."""
MARGIN_MS = 300_000
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
    pid: int = 0

    @property
    def task_instance(self) -> tuple[Any, ...] | None:
        """What the tries of one task instance have in common; ``None`` outside Airflow."""
        names = ("dag_id", "run_id", "task_id", "map_index")
        return tuple(self.run.get(name) for name in names) if self.run.get("dag_id") else None

    def same_task(self, other: Owner) -> bool:
        """Return whether both are tries of one task instance; Airflow runs only one of them at a time."""
        return self.task_instance is not None and self.task_instance == other.task_instance

    def is_retried_by(self, other: Owner) -> bool:
        """Return whether the other is Airflow's next try, after no Clear and with the run not deleted and recreated."""
        tries = [int(owner.run.get("try_number") or 0) for owner in (self, other)]
        return self.same_task(other) and self.max_tries == other.max_tries and tries[0] < tries[1]

    def __str__(self) -> str:
        if self.task_instance is None:
            return f"a process ({self.pid}) on {self.host or 'an unknown host'}"
        named = ((name, self.run.get(name)) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number"))
        return ", ".join(f"{name} {value}" for name, value in named if value not in (None, -1))


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known about one replay."""

    replay_id: str
    """SHA-256 of endpoint, instance, topic, consumer key and the exact ranges."""
    scope: Mapping[str, Any]
    """``endpoint``, ``instance_id``, ``topic``, ``consumer_key``."""
    digest: str | None
    """That of the query's document; ``None`` if the plan does not come from one."""
    owner: Owner
    """Who wrote this."""
    planned: OffsetsByPartition
    state: str = OPENING
    done: OffsetsByPartition = field(default_factory=dict)
    claimed: OffsetsByPartition = field(default_factory=dict)
    sent_earlier: OffsetsByPartition = field(default_factory=dict)
    """What was sent, or may have been, before a run with ``on_replayed="resend"`` began again."""
    possible_doubles: OffsetsByPartition = field(default_factory=dict)
    """Sent although an earlier POST of theirs may have worked."""
    copies: OffsetsByPartition = field(default_factory=dict)
    """Offsets of the copies that were found."""
    copies_known: bool = True
    """Whether ``copies`` holds every copy."""
    last_offsets: Mapping[int, int] = field(default_factory=dict)
    """By partition, the last offset before the first message was sent: copies come after it."""
    first_ms: int = 0
    """The service's time before any run sent the first message, epoch ms."""
    since_ms: int = 0
    """The same for the messages in ``done`` and ``claimed``."""
    until_ms: int = 0
    """The service's time of the last write, epoch ms."""
    updated_ms: int = 0
    """This machine's time of the last write, epoch ms."""

    @property
    def ever_sent(self) -> OffsetsByPartition:
        """Everything that was surely sent, by whichever run."""
        return partition_offsets.union(self.done, self.sent_earlier)

    @property
    def has_copies(self) -> bool:
        """Whether anything was sent, or may have been."""
        return bool(self.done or self.claimed or self.sent_earlier)

    def alive(self, now_ms: int) -> bool:
        """Return whether its owner may still be sending, at this machine's time ``now_ms``."""
        return self.state in (OPENING, SENDING) and now_ms - self.updated_ms < LEASE_MS

    def is_continued_by(self, other: Owner) -> bool:
        """Return whether the other execution is a retry of this one, whose messages count as its own."""
        if self.state == COMPLETE:
            return self.owner.is_retried_by(other)
        # a command has no task instance, and continues any call that broke off
        return self.owner.task_instance == other.task_instance

    def to_json(self) -> dict[str, Any]:
        """Return the value for a store. Its keys are older than the names of the fields, and stay as they are."""
        owner = self.owner
        return {
            "schema": SCHEMA,
            "replay_id": self.replay_id,
            **self.scope,
            "digest": self.digest,
            "owner": {
                "token": owner.token,
                "run": dict(owner.run),
                "max_tries": owner.max_tries,
                "host": owner.host,
                "pid": owner.pid,
            },
            "state": self.state,
            "planned": offset_ranges.to_json(self.planned),
            "done": offset_ranges.to_json(self.done),
            "claimed": offset_ranges.to_json(self.claimed),
            "earlier": offset_ranges.to_json(self.sent_earlier),
            "doubles": offset_ranges.to_json(self.possible_doubles),
            "copies": offset_ranges.to_json(self.copies),
            "copies_known": self.copies_known,
            "marks": {str(partition): offset for partition, offset in self.last_offsets.items()},
            "first_ms": self.first_ms,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "updated_ms": self.updated_ms,
        }

    @classmethod
    def from_json(cls, value: Any, store: str) -> Ledger:
        """Read what ``to_json`` wrote, perhaps in another version; ``store`` is its name for errors."""
        schema = value.get("schema") if isinstance(value, Mapping) else None
        if schema != SCHEMA:
            raise StoreError(
                f"The ledger in {store} has schema {str(schema)[:40]!r}, this version reads {SCHEMA!r}: "
                "upgrade the provider, or remove the record if you know what was sent."
            )

        def offsets(name: str) -> OffsetsByPartition:
            return partition_offsets.from_json(value[name], name)

        try:
            owner = value["owner"]
            return cls(
                replay_id=str(value["replay_id"]),
                scope={name: value[name] for name in ("endpoint", "instance_id", "topic", "consumer_key")},
                digest=value["digest"],
                owner=Owner(owner["token"], owner["run"], owner["max_tries"], owner["host"], int(owner["pid"])),
                planned=offsets("planned"),
                state=str(value["state"]),
                done=offsets("done"),
                claimed=offsets("claimed"),
                sent_earlier=offsets("earlier"),
                possible_doubles=offsets("doubles"),
                copies=offsets("copies"),
                copies_known=value["copies_known"] is True,
                last_offsets={int(partition): int(offset) for partition, offset in value["marks"].items()},
                first_ms=int(value["first_ms"]),
                since_ms=int(value["since_ms"]),
                until_ms=int(value["until_ms"]),
                updated_ms=int(value["updated_ms"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ConfigurationError) as error:
            raise StoreError(
                f"The ledger in {store} cannot be read ({error}), and nothing is sent on a guess: "
                "restore it, or remove it if you know what was sent."
            ) from error


def merged(left: Ledger | None, right: Ledger | None) -> Ledger | None:
    """
    Join what two stores hold of one replay, since a write may have reached only the first of them.

    The newer value counts, with what either knows to be done; what is done is no longer in doubt.
    """
    if left is None or right is None:
        return left or right
    newer, older = sorted((left, right), key=lambda ledger: ledger.updated_ms, reverse=True)
    # a run that sends everything again has moved what was done into ``sent_earlier``
    done = partition_offsets.union(newer.done, older.done if newer.sent_earlier == older.sent_earlier else {})
    claimed = newer.claimed if newer.owner == older.owner else partition_offsets.union(newer.claimed, older.claimed)
    return replace(
        newer,
        done=done,
        claimed=partition_offsets.difference(claimed, done),
        copies=partition_offsets.union(newer.copies, older.copies),
    )
