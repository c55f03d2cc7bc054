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
from itertools import islice
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Call, Flow, Sleep
from airflow_provider_mqs.core.ledger.account import Failure
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, SENDING, Owner
from airflow_provider_mqs.core.ledger.session import LedgerSession, session_for
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.exceptions import ReplayInProgressError, StoreError
from tests.core.ledger.stepping import Process, World, let_sleepers_wake
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef

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

    def times(self) -> Counter[MessageRef]:
        return Counter(ref for ref, _ in self.posts)


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
        by = {ledger.token for ledger in history.ledgers}
        if self.on_replayed == "resend":
            by = {ledger.token for ledger in history.lineage}
        for ref in list(account.in_doubt):
            if any((ref, one) in self.topic.posts for one in by):
                account.mark_sent(ref)
            else:
                account.send_again(ref)
        while remaining := list(islice(partition_offsets.expand(account.remaining), 3)):
            account.claim(remaining)
            yield from session.write(state=SENDING, done=account.take_new_done(), claimed=account.maybe_sent)
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
        )

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


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.0, 0.02]), st.sampled_from([0.0, 0.5, 0.9, 0.98]))
def test_whatever_happens_each_message_is_sent_once(seed: int, failing: float, stays: float) -> None:
    """Nobody sends twice, nothing is lost, and the next try always goes on."""
    story = Story(random.Random(seed), failing=failing, stays=stays, resend=False)  # noqa: S311 - repeatable

    story.run(most=5)
    assert max(story.topic.times().values(), default=0) <= 1
    for task in ("one", "overlap"):
        story.finish(task)

    assert story.topic.times() == Counter({(0, offset): 1 for offset in range(12)})


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
    for ledger in story.world.run(last.session.overlapping()):
        assert set(partition_offsets.expand(ledger.done)) <= set(times)
