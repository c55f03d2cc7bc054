"""Engine, ledger and verification against the service's log, with a crash between any two steps of any try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airflow_provider_mqs.core.ledger.ledger import COMPLETE
from airflow_provider_mqs.core.ledger.ledger_reader import head_key
from airflow_provider_mqs.emulator.faults import Rule
from tests import virtual_time
from tests.core.resend.virtual_world import COUNT, RESEND, World, now_s, replay_of, virtual_world
from tests.support import MemoryStore

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.flow import Request, Response
    from airflow_provider_mqs.core.resend.replay import Replay

LAST_TRIES = 6


class CrashError(Exception):
    """The process is gone."""


class Life:
    """
    Counts the steps of a try.

    :param steps: so many, then nothing more happens; ``None`` for no end
    :param halfway: whether the last step still happens, and only its outcome is lost
    """

    def __init__(self, steps: int | None, *, halfway: bool) -> None:
        self.left, self.halfway = steps, halfway

    def step(self) -> bool:
        """Return whether the step that comes is the last one, which still happens."""
        if self.left is None:
            return False
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.halfway):
            raise CrashError
        return self.left == 0


class MortalStore(MemoryStore):
    """A store that a dead process neither reads nor writes."""

    life = Life(None, halfway=False)

    def get(self, key: str) -> Any | None:
        last, value = self.life.step(), super().get(key)
        if last:
            raise CrashError
        return value

    def set(self, key: str, value: Any) -> None:
        last = self.life.step()
        super().set(key, value)
        if last:
            raise CrashError


class MortalWorld(World):
    """A world whose process dies before a request, or right after it."""

    life = Life(None, halfway=False)

    async def send(self, request: Request) -> Response:
        last, answer = self.life.step(), await super().send(request)
        if last:
            raise CrashError
        return answer


class Crashes(RuleBasedStateMachine):
    """Tries of one task, each on a bad day of the service, each with a life of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.world = MortalWorld(virtual_world().service, MortalStore())
        self.tries = 0

    @initialize(ordering=st.sampled_from(["partition", "none"]), verify=st.booleans())
    def begin(self, ordering: str, *, verify: bool) -> None:
        self.options: dict[str, Any] = {"ordering": ordering, "verify": verify}

    @rule(
        steps=st.integers(1, 240),
        halfway=st.booleans(),
        fault=st.sampled_from(["timeout_504", "late_504", "lost_504", "drop_after", "throttle_429"]),
        skip=st.integers(0, 30),
        pause_s=st.sampled_from([0, 1, 45, 300]),
    )
    def crash(self, steps: int, fault: str, skip: int, pause_s: int, *, halfway: bool) -> None:
        """Let a try die at some step, or end before it; the next one begins after a pause."""
        self.world.service.state.faults.late_append_s = 20
        setattr(self.world.service.state.faults, fault, Rule(next=1, skip=skip, operations=RESEND))
        self.attempt(Life(steps, halfway=halfway))
        self.world.began_s += pause_s

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        """At any time."""
        assert set(self.sent().values()) <= {1}

    def teardown(self) -> None:
        """Without further crashes each message is sent in the end."""
        if not self.tries:
            return
        self.world.service.state.faults.clear()
        for _ in range(LAST_TRIES):
            replay = self.attempt(Life(None, halfway=False))
            if replay is not None and replay.report.counts.sent == COUNT:
                break
        self.nothing_is_sent_twice()
        assert len(self.sent()) == COUNT
        ledger = self.world.store.get(head_key(f"try {self.tries}")) or {}
        assert (ledger["state"], ledger["claimed"]) == (COMPLETE, {})

    def sent(self) -> dict[tuple[int, int], int]:
        """Count the copies of each message, in the service's own log."""
        found: dict[tuple[int, int], int] = {}
        for one in self.world.service.state.store.resends("orders"):
            ref = one.partition, one.message_offset
            found[ref] = found.get(ref, 0) + 1
        return found

    def attempt(self, life: Life) -> Replay | None:
        self.tries += 1
        self.world.life = MortalStore.life = life

        async def body() -> Replay:
            try:
                replay = replay_of(self.world, number=self.tries, **self.options)
                await replay.run()
            finally:
                self.world.began_s += now_s()
            return replay

        try:
            return virtual_time.run(body())
        except CrashError:
            return None


Crashes.TestCase.settings = settings(max_examples=15, stateful_step_count=5, deadline=None, derandomize=True)
test_crashes = Crashes.TestCase
