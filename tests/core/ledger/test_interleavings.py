"""
Executions of the same and of overlapping plans beside each other, in any order of their reads, writes and posts.

Some are killed, some are paused for longer than a lease and wake up, some stores fail, and clocks are wrong. The topic
knows what really happened, and is the oracle: in doubt is resolved from it, as a perfect search for copies would do.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Call, Flow, Sleep
from airflow_provider_mqs.core.ledger.account import Failure
from airflow_provider_mqs.core.ledger.findings import Finding, union
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING, Owner
from airflow_provider_mqs.core.ledger.session import LedgerSession, session_for
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.exceptions import ReplayInProgressError, StoreError
from tests.core.ledger.stepping import Process, World, let_sleepers_wake
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.core.ledger.resume import History
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition

PLAN, OVERLAP = Plan("orders", {0: ((0, 7),)}), Plan("orders", {0: ((4, 11),)})


class FailingStore(MemoryStore):
    """Fails now and then: before it has written, after it has, or the value arrives much later."""

    def __init__(self, rng: random.Random, probability: float) -> None:
        super().__init__()
        self.rng, self.probability = rng, probability
        self.late: list[tuple[str, Any]] = []

    def get(self, key: str) -> Any | None:
        if self.late and self.rng.random() < 0.05:
            super().set(*self.late.pop())
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        if self.rng.random() >= self.probability:
            return super().set(key, value)
        fate = self.rng.choice(["lost", "written", "late"])
        if fate == "written":
            super().set(key, value)
        if fate == "late":
            self.late.append((key, value))
        raise StoreError("The store fails.")


@dataclass
class Topic:
    """What was really appended, by whom."""

    posts: list[tuple[MessageRef, str]] = field(default_factory=list)
    findings: list[dict[str, Finding]] = field(default_factory=list)
    """What was found out, as soon as it was written."""

    def times(self) -> Counter[MessageRef]:
        return Counter(ref for ref, _ in self.posts)

    def by(self, token: str) -> OffsetsByPartition:
        """Return what one execution has posted."""
        return partition_offsets.from_refs(ref for ref, one in self.posts if one == token)


@dataclass
class Execution:
    """One try of a task that sends its plan as the real one does: claim, write, post, write, close."""

    session: LedgerSession
    topic: Topic
    on_replayed: str
    rng: random.Random

    def flow(self) -> Flow[None]:
        session = self.session
        history = yield from session.open(self.on_replayed)
        account = history.account
        session.begin({0: 20}, first_ms=session.clock.earliest_ms())
        settled_ms = max(history.posts_until_ms.values(), default=0)
        while account.in_doubt and session.clock.earliest_ms() <= settled_ms:
            yield from session.write(state=SENDING, claimed=account.maybe_sent)
            yield Sleep(10, "in doubt")
        settled, findings = self.settle(history)
        changes: Any = {"settled": settled, "findings": findings}
        while remaining := list(islice(partition_offsets.expand(account.remaining), 3)):
            account.claim(remaining)
            yield from session.write(state=SENDING, done=account.take_new_done(), claimed=account.maybe_sent, **changes)
            self.topic.findings.append(findings)
            for ref in remaining:
                while (outcome := (yield Call(partial(self.post, ref)))) == "late":
                    yield from session.write(done=account.take_new_done(), claimed=account.maybe_sent)
                failure = Failure(*ref, "", "", "", unknown=outcome != "refused")
                if outcome == "sent":
                    account.mark_sent(ref)
                elif outcome == "refused":
                    account.mark_failed(failure)
                else:
                    account.mark_in_doubt(failure)
        account.give_up(list(account.in_doubt))
        yield from session.close(
            state=COMPLETE if account.complete else ENDED,
            done=account.take_new_done(),
            claimed=account.maybe_sent,
            until_ms=session.clock.latest_ms(),
            **changes,
        )

    def settle(self, history: History) -> tuple[OffsetsByPartition, dict[str, Finding]]:
        """Find out what became of each message in doubt; return what others had sent, and what was found out."""
        settled: list[MessageRef] = []
        findings: dict[str, Finding] = {}
        past = history.lineage if self.on_replayed == "resend" else history.ledgers
        for ref in list(history.account.in_doubt):
            for ledger in past:
                if not partition_offsets.contains(ledger.claimed, ref):
                    continue
                message = partition_offsets.from_refs([ref])
                posted = (ref, ledger.token) in self.topic.posts
                finding = Finding(sent=message) if posted else Finding(unsent=message)
                findings[ledger.token] = union([findings.get(ledger.token, Finding()), finding])
                if posted:
                    settled.append(ref)
            if ref in settled:
                history.account.mark_sent(ref)
            else:
                history.account.send_again(ref)
        return partition_offsets.from_refs(settled), findings

    def post(self, ref: MessageRef) -> str:
        """Post a message, if it may be posted; the answer may be lost, or say no."""
        if self.session.lease_left_s() <= 0:
            return "late"
        outcome = self.rng.choices(["sent", "lost before", "lost after", "refused"], [20, 1, 1, 1])[0]
        if outcome in ("sent", "lost after"):
            self.topic.posts.append((ref, self.session.ledger.token))
        return outcome


class Story:
    """Some tasks, their tries, and a scheduler that decides what happens next."""

    def __init__(self, rng: random.Random, *, failing: float, stays: float, resend: bool) -> None:
        self.rng, self.stays = rng, stays
        self.world, self.topic = World(), Topic()
        self.stores = [FailingStore(rng, failing) for _ in range(rng.choice([1, 1, 2]))]
        self.tries: Counter[str] = Counter()
        self.modes = ["skip", "resend"] if resend else ["skip"]
        self.processes: dict[str, Process[None]] = {}
        self.started = 0

    def execution(self, task: str, on_replayed: str) -> Execution:
        self.tries[task] += 1
        self.started += 1
        run = {"dag_id": task, "run_id": "r", "task_id": "t", "map_index": -1, "try_number": self.tries[task]}
        token = f"{self.rng.randrange(100):02d}-{task}{self.tries[task]}"
        clock = self.world.clock(wall_ahead_s=self.rng.choice([0, 0, -600, 600]), known=self.rng.random() < 0.8)
        session = session_for(
            OVERLAP if task == "overlap" else PLAN,
            endpoint="h",
            instance_id="i",
            consumer_key=None,
            owner=Owner(token, run, 1),
            stores=self.stores[:1] if task == "other" else self.stores,
            clock=clock,
        )
        return Execution(session, self.topic, on_replayed, self.rng)

    def start(self, task: str) -> None:
        self.processes[task] = Process(self.world, self.execution(task, self.rng.choice(self.modes)).flow())

    def run(self, most: int) -> None:
        """Let things happen until all have ended; one goes on for long stretches, or all change at each step."""
        chosen = None
        old: list[Process[None]] = []
        for _ in range(5_000):
            living = [process for process in (*self.processes.values(), *old) if not process.over]
            if self.started < most and (not living or self.rng.random() < 0.02):
                task = self.rng.choice(["one", "other", "overlap"])
                if task in self.processes:
                    old.append(self.processes[task])
                self.start(task)
                continue
            if not living:
                return
            event = self.rng.random()
            if event < 0.01:
                self.world.now_s += self.rng.choice([1, 30, 50, 130])
            elif event < 0.02:
                self.rng.choice(living).kill()
            elif event < 0.035:
                self.rng.choice(living).wakes_s = self.world.now_s + self.rng.choice([45, 70, 300])
            let_sleepers_wake(self.world, living)
            ready = [process for process in living if process.ready]
            if not ready:
                continue
            if chosen not in ready or self.rng.random() > self.stays:
                chosen = self.rng.choice(ready)
            chosen.step()
            assert chosen.error is None or isinstance(chosen.error, (StoreError, ReplayInProgressError)), chosen.error
        raise AssertionError("it never ends")

    def finish(self, task: str) -> Execution:
        """Run one more try of a task while nobody else is there and the stores work; it always succeeds."""
        for store in self.stores:
            store.probability = 0.0
        last = self.execution(task, "skip")
        last.rng = random.Random(0)  # noqa: S311 - repeatable
        last.rng.choices = lambda *_: ["sent"]  # type: ignore[method-assign]
        self.world.run(last.flow())
        assert last.session.ledger.state == COMPLETE
        return last

    def check_ledgers(self, last: Execution) -> None:
        """Check that each ledger is right about who has posted what, and that nothing that was found out is lost."""
        ledgers = {ledger.token: ledger for ledger in self.world.run(last.session.overlapping())}
        for token, finding in chain.from_iterable(findings.items() for findings in self.topic.findings):
            left = ledgers[token].claimed if token in ledgers else {}
            assert partition_offsets.intersection(left, partition_offsets.union(finding.sent, finding.unsent)) == {}
        done = partition_offsets.union(last.session.ledger.done, *(ledger.done for ledger in ledgers.values()))
        for ledger in ledgers.values():
            in_doubt = partition_offsets.intersection(ledger.claimed, last.session.ledger.planned)
            assert partition_offsets.difference(in_doubt, done) == {}
            posted = self.topic.by(ledger.token)
            assert partition_offsets.difference(ledger.posted, posted) == {}
            assert partition_offsets.difference(posted, ledger.maybe_sent) == {}
            if not ledger.claimed:
                assert ledger.posted == posted


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.0, 0.02]), st.sampled_from([0.0, 0.5, 0.9, 0.98]))
def test_whatever_happens_each_message_is_sent_once(seed: int, failing: float, stays: float) -> None:
    """Nobody sends twice, nothing is lost, and the next try always goes on."""
    story = Story(random.Random(seed), failing=failing, stays=stays, resend=False)  # noqa: S311 - repeatable

    story.run(most=5)
    assert max(story.topic.times().values(), default=0) <= 1
    last = [story.finish(task) for task in ("one", "overlap")]

    assert story.topic.times() == Counter({(0, offset): 1 for offset in range(12)})
    for one in last:
        story.check_ledgers(one)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.0, 0.02]), st.sampled_from([0.0, 0.5, 0.9, 0.98]))
def test_whatever_is_sent_again_in_between_nothing_is_lost(seed: int, failing: float, stays: float) -> None:
    """No ledger calls a message done that the service never had, and the next try always goes on."""
    story = Story(random.Random(seed), failing=failing, stays=stays, resend=True)  # noqa: S311 - repeatable

    story.run(most=5)
    last = story.finish("one")
    story.finish("overlap")

    times = story.topic.times()
    assert set(times) == {(0, offset) for offset in range(12)}
    story.check_ledgers(last)
    for ledger in story.world.run(last.session.overlapping()):
        assert set(partition_offsets.expand(ledger.done)) <= set(times)
