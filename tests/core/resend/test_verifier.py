"""What becomes of messages in doubt, for each value of ``on_unknown``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.report import Report
from airflow_provider_mqs.core.resend.verifier import Resolver
from airflow_provider_mqs.core.verify.settle import Settled
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

IN_DOUBT: OffsetsByPartition = {0: ((0, 2),)}
REFS = [(0, 0), (0, 1), (0, 2)]


class Copies:
    """Finds what it was made with, and remembers for what it was asked."""

    def __init__(self, sent: OffsetsByPartition, unsent: OffsetsByPartition) -> None:
        self.asked: list[OffsetsByPartition] = []
        self.finding = Settled(sent, unsent)

    async def __call__(self, in_doubt: OffsetsByPartition) -> Settled:
        self.asked.append(in_doubt)
        return self.finding


@pytest.fixture
def account() -> Account:
    """Ten messages, three of them in doubt."""
    return Account({0: ((0, 9),)}, in_doubt=[doubt(*ref) for ref in REFS])


def doubt(partition: int, message_offset: int) -> Failure:
    return Failure(partition, message_offset, "", "HTTP 504", "", unknown=True)


def unknown(account: Account) -> OffsetsByPartition:
    return partition_offsets.from_refs(account.unknown)


async def test_what_was_sent_is_done_and_what_was_not_is_sent_again(account: Account) -> None:
    """The rest is unknown."""
    copies = Copies({0: ((0, 0),)}, {0: ((1, 1),)})

    again = await Resolver("verify", Report(account), copies).resolve(REFS)

    assert (account.done, again, unknown(account)) == ({0: ((0, 0),)}, {0: ((1, 1),)}, {0: ((2, 2),)})
    assert (copies.asked, account.in_doubt) == ([IN_DOUBT], {})
    assert partition_offsets.intersection(account.remaining, IN_DOUBT) == again


async def test_a_message_is_sent_again_only_once_after_verification(account: Account) -> None:
    """If it is in doubt once more it stays unknown, whatever is found; others have their own turn."""
    copies = Copies({}, {0: ((1, 1),)})
    resolver = Resolver("verify", Report(account), copies)

    assert await resolver.resolve([(0, 1)]) == {0: ((1, 1),)}
    account.mark_in_doubt(doubt(0, 1))
    copies.finding = Settled({}, {0: ((1, 2),)})
    assert await resolver.resolve([(0, 1), (0, 2)]) == {0: ((2, 2),)}

    assert unknown(account) == {0: ((1, 1),)}


async def test_without_an_answer_everything_is_unknown(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    """The service does not answer; the log says why."""

    async def refuse(in_doubt: OffsetsByPartition) -> Settled:
        raise MqsError("no answer")

    assert await Resolver("verify", Report(account), refuse).resolve(REFS) == {}
    assert unknown(account) == IN_DOUBT
    assert "Could not find out what became of messages in doubt: no answer" in caplog.text


async def test_fail_looks_for_nothing(account: Account) -> None:
    """And sends nothing."""
    copies = Copies(IN_DOUBT, {})

    assert await Resolver("fail", Report(account), copies).resolve(REFS) == {}
    assert (copies.asked, unknown(account)) == ([], IN_DOUBT)


async def test_resend_sends_blindly_a_few_times_and_names_what_may_be_there_twice(account: Account) -> None:
    """Five times, then the message is unknown."""
    copies = Copies(IN_DOUBT, {})
    resolver = Resolver("resend", Report(account), copies)

    again = []
    for _ in range(6):
        again.append(await resolver.resolve(REFS))
        for ref in REFS:
            account.mark_in_doubt(doubt(*ref))

    assert again == [IN_DOUBT] * 5 + [{}]
    assert (account.possible_doubles, copies.asked) == (IN_DOUBT, [])
