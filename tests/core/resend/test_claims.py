"""No message is handed out before it is claimed, few are claimed at a time, and no worker waits for that."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.resend.claims import CLAIM, MOST_CLAIMED, Claims, Lane
from airflow_provider_mqs.exceptions import StoreError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition


class Ledger:
    """Keeps what was written of an account; a write returns when its gate is open."""

    def __init__(self) -> None:
        self.account = Account({})
        self.started = 0
        self.writes: list[tuple[OffsetsByPartition, OffsetsByPartition]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.full = False

    async def write(self) -> None:
        self.started += 1
        done, claimed = self.account.done, self.account.maybe_sent
        await self.gate.wait()
        if self.full:
            raise StoreError("full")
        self.writes.append((done, claimed))


def lane(count: int, partition: int = 0, *, exclusive: bool = False) -> Lane:
    return Lane(iter([(partition, offset) for offset in range(count)]), exclusive)


def claims_of(ledger: Ledger, *lanes: Lane, concurrency: int = 4, in_doubt: OffsetsByPartition | None = None) -> Claims:
    for ref in partition_offsets.expand(in_doubt or {}):
        ledger.account.mark_in_doubt(doubt(ref))
    return Claims(lanes, ledger.account, ledger.write, concurrency=concurrency)


def doubt(ref: MessageRef) -> Failure:
    return Failure(*ref, "", "HTTP 504", "", unknown=True)


def finish(claims: Claims, one: Lane, ref: MessageRef, *, sent: bool) -> None:
    """Note an outcome as the sender does."""
    if sent:
        claims._account.mark_sent(ref)
    else:
        claims._account.mark_failed(Failure(*ref, "", "HTTP 400", "", unknown=False))
    claims.done_with(one)


async def taken(claims: Claims) -> tuple[Lane, MessageRef]:
    found = await claims.take()
    assert found is not None
    return found


async def waiting(claims: Claims) -> asyncio.Task[tuple[Lane, MessageRef] | None]:
    """Start to take a message, and see that there is none yet."""
    taking = asyncio.ensure_future(claims.take())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not taking.done()
    return taking


async def test_lane_keeps_its_order() -> None:
    """Also over the border of a claim; then there is nothing left."""
    claims = claims_of(Ledger(), lane(CLAIM + 50))

    found = [(await taken(claims))[1] for _ in range(CLAIM + 50)]

    assert found == [(0, offset) for offset in range(CLAIM + 50)]
    assert await claims.take() is None


async def test_exclusive_lane_has_one_message_out() -> None:
    """The next one waits until its outcome stands."""
    claims = claims_of(Ledger(), lane(1000, exclusive=True))
    one, ref = await taken(claims)
    taking = await waiting(claims)

    finish(claims, one, ref, sent=True)

    assert await taking == (one, (0, 1))


async def test_exclusive_lane_goes_on_after_a_message_in_doubt() -> None:
    """The message stays claimed."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(2, exclusive=True))
    one, ref = await taken(claims)

    ledger.account.mark_in_doubt(doubt(ref))
    claims.done_with(one)

    assert await claims.take() == (one, (0, 1))
    assert ledger.account.maybe_sent == {0: ((0, 1),)}


async def test_nothing_is_handed_out_before_its_claim_is_written() -> None:
    """Not even if the write takes long."""
    ledger = Ledger()
    ledger.gate.clear()
    claims = claims_of(ledger, lane(3))
    taking = await waiting(claims)

    ledger.gate.set()

    assert (await taking) is not None
    assert ledger.writes == [({}, {0: ((0, 2),)})]


async def test_next_claim_is_written_while_messages_are_left() -> None:
    """A slow write keeps no worker waiting until the claimed messages run out."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(1000))
    for _ in range(CLAIM - 8):
        finish(claims, *await taken(claims), sent=True)
    ledger.gate.clear()

    for _ in range(8):
        finish(claims, *await asyncio.wait_for(taken(claims), 10), sent=True)

    assert ledger.started == 2
    taking = await waiting(claims)
    ledger.gate.set()
    assert (await taking) is not None


async def test_one_write_closes_and_opens() -> None:
    """What is finished is done in the same value that claims the next messages."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(CLAIM + 10))

    for _ in range(CLAIM + 1):
        finish(claims, *await taken(claims), sent=True)

    [_, (done, claimed)] = ledger.writes
    assert partition_offsets.count(done) >= CLAIM - 8
    assert partition_offsets.union(done, claimed) == {0: ((0, CLAIM + 9),)}


async def test_fast_lane_does_not_wait_for_a_slow_one() -> None:
    """Claims go to the lane that has least left."""
    claims = claims_of(Ledger(), lane(1000, 0, exclusive=True), lane(1000, 1, exclusive=True))
    await taken(claims)

    for _ in range(1000):
        one, ref = await asyncio.wait_for(taken(claims), 10)
        assert ref[0] == 1
        finish(claims, one, ref, sent=True)


