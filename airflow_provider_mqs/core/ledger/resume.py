"""
What a replay starts from: what was sent before, by whom, and what is in doubt. Pure decisions over ledgers.

Its input are the ledgers of all earlier executions that have messages in common with this one, for the same consumer.
There are three cases:

* *The lineage*: the earlier executions that this one continues. They sent the same plan, and are earlier tries of the
  same task instance, as long as each broke off or was tried again by Airflow itself; for a command, earlier calls that
  broke off. What they sent counts as sent by this task; this try sends the rest, whatever ``on_replayed`` says.
* *Another execution* sent all or part of it, perhaps by an overlapping plan: ``on_replayed`` decides whether its
  messages are left out, fail the task, or are sent again.
* *Sent again* (``on_replayed="resend"``): only the lineage counts.

A message is in doubt if one ledger has it claimed and none has it done. Ledgers never change after their execution has
ended, so it stays in doubt, whatever the options of the executions in between, until one of them has sent it, or found
out what became of it: such findings are applied to the ledgers before they come here. A message that no ledger contains
is never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.core.ledger.ledger import Ledger, Owner


@dataclass(frozen=True, slots=True)
class History:
    """What earlier executions left."""

    account: Account
    """Of this plan, before this execution sends anything."""
    ledgers: tuple[Ledger, ...] = ()
    """Of all that sent something of the plan, or may have; the oldest first."""
    lineage: tuple[Ledger, ...] = ()
    """Those of them that this execution continues; the oldest first."""
    posts_until_ms: Mapping[str, int] = field(default_factory=dict)
    """By token, the latest time at which the messages in doubt may have been posted."""

    @property
    def sent_by(self) -> Owner | None:
        """The last that sent something of the plan."""
        return self.ledgers[-1].owner if self.ledgers else None

    @property
    def is_retry(self) -> bool:
        """Whether this goes on with a try that broke off, or Airflow itself tries again."""
        return bool(self.lineage)


def history_of(mine: Ledger, others: Iterable[Ledger], on_replayed: str) -> History:
    """
    Return what is left out and what is in doubt.

    ``mine`` is this execution's ledger before anything was sent, ``others`` are those of the earlier ones.
    """
    ledgers = in_order(ledger for ledger in others if ledger.maybe_sent)
    lineage = lineage_of(mine, ledgers)
    strangers = [ledger for ledger in ledgers if ledger not in lineage]
    done = partition_offsets.union(*(ledger.done for ledger in lineage))
    already_sent = partition_offsets.difference(
        partition_offsets.intersection(partition_offsets.union(*(one.done for one in strangers)), mine.planned), done
    )
    if already_sent and on_replayed == "fail":
        raise ConfigurationError(
            f"{partition_offsets.count(already_sent)} of these messages were sent already ({strangers[-1].owner}) "
            "and on_replayed is 'fail'."
        )
    if on_replayed == "resend":
        already_sent, strangers = {}, []
    claimed = partition_offsets.union(*(ledger.claimed for ledger in (*lineage, *strangers)))
    in_doubt = partition_offsets.difference(
        partition_offsets.intersection(claimed, mine.planned), partition_offsets.union(done, already_sent)
    )
    account = Account(
        mine.planned,
        done=done,
        already_sent=already_sent,
        in_doubt=(
            Failure(*ref, "", "An earlier try may have sent it.", "", unknown=True)
            for ref in partition_offsets.expand(in_doubt)
        ),
        possible_doubles=partition_offsets.union(*(ledger.possible_doubles for ledger in lineage)),
    )
    return History(
        account,
        tuple(ledgers),
        tuple(lineage),
        {ledger.token: ledger.posts_until_ms for ledger in ledgers if ledger.claimed},
    )


def in_order(ledgers: Iterable[Ledger]) -> list[Ledger]:
    """Return ledgers of executions that had messages in common in the order in which they began to send."""
    listed = list(ledgers)
    tokens = {ledger.token for ledger in listed}
    # each names all that had stopped before it began, and no two sent at once
    return sorted(listed, key=lambda ledger: (len(tokens.intersection(ledger.after)), ledger.first_ms, ledger.token))


def lineage_of(mine: Ledger, ledgers: Iterable[Ledger]) -> list[Ledger]:
    """Return the ledgers of the executions that this one continues, out of all in order; the oldest first."""
    found: list[Ledger] = []
    later = mine.owner
    for ledger in reversed([*ledgers]):
        if ledger.replay_id != mine.replay_id or ledger.owner.task_instance != later.task_instance:
            continue
        if not ledger.is_continued_by(later):
            break
        found.insert(0, ledger)
        later = ledger.owner
    return found
