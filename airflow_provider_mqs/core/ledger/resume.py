"""What a replay begins with: what was sent already, by whom, and what is in doubt. Pure decisions over ledgers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.ledger import COMPLETE
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_mqs.core.ledger.ledger import Ledger, Owner
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition


@dataclass(frozen=True, slots=True)
class Opening:
    """
    What earlier tries and runs left.

    :param resumed: sent by earlier tries of this task
    :param already: sent by other runs
    :param doubts: messages of the plan that may have been sent
    :param past: the ledgers that the doubts come from
    :param by: the last other run that sent something of the plan
    :param retried: whether this resumes a try that did not end well, or Airflow itself tries again
    """

    resumed: OffsetsByPartition
    already: OffsetsByPartition
    doubts: OffsetsByPartition
    past: tuple[Ledger, ...] = ()
    by: Owner | None = None
    retried: bool = False


def opening_of(first: Ledger, mine: Ledger | None, others: Sequence[Ledger], on_replayed: str) -> Opening:
    """
    Tell what is left out, and what is in doubt.

    :param first: the ledger of this execution, before anything was sent
    :param mine: what the stores hold of the same replay
    :param others: ledgers of other replays that have messages in common with this one, for the same consumer
    :param on_replayed: ``skip``, ``fail`` or ``resend``
    :return: the opening; a message that no ledger contains is never left out
    :raises ConfigurationError: some were sent already and ``on_replayed`` is ``fail``
    """
    retried = mine is not None and _is_retried(mine, first.owner)
    resumed = mine.done if mine and retried else {}
    past = [ledger for ledger in (mine, *others) if ledger and ledger.has_copies]
    sent = partition_offsets.difference(
        partition_offsets.intersection(partition_offsets.union(*(one.ever_sent for one in past)), first.planned),
        resumed,
    )
    if sent and on_replayed == "fail":
        raise ConfigurationError(
            f"{partition_offsets.count(sent)} of these messages were sent already ({past[-1].owner}) "
            "and on_replayed is 'fail'."
        )
    if on_replayed == "resend":
        past, sent = [ledger for ledger in past if ledger is mine and retried], {}
    doubts = partition_offsets.intersection(partition_offsets.union(*(one.claimed for one in past)), first.planned)
    return Opening(
        resumed=resumed,
        already=sent,
        doubts=partition_offsets.difference(doubts, partition_offsets.union(resumed, sent)),
        past=tuple(past),
        by=past[-1].owner if past else None,
        retried=retried,
    )


def taken_over(first: Ledger, mine: Ledger, opening: Opening, on_replayed: str) -> Ledger:
    """
    Go on where the last owner was; or begin anew, where everything is to be sent again.

    :param first: the ledger of this execution, before anything was sent
    :param mine: what the stores hold of the same replay
    :param opening: what was made of it
    :param on_replayed: ``skip``, ``fail`` or ``resend``
    :return: the ledger to write
    """
    kept = replace(
        first, copies=mine.copies, copies_known=mine.copies_known, first_ms=mine.first_ms, earlier=mine.earlier
    )
    if not mine.has_copies:
        return replace(kept, first_ms=first.first_ms)
    if on_replayed == "resend" and not opening.retried:
        return replace(kept, earlier=partition_offsets.union(mine.ever_sent, mine.claimed))
    return replace(
        kept,
        done=mine.done,
        claimed=mine.claimed,
        doubles=mine.doubles,
        marks={**first.marks, **mine.marks},
        since_ms=mine.since_ms,
        until_ms=mine.until_ms,
    )


def _is_retried(mine: Ledger, me: Owner) -> bool:
    """Tell whether this goes on with the last execution: Airflow tries again, or that one left something to a call."""
    if mine.state == COMPLETE:
        return mine.owner.is_retried_by(me)
    return mine.owner.task_instance == me.task_instance
