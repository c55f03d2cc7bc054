"""
The ledger of a replay (``mqs.ledger/1``): which messages were surely sent, and which may have been.

One value, written whole. A message is claimed before it is posted and done when its outcome stands, so whoever reads
the ledger after a crash knows the few that are in doubt. The same value is the replay record that later runs look into.
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
LEASE_MS = 60_000
"""A ledger that says ``sending`` and was not written for so long belongs to nobody any more."""
MARGIN_MS = 300_000
"""How far the time of a copy may lie outside the interval in which it was sent, after correction of the clocks."""


@dataclass(frozen=True, slots=True)
class Owner:
    """
    Who sends: one execution of a task, or of a command.

    :param token: different for each execution
    :param run: ``dag_id``, ``run_id``, ``task_id``, ``map_index``, ``try_number``, ``conn_id``
    :param max_tries: Airflow's; a retry leaves it alone, a Clear raises it
    :param host: machine
    :param pid: process
    """

    token: str
    run: Mapping[str, Any] = field(default_factory=dict)
    max_tries: int | None = None
    host: str = ""
    pid: int = 0

    @property
    def task_instance(self) -> tuple[Any, ...] | None:
        """What the tries of one task instance have in common; ``None`` outside Airflow."""
        names = ("dag_id", "run_id", "task_id", "map_index")
        return tuple(self.run.get(name) for name in names) if self.run.get("dag_id") else None

    def same_task(self, other: Owner) -> bool:
        """
        Tell whether two executions are tries of one task instance; the one that runs now is then the only one alive.

        :param other: the other execution
        :return: whether they are
        """
        return self.task_instance is not None and self.task_instance == other.task_instance

    def is_retried_by(self, other: Owner) -> bool:
        """
        Tell whether Airflow itself tries again: neither was the task cleared, nor its run deleted and made once more.

        :param other: the later execution
        :return: whether it is the next try
        """
        tries = [int(owner.run.get("try_number") or 0) for owner in (self, other)]
        return self.same_task(other) and self.max_tries == other.max_tries and tries[0] < tries[1]

    def __str__(self) -> str:
        if self.task_instance is None:
            return f"a process ({self.pid}) on {self.host or 'an unknown host'}"
        named = ((name, self.run.get(name)) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number"))
        return ", ".join(f"{name} {value}" for name, value in named if value not in (None, -1))


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    What is known about one replay.

    :param replay_id: SHA-256 of endpoint, instance, topic, consumer key and the exact ranges
    :param scope: ``endpoint``, ``instance_id``, ``topic``, ``consumer_key``
    :param digest: of the query's document, ``None`` where the plan does not come from one
    :param owner: who wrote this
    :param state: ``opening``, ``sending``, ``ended`` (something is left), ``complete``
    :param planned: every message of the plan
    :param done: surely sent
    :param claimed: may have been sent; in doubt once the owner is gone
    :param earlier: sent by earlier runs, before a run that was told to send them again
    :param doubles: sent although an earlier send of theirs may have worked
    :param copies: offsets of copies that were found
    :param copies_known: whether every copy is in ``copies``
    :param marks: by partition, the last offset that was there before the first message was sent
    :param first_ms: the service's time before any run sent the first message, epoch ms
    :param since_ms: the same for the messages in ``done`` and ``claimed``
    :param until_ms: the service's time of the last write, epoch ms
    :param updated_ms: this machine's time of the last write, epoch ms
    """

    replay_id: str
    scope: Mapping[str, Any]
    digest: str | None
    owner: Owner
    planned: OffsetsByPartition
    state: str = OPENING
    done: OffsetsByPartition = field(default_factory=dict)
    claimed: OffsetsByPartition = field(default_factory=dict)
    earlier: OffsetsByPartition = field(default_factory=dict)
    doubles: OffsetsByPartition = field(default_factory=dict)
    copies: OffsetsByPartition = field(default_factory=dict)
    copies_known: bool = True
    marks: Mapping[int, int] = field(default_factory=dict)
    first_ms: int = 0
    since_ms: int = 0
    until_ms: int = 0
    updated_ms: int = 0

    @property
    def ever_sent(self) -> OffsetsByPartition:
        """Everything that was surely sent, by whichever run."""
        return partition_offsets.union(self.done, self.earlier)

    @property
    def has_copies(self) -> bool:
        """Whether anything was sent, or may have been."""
        return bool(self.done or self.claimed or self.earlier)

    def alive(self, now_ms: int) -> bool:
        """
        Tell whether its owner may still be sending.

        :param now_ms: this machine's time, epoch ms
        :return: whether it said so less than a minute ago
        """
        return self.state in (OPENING, SENDING) and now_ms - self.updated_ms < LEASE_MS

    def to_json(self) -> dict[str, Any]:
        """
        Write it as plain JSON.

        :return: the value for a store
        """
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
            **{name: offset_ranges.to_json(getattr(self, name)) for name in _SETS},
            "copies_known": self.copies_known,
            "marks": {str(partition): mark for partition, mark in self.marks.items()},
            "first_ms": self.first_ms,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "updated_ms": self.updated_ms,
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Ledger:
        """
        Read what ``to_json`` wrote, perhaps by another version.

        :param value: what the store holds
        :param where: name of the store, for the error
        :return: the ledger
        :raises StoreError: it is broken, or of a schema that this version does not know
        """
        schema = value.get("schema") if isinstance(value, Mapping) else None
        if schema != SCHEMA:
            raise StoreError(
                f"The ledger in {where} has schema {str(schema)[:40]!r}, this version reads {SCHEMA!r}: "
                "upgrade the provider, or remove the record if you know what was sent."
            )
        try:
            return cls._read(value)
        except (KeyError, TypeError, ValueError, AttributeError, ConfigurationError) as error:
            raise StoreError(
                f"The ledger in {where} cannot be read ({error}): nothing is sent on a guess. "
                "Restore it, or remove it if you know what was sent."
            ) from error

    @classmethod
    def _read(cls, value: Mapping[str, Any]) -> Ledger:
        owner = value["owner"]
        return cls(
            replay_id=str(value["replay_id"]),
            scope={name: value[name] for name in ("endpoint", "instance_id", "topic", "consumer_key")},
            digest=value["digest"],
            owner=Owner(owner["token"], owner["run"], owner["max_tries"], owner["host"], int(owner["pid"])),
            state=str(value["state"]),
            **{name: partition_offsets.from_json(value[name], name) for name in _SETS},
            copies_known=value["copies_known"] is True,
            marks={int(partition): int(mark) for partition, mark in value["marks"].items()},
            first_ms=int(value["first_ms"]),
            since_ms=int(value["since_ms"]),
            until_ms=int(value["until_ms"]),
            updated_ms=int(value["updated_ms"]),
        )


_SETS = ("planned", "done", "claimed", "earlier", "doubles", "copies")


def merged(left: Ledger | None, right: Ledger | None) -> Ledger | None:
    """
    Join what two stores hold of one replay: a write may have reached only the first of them.

    :param left: from one store
    :param right: from the other
    :return: the newer one, with what either knows to be sent; what is done is no longer in doubt
    """
    if left is None or right is None:
        return left or right
    newer, older = sorted((left, right), key=lambda ledger: ledger.updated_ms, reverse=True)
    done = partition_offsets.union(newer.done, older.done if newer.earlier == older.earlier else {})
    claimed = newer.claimed if newer.owner == older.owner else partition_offsets.union(newer.claimed, older.claimed)
    return replace(
        newer,
        done=done,
        claimed=partition_offsets.difference(claimed, done),
        copies=partition_offsets.union(newer.copies, older.copies),
    )