async def test_failed_write_closes_the_claims_and_frees_what_it_was_for() -> None:
    """Not one of them was handed out."""
    ledger = Ledger()
    ledger.full = True
    claims = claims_of(ledger, lane(3), in_doubt={5: ((7, 7),)})

    assert await claims.take() is None

    assert (str(claims.error), claims.closed, ledger.account.maybe_sent) == ("full", True, {5: ((7, 7),)})


async def test_after_a_failed_write_nothing_more_is_handed_out() -> None:
    """Although some messages are claimed already."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(1000))
    await taken(claims)
    ledger.full = True

    found = 1
    while await claims.take() is not None:
        found += 1
        await asyncio.sleep(0)

    assert found < CLAIM
    assert isinstance(claims.error, StoreError)


async def test_closing_wakes_whoever_waits() -> None:
    """They get nothing."""
    claims = claims_of(Ledger(), lane(1000, exclusive=True))
    await taken(claims)
    taking = await waiting(claims)

    claims.close()

    assert await taking is None


async def test_flush_frees_what_was_never_handed_out() -> None:
    """What is out or in doubt stays claimed."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(10))
    finish(claims, *await taken(claims), sent=True)
    finish(claims, *await taken(claims), sent=False)
    one, ref = await taken(claims)
    ledger.account.mark_in_doubt(doubt(ref))
    claims.done_with(one)
    await taken(claims)

    await claims.flush()

    assert ledger.writes[-1] == ({0: ((0, 0),)}, {0: ((2, 3),)})


async def test_flush_waits_for_the_write_under_way() -> None:
    """Its messages are freed by the write after it, so that the last word is right."""
    ledger = Ledger()
    ledger.gate.clear()
    claims = claims_of(ledger, lane(10))
    taking = await waiting(claims)
    claims.close()
    flushing = asyncio.ensure_future(claims.flush())
    ledger.gate.set()

    await flushing

    assert await taking is None
    assert ledger.writes == [({}, {0: ((0, 9),)}), ({}, {})]


async def test_flush_raises_if_the_ledger_is_full() -> None:
    """It is the last write."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(10))
    await taken(claims)
    ledger.full = True

    with pytest.raises(StoreError, match="full"):
        await claims.flush()


async def test_nothing_is_handed_out_beyond_the_bound() -> None:
    """So many messages in doubt leave no room for another claim."""
    ledger = Ledger()
    claims = claims_of(ledger, lane(10), in_doubt={5: ((1, MOST_CLAIMED),)})

    assert await claims.take() is None
    assert ledger.writes == []

    ledger.account.mark_sent((5, 1))
    assert (await taken(claims))[1] == (0, 0)
    assert ledger.writes == [({5: ((1, 1),)}, {0: ((0, 0),), 5: ((2, MOST_CLAIMED),)})]


@given(
    counts=st.lists(st.integers(0, 700), min_size=1, max_size=4),
    exclusive=st.booleans(),
    before=st.integers(0, 100),
    concurrency=st.integers(1, 24),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30)
def test_whatever_happens_few_are_claimed_and_each_is_handed_out_once(
    counts: list[int], exclusive: bool, before: int, concurrency: int, seed: int
) -> None:
    """At each message that is out, the last write that returned claims it, with no more than 500 others."""
    asyncio.run(_whatever(counts, exclusive, before, concurrency, random.Random(seed)))  # noqa: S311 - an order


async def _whatever(counts: list[int], exclusive: bool, before: int, concurrency: int, chance: random.Random) -> None:
    ledger = Ledger()
    lanes = [lane(count, partition, exclusive=exclusive) for partition, count in enumerate(counts)]
    claims = claims_of(ledger, *lanes, concurrency=concurrency, in_doubt={9: ((1, before),)} if before else {})
    outcomes: dict[MessageRef, str] = {}
    in_doubt = 0

    async def work() -> None:
        nonlocal in_doubt
        while (found := await claims.take()) is not None:
            one, ref = found
            claimed = ledger.writes[-1][1]
            assert ref not in outcomes
            assert partition_offsets.intersection(claimed, partition_offsets.from_refs([ref]))
            assert ledger.account.unsettled_count <= MOST_CLAIMED
            outcome = chance.choice(["sent", "sent", "sent", "failed", "doubt" if in_doubt < 100 else "sent"])
            outcomes[ref] = outcome
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if outcome == "doubt":
                in_doubt += 1
                ledger.account.mark_in_doubt(doubt(ref))
                claims.done_with(one)
            else:
                finish(claims, one, ref, sent=outcome == "sent")

    await asyncio.gather(*(work() for _ in range(concurrency)))
    await claims.flush()

    assert len(outcomes) == sum(counts)
    assert all(partition_offsets.count(claimed) <= MOST_CLAIMED for _, claimed in ledger.writes)
    done, claimed = ledger.writes[-1]
    assert done == partition_offsets.from_refs(ref for ref, outcome in outcomes.items() if outcome == "sent")
    assert partition_offsets.count(claimed) == before + in_doubt
