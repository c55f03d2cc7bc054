"""
What a replay starts from: what was sent before, by whom, and what is in doubt. Pure decisions over ledgers.

There are three cases; who wrote the last ledger of the same replay decides:

* *A retry*: an earlier try of the same task instance (or an earlier call of the command) broke off, or Airflow itself
  tries again. What it sent counts as sent by this task; this try sends the rest, whatever ``on_replayed`` says.
* *Another run* sent all or part of it, or sent an overlapping plan to the same consumer: ``on_replayed`` decides
  whether its messages are left out, fail the task, or are sent again.
* *Sent again* (``on_replayed="resend"``): the ledger starts empty, but keeps the copies and what was ever sent, since
  those copies are in the topic.

A message is in doubt if one ledger has it claimed and none has it done. It stays in doubt, whatever the options of the
runs in between, until its copy is found or is surely missing. A message that no ledger contains is never left out.

A copy of any of these messages comes after the *first* of them was sent, by whichever try. So each execution that
takes over keeps the last offsets and the time from before that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_mqs.core.ledger.ledger import Ledger, Owner


@dataclass(frozen=True, slots=True)
class History:
    """What earlier tries and runs left."""

    account: Account
    """Of this plan, before this try sends anything."""
    ledgers: tuple[Ledger, ...] = ()
    """Where its messages in doubt come from."""
    sent_by: Owner | None = None
    """The last run that sent something of the plan."""
    is_retry: bool = False
    """Whether this goes on with a try that broke off, or Airflow itself tries again."""


def history_of(first: Ledger, mine: Ledger | None, others: Sequence[Ledger], on_replayed: str) -> History:
    """
    Return what is left out and what is in doubt.

    ``first`` is this execution's ledger before anything was sent, ``mine`` what the stores hold of the same replay,
    ``others`` are other replays that have messages in common with it, for the same consumer.
    """
    is_retry = mine is not None and mine.is_continued_by(first.owner)
    resumed = mine.done if mine and is_retry else {}
    ledgers = [ledger for ledger in (mine, *others) if ledger and ledger.has_copies]
    already_sent = partition_offsets.difference(
        partition_offsets.intersection(partition_offsets.union(*(one.ever_sent for one in ledgers)), first.planned),
        resumed,
    )
    if already_sent and on_replayed == "fail":
        raise ConfigurationError(
            f"{partition_offsets.count(already_sent)} of these messages were sent already ({ledgers[-1].owner}) "
            "and on_replayed is 'fail'."
        )
    if on_replayed == "resend":
        ledgers, already_sent = [ledger for ledger in ledgers if ledger is mine and is_retry], {}
    done = mine.done if mine and (is_retry or on_replayed != "resend") else {}
    claimed = partition_offsets.intersection(partition_offsets.union(*(one.claimed for one in ledgers)), first.planned)
    in_doubt = partition_offsets.difference(claimed, partition_offsets.union(done, already_sent))
    return History(
        Account(
            first.planned,
            done=done,
            already_sent=already_sent,
            in_doubt=(
                Failure(*ref, "", "An earlier try may have sent it.", "", unknown=True)
                for ref in partition_offsets.expand(in_doubt)
            ),
        ),
        ledgers=tuple(ledgers),
        sent_by=ledgers[-1].owner if ledgers else None,
        is_retry=is_retry,
    )


def taken_over(first: Ledger, mine: Ledger, history: History, on_replayed: str) -> Ledger:
    """Return the ledger to write: it goes on where the last owner was, or starts empty if everything is sent again."""
    kept = replace(
        first,
        copies=mine.copies,
        copies_known=mine.copies_known,
        first_ms=mine.first_ms,
        sent_earlier=mine.sent_earlier,
    )
    if not mine.has_copies:
        return replace(kept, first_ms=first.first_ms)
    if on_replayed == "resend" and not history.is_retry:
        return replace(kept, sent_earlier=partition_offsets.union(mine.ever_sent, mine.claimed))
    return replace(
        kept,
        done=mine.done,
        claimed=mine.claimed,
        possible_doubles=mine.possible_doubles,
        last_offsets={**first.last_offsets, **mine.last_offsets},
        since_ms=mine.since_ms,
        until_ms=mine.until_ms,
    )
