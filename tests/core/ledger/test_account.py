"""The account of a resend: every message is in one state, and the counts add up at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_mqs.core.ledger.account import Account, Failure
from airflow_provider_mqs.core.offsets import partition_offsets

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

PLANNED: OffsetsByPartition = {0: ((0, 9),), 1: ((0, 4), (8, 9))}
SETS = st.sets(st.sampled_from(sorted(partition_offsets.expand(PLANNED))))


def failure(ref: MessageRef, *, unknown: bool = False) -> Failure:
    return Failure(*ref, "", "HTTP 504", "", unknown=unknown)


class States(RuleBasedStateMachine):
    """Every transition on any message that may make it, next to a table of what state each message is in."""

    @initialize(done=SETS, others=SETS, in_doubt=SETS)
    def begin(self, done: set[MessageRef], others: set[MessageRef], in_doubt: set[MessageRef]) -> None:
        in_doubt -= done | others
        others -= done
        self.account = Account(
            PLANNED,
            done=partition_offsets.from_refs(done),
            already_sent=partition_offsets.from_refs(others),
            in_doubt=[failure(ref, unknown=True) for ref in in_doubt],
        )
        self.states = dict.fromkeys(partition_offsets.expand(PLANNED), "not attempted")
        self.states |= dict.fromkeys(done, "done")
        self.states |= dict.fromkeys(others, "already sent")
        self.states |= dict.fromkeys(in_doubt, "in doubt")
        self.once_in_doubt = in_doubt
        self.sent: set[MessageRef] = set()
        self.taken: set[MessageRef] = set()

    def pick(self, data: Any, *states: str) -> MessageRef:
        found: MessageRef = data.draw(st.sampled_from(self.refs(*states)))
        return found

    def refs(self, *states: str) -> list[MessageRef]:
        return [ref for ref, state in self.states.items() if state in states]

    @rule()
    def read(self) -> None:
        """Reading changes nothing."""
        assert str(len(self.states)) in str(self.account.counts)

    @precondition(lambda self: self.refs("not attempted"))
    @rule(data=st.data())
    def claim(self, data: Any) -> None:
        refs = data.draw(st.lists(st.sampled_from(self.refs("not attempted")), unique=True))
        self.account.claim(refs)
        self.states |= dict.fromkeys(refs, "claimed")

    @precondition(lambda self: self.refs("claimed"))
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        ref = self.pick(data, "claimed")
        self.account.release([ref])
        self.states[ref] = "not attempted"

    @precondition(lambda self: self.refs("claimed", "in doubt"))
    @rule(data=st.data())
    def mark_sent(self, data: Any) -> None:
        ref = self.pick(data, "claimed", "in doubt")
        self.account.mark_sent(ref)
        self.sent.add(ref)
        self.states[ref] = "done"

    @precondition(lambda self: self.refs("claimed"))
    @rule(data=st.data())
    def mark_failed(self, data: Any) -> None:
        ref = self.pick(data, "claimed")
        self.account.mark_failed(failure(ref))
        self.states[ref] = "failed"

    @precondition(lambda self: self.refs("claimed"))
    @rule(data=st.data())
    def mark_in_doubt(self, data: Any) -> None:
        ref = self.pick(data, "claimed")
        self.account.mark_in_doubt(failure(ref, unknown=True))
        self.once_in_doubt.add(ref)
        self.states[ref] = "in doubt"

    @precondition(lambda self: self.refs("in doubt"))
    @rule(data=st.data())
    def send_again(self, data: Any) -> None:
        ref = self.pick(data, "in doubt")
        self.account.send_again(ref)
        self.states[ref] = "not attempted"

    @rule()
    def take(self) -> None:
        """What was sent is handed out once."""
        new = set(partition_offsets.expand(self.account.take_new_done()))
        assert new == self.sent - self.taken
        self.taken |= new

    @precondition(lambda self: self.refs("in doubt"))
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        ref = self.pick(data, "in doubt")
        self.account.give_up([ref])
        self.states[ref] = "unknown"

    @invariant()
    def every_set_holds_the_messages_of_its_state(self) -> None:
        """No message is in two states, and none is lost."""
        account = self.account

        def of(*states: str) -> OffsetsByPartition:
            return partition_offsets.from_refs(self.refs(*states))

        assert account.done == of("done")
        assert account.already_sent == of("already sent")
        assert account.unsettled_count == len(self.refs("claimed", "in doubt", "unknown"))
        assert account.remaining == of("not attempted")

    @invariant()
    def a_doubt_is_not_forgotten(self) -> None:
        """What was claimed or in doubt may have been sent, whatever has become of it since, until it is done."""
        doubtful = self.once_in_doubt - set(self.refs("done"))
        assert self.account.maybe_sent == partition_offsets.from_refs({*self.refs("claimed"), *doubtful})
        assert {*self.refs("in doubt", "unknown")} <= doubtful

    @invariant()
    def counts_add_up(self) -> None:
        """What was requested is the sum of the other counts."""
        account, counts = self.account, self.account.counts
        assert (counts.sent, counts.failed, counts.unknown) == (
            len(self.refs("done")),
            len(self.refs("failed")),
            len(self.refs("unknown")),
        )
        assert counts.already_sent == len(self.refs("already sent"))
        assert counts.not_attempted == len(self.refs("not attempted", "claimed", "in doubt"))
        assert counts.requested == len(self.states)
        assert account.sent_now == len(self.sent)
        assert account.complete is (not self.refs("not attempted", "claimed", "in doubt", "failed", "unknown"))
        assert [one.ref for one in account.failures] == list(dict.fromkeys(one.ref for one in account.failures))
        assert {one.ref for one in account.failures} == set(self.refs("failed", "unknown"))


States.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_states = States.TestCase


def test_noting_a_message_joins_no_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs the same, however many were sent; the reader of the ranges pays for joining them, once."""
    account = Account({0: ((0, 999),)})
    with monkeypatch.context() as patch:
        patch.setattr(partition_offsets, "union", lambda *_: pytest.fail("joined ranges"))
        patch.setattr(partition_offsets, "from_refs", lambda *_: pytest.fail("made ranges"))
        for offset in range(900):
            account.claim([(0, offset)])
            account.mark_sent((0, offset))
        assert (account.counts.sent, account.unsettled_count) == (900, 0)

    assert account.done == {0: ((0, 899),)}
