"""The session of a ledger: who may send, who waits, who takes over, and what a failing store does."""

from __future__ import annotations

from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_mqs.core.client.flow import Response
from airflow_provider_mqs.core.ledger import session as session_module
from airflow_provider_mqs.core.ledger.findings import Finding, union
from airflow_provider_mqs.core.ledger.ledger import COMPLETE, ENDED, LEASE_MS, OPENING, SENDING, WAITING, Owner
from airflow_provider_mqs.core.ledger.ledger_reader import LedgerReader
from airflow_provider_mqs.core.ledger.process_identity import ProcessIdentity
from airflow_provider_mqs.core.ledger.session import LedgerSession, session_for
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.exceptions import ConfigurationError, ReplayInProgressError, StoreError
from tests.core.ledger.stepping import Process, World
from tests.support import MemoryStore

PLAN = Plan("orders", {0: ((0, 9),)})
OVERLAP = Plan("orders", {0: ((5, 14),)})


class Sessions:
    """Makes sessions for executions of one world, in one store unless others are given."""

    def __init__(self, *stores: Any) -> None:
        self.world = World()
        self.stores = stores or (MemoryStore(),)

    def make(
        self,
        token: str,
        plan: Plan = PLAN,
        *,
        run: str = "",
        number: int = 1,
        key: str | None = None,
        process: ProcessIdentity | None = None,
        stores: Any = None,
        **clock: Any,
    ) -> LedgerSession:
        """Return the session of a task; of a run of its own, unless ``run`` says which."""
        names = {"dag_id": "d", "run_id": run or token, "task_id": "t", "map_index": -1, "try_number": number}
        made = session_for(
            plan,
            endpoint="h",
            instance_id="i",
            consumer_key=key,
            owner=Owner(token, names, 1, "host", process or ProcessIdentity()),
            stores=self.stores if stores is None else stores,
            clock=self.world.clock(**clock),
        )
        made._started_at = lambda _: None
        return made

    def open(self, token: str, plan: Plan = PLAN, on_replayed: str = "skip", **options: Any) -> LedgerSession:
        """Open the session of a task that is about to send."""
        made = self.make(token, plan, **options)
        self.world.run(made.open(on_replayed))
        made.begin({0: 20}, first_ms=made.clock.earliest_ms())
        return made

    def sending(self, token: str, plan: Plan = PLAN, **options: Any) -> LedgerSession:
        """Open a session and send 0 to 2; 3 and 4 are claimed."""
        made = self.open(token, plan, **options)
        self.world.run(made.write(state=SENDING, claimed={0: ((0, 4),)}))
        self.world.run(made.write(done={0: ((0, 2),)}, claimed={0: ((3, 4),)}))
        return made

    def waiting(self, made: LedgerSession, on_replayed: str = "skip") -> Process[Any]:
        """Let a session open, until it waits for others or is through."""
        process = Process(self.world, made.open(on_replayed))
        while process.ready:
            process.step()
        return process

    def go_on(self, process: Process[Any], seconds: float) -> None:
        """Let a process run for some time."""
        until_s = self.world.now_s + seconds
        while not process.over and process.wakes_s <= until_s:
            self.world.now_s = max(self.world.now_s, process.wakes_s)
            process.step()
        self.world.now_s = max(self.world.now_s, until_s)


def test_a_retry_resumes_and_keeps_what_is_in_doubt() -> None:
    """What the earlier try sent is done; what it had only claimed is in doubt. It waits for nobody."""
    sessions = Sessions()
    sessions.sending("a", run="r")

    history = sessions.world.run(sessions.make("b", run="r", number=2).open("skip"))

    assert (history.account.done, history.account.maybe_sent) == ({0: ((0, 2),)}, {0: ((3, 4),)})
    assert history.is_retry


def test_an_older_try_that_was_overtaken_stops_and_its_next_try_goes_on() -> None:
    """Its next write fails, so it posts nothing more; closing still says what it has sent."""
    sessions = Sessions()
    old = sessions.sending("a", run="r")
    sessions.open("b", run="r", number=2)

    with pytest.raises(StoreError, match=r"taken over by another execution .*try_number 2"):
        sessions.world.run(old.write(claimed={0: ((3, 9),)}))
    assert old.lease_left_s() == 0
    with pytest.raises(StoreError, match="An earlier write"):
        sessions.world.run(old.write())
    with pytest.raises(StoreError, match="taken over"):
        sessions.world.run(old.close(state=ENDED, done={0: ((3, 3),)}, claimed={0: ((4, 4),)}))

    history = sessions.world.run(sessions.make("c", run="r", number=3).open("skip"))
    assert (history.account.done, history.account.maybe_sent) == ({0: ((0, 3),)}, {0: ((4, 4),)})


def test_a_try_that_was_paused_before_it_announced_itself_stops() -> None:
    """A later try has done all the work meanwhile; to send it again would be twice, whatever ``on_replayed`` says."""
    sessions = Sessions()
    first = Process(sessions.world, sessions.make("a", run="r").open("resend"))
    first.step()
    later = sessions.open("b", run="r", number=2)
    sessions.world.now_s += 5
    sessions.world.run(later.close(state=COMPLETE, done={0: ((0, 9),)}))
    sessions.world.now_s += 300
    while not first.over:
        first.step()

    assert "A later try of this task has begun (dag_id d, run_id r, task_id t, try_number 2)" in str(first.error)
    assert sessions.world.run(LedgerReader(sessions.stores).load("a")).state == ENDED


def test_the_tries_of_a_run_that_was_deleted_are_the_past() -> None:
    """Although the new run counts from one again."""
    sessions = Sessions()
    sessions.world.run(sessions.sending("a", run="r", number=2).close(state=COMPLETE, claimed={}))
    sessions.world.now_s += 300

    history = sessions.world.run(sessions.make("b", run="r", number=1).open("skip"))

    assert history.account.already_sent == {0: ((0, 2),)}


@pytest.mark.parametrize("plan", [PLAN, OVERLAP])
def test_a_run_waits_for_one_that_is_sending(plan: Plan) -> None:
    """Then it leaves out what the other has sent."""
    sessions = Sessions()
    first = sessions.sending("b")
    second = sessions.make("a", plan)

    waiting = sessions.waiting(second)
    assert second.ledger.state == WAITING
    for _ in range(20):
        sessions.go_on(waiting, 10)
        sessions.world.run(first.write())
    assert not waiting.over
    sessions.world.run(first.close(state=COMPLETE, done=PLAN.partitions, claimed={}))
    sessions.go_on(waiting, 5)

    assert waiting.result.account.already_sent == partition_offsets.intersection(PLAN.partitions, plan.partitions)
    assert second.ledger.state == OPENING


def test_a_run_waits_for_an_hour_at_most() -> None:
    """It has sent nothing, and is no obstacle for others."""
    sessions = Sessions()
    first = sessions.sending("b")
    second = sessions.make("a")
    waiting = sessions.waiting(second)
    for _ in range(362):
        sessions.go_on(waiting, 10)
        sessions.world.run(first.write())

    assert isinstance(waiting.error, ReplayInProgressError)
    assert second.ledger.state == ENDED


@pytest.mark.parametrize("key", ["", "other"])
def test_another_consumer_or_topic_is_no_rival(key: str) -> None:
    """They have no message in common."""
    sessions = Sessions()
    sessions.sending("a")
    plan = PLAN if key else Plan("bills", {0: ((0, 9),)})

    history = sessions.world.run(sessions.make("b", plan, key=key or None).open("skip"))

    assert (history.account.already_sent, history.account.maybe_sent) == ({}, {})


@pytest.mark.parametrize("gone", ["lease", "process", "unknown clock"])
def test_a_run_that_is_gone_is_taken_over(gone: str) -> None:
    """Its messages are left out, and what it had claimed is in doubt."""
    sessions = Sessions()
    here = ProcessIdentity("boot/ns/host", 4, 2)
    sessions.sending("a", process=here)
    options = {"known": False} if gone == "unknown clock" else {}
    second = sessions.make("b", OVERLAP, process=here._replace(pid=5) if gone == "process" else None, **options)
    waiting = sessions.waiting(second)

    assert waiting.over is (gone == "process")
    sessions.go_on(waiting, 65)
    assert waiting.result.account.maybe_sent == {}
    history = sessions.world.run(sessions.make("c", run="c").preview("skip"))
    assert (history.account.already_sent, history.account.maybe_sent) == ({0: ((0, 2),)}, {0: ((3, 4),)})


@pytest.mark.parametrize("ahead_s", [-86_400, -600, 120, 600, 86_400])
@pytest.mark.parametrize("known", [True, False])
def test_a_wrong_clock_of_a_machine_changes_nothing(ahead_s: float, known: bool) -> None:
    """A living run is waited for, and a dead one is not waited for much longer than its lease."""
    sessions = Sessions()
    first = sessions.sending("b")
    waiting = sessions.waiting(sessions.make("a", wall_ahead_s=ahead_s, known=known))
    for _ in range(30):
        sessions.go_on(waiting, 15)
        sessions.world.run(first.write())
    assert not waiting.over

    sessions.go_on(waiting, 70)
    assert waiting.result.account.done == {}


def test_a_process_id_of_another_namespace_says_nothing() -> None:
    """Two containers may have the same host name and the same process ids."""
    sessions = Sessions()
    sessions.sending("b", process=ProcessIdentity("boot/ns1/host", 4, 2))

    for machine in ("boot/ns2/host", ""):
        waiting = sessions.waiting(sessions.make("a" + machine, process=ProcessIdentity(machine, 4, 2)))
        assert not waiting.over


def test_a_sender_may_post_for_forty_seconds_after_the_start_of_a_write() -> None:
    """A slow store takes its part of them."""
    sessions = Sessions()
    made = sessions.open("a")
    process = Process(sessions.world, made.write(state=SENDING))
    sessions.world.now_s += 5
    while not process.over:
        process.step()

    assert made.lease_left_s() == pytest.approx(35, abs=0.1)
    sessions.world.now_s += 36
    assert made.lease_left_s() == 0


def test_a_machine_that_was_suspended_may_not_post() -> None:
    """Its monotonic clock stood still, but the next answer of the service tells."""
    sessions = Sessions()
    made = sessions.sending("a")
    date_ms = sessions.world.now_ms + 62_000

    made.clock.note(date_ms, date_ms + 1000, made.clock.monotonic(), made.clock.monotonic())

    assert made.lease_left_s() == 0


def test_on_replayed_fail_names_who_sent_it() -> None:
    """The error comes before anything is written."""
    sessions = Sessions()
    sessions.world.run(sessions.sending("a").close(state=COMPLETE, done=PLAN.partitions, claimed={}))
    before = dict(sessions.stores[0].values)

    with pytest.raises(ConfigurationError, match="10 of these messages were sent already"):
        sessions.world.run(sessions.make("b").open("fail"))
    assert sessions.stores[0].values == before


def test_a_refusal_after_waiting_closes_the_ledger() -> None:
    """So it is no obstacle for others."""
    sessions = Sessions()
    first = sessions.open("a")
    second = sessions.make("b")
    waiting = sessions.waiting(second, "fail")
    sessions.world.run(first.write(state=SENDING, claimed={0: ((0, 9),)}))
    sessions.world.run(first.close(state=COMPLETE, done=PLAN.partitions, claimed={}))

    sessions.go_on(waiting, 5)

    assert isinstance(waiting.error, ConfigurationError)
    assert second.ledger.state == ENDED


def test_a_doubt_outlives_a_run_that_sends_everything_again_and_sends_nothing() -> None:
    """Whatever the options of the runs in between."""
    sessions = Sessions()
    first = sessions.open("a")
    sessions.world.run(first.write(state=SENDING, claimed={0: ((3, 3),)}))
    sessions.world.run(first.close(state=ENDED))
    second = sessions.open("b", on_replayed="resend")
    sessions.world.run(second.write(state=SENDING, claimed={0: ((0, 9),)}))
    sessions.world.run(second.close(state=ENDED, claimed={}))

    history = sessions.world.run(sessions.make("c").open("skip"))

    assert (history.account.already_sent, history.account.maybe_sent) == ({}, {0: ((3, 3),)})


def test_a_retry_after_another_run_took_over_goes_on() -> None:
    """A fails in part, B of the same plan sends the rest, and A tries again."""
    sessions = Sessions()
    first = sessions.sending("a", run="r")
    sessions.world.run(first.close(state=ENDED))
    second = sessions.open("b")
    sessions.world.run(second.write(state=SENDING, done={0: ((3, 9),)}))
    sessions.world.run(second.close(state=COMPLETE, claimed={}))

    third = sessions.make("c", run="r", number=2)
    history = sessions.world.run(third.open("skip"))

    assert (history.account.done, history.account.already_sent) == ({0: ((0, 2),)}, {0: ((3, 9),)})
    assert history.account.complete
    sessions.world.run(third.close(state=COMPLETE))


def test_a_store_that_fails_stops_everything_but_closing() -> None:
    """A write that takes effect late can undo nothing then; what was sent meanwhile is in the last one."""
    sessions = Sessions()
    made = sessions.sending("a")
    store = sessions.stores[0]
    kept = store.set
    store.set = lambda *_: (_ for _ in ()).throw(StoreError("full"))

    with pytest.raises(StoreError, match="full"):
        sessions.world.run(made.write(claimed={0: ((5, 9),)}))
    store.set = kept

    assert made.lease_left_s() == 0
    with pytest.raises(StoreError, match="An earlier write"):
        sessions.world.run(made.write(done={0: ((6, 6),)}))
    sessions.world.run(made.close(state=ENDED, done={0: ((3, 3),)}, claimed={0: ((4, 4),)}))
    (ledger,) = sessions.world.run(sessions.make("b").overlapping())
    assert (ledger.state, ledger.done, ledger.claimed) == (ENDED, {0: ((0, 3), (6, 6))}, {0: ((4, 4),)})


@pytest.mark.parametrize("steps", range(4))
def test_what_was_sent_outlives_a_write_that_was_cut_off(steps: int) -> None:
    """It is told once, with the write; so it is in the last one, even if the other never began."""
    sessions = Sessions()
    made = sessions.sending("a")
    cut = made.write(done={0: ((6, 6),)}, findings={"b": Finding(sent={0: ((1, 1),)})})
    for step in range(steps):
        cut.send(None) if step else next(cut)
    cut.close()

    sessions.world.run(made.close(state=ENDED))
    (ledger,) = sessions.world.run(sessions.make("b").overlapping())
    assert ledger.state == ENDED
    assert partition_offsets.contains(ledger.done, (0, 6))


@pytest.mark.parametrize("steps", range(6))
def test_a_claim_is_seen_by_who_takes_over_or_not_posted(steps: int) -> None:
    """Whenever the other one comes between the reads and writes of a claim, with two stores."""
    sessions = Sessions(MemoryStore(), MemoryStore())
    old = sessions.sending("a", run="r")
    claim = Process(sessions.world, old.write(claimed={0: ((3, 6),)}))
    for _ in range(steps):
        if not claim.over:
            claim.step()

    history = sessions.world.run(sessions.make("b", run="r", number=2).open("skip"))
    while not claim.over:
        claim.step()

    seen = history.account.maybe_sent == {0: ((3, 6),)}
    stopped = isinstance(claim.error, StoreError)
    assert seen or stopped
    assert stopped is (old.lease_left_s() == 0)


def test_a_failed_write_that_takes_effect_late_hides_nothing() -> None:
    """What it brings back is in doubt: nothing that it does not claim was posted since."""
    sessions = Sessions()
    made = sessions.sending("a")
    store, late = sessions.stores[0], list[Any]()
    kept = store.set

    def fail(key: str, value: Any) -> None:
        late.append((key, value))
        raise StoreError("timeout")

    store.set = fail
    with pytest.raises(StoreError, match="timeout"):
        sessions.world.run(made.write(claimed={0: ((3, 6),)}))
    store.set = kept
    sessions.world.run(made.close(state=ENDED, done={0: ((3, 3),)}, claimed={0: ((4, 4),)}))

    store.set(*late[0])

    (ledger,) = sessions.world.run(sessions.make("b").overlapping())
    assert (ledger.done, ledger.claimed) == ({0: ((0, 2),)}, {0: ((3, 6),)})
    assert made.lease_left_s() == 0


def test_a_write_that_is_cut_off_is_the_last() -> None:
    """Nobody knows whether it will take effect."""
    sessions = Sessions()
    made = sessions.sending("a")
    flow = made.write()
    next(flow)

    with pytest.raises(RuntimeError, match="being written"):
        sessions.world.run(made.write())
    flow.close()

    assert made.lease_left_s() == 0


def test_without_a_store_nothing_is_remembered() -> None:
    """And nothing of earlier runs is found."""
    sessions = Sessions()
    made = sessions.make("a", stores=())

    assert made.durable is False
    assert sessions.world.run(made.open("skip")).account.already_sent == {}
    sessions.world.run(made.write(state=SENDING, claimed={0: ((0, 0),)}))
    assert made.lease_left_s() == float("inf")
    assert sessions.world.run(made.close(state=COMPLETE)) == {}


def test_much_that_is_done_becomes_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head stays small, and readers find everything."""
    monkeypatch.setattr(session_module, "SEGMENT", 10)
    plan = Plan("orders", {0: tuple((offset, offset) for offset in range(0, 200, 2))})
    left, right = MemoryStore(), MemoryStore()
    sessions = Sessions(left, right)
    made = sessions.open("a", plan)
    sizes = []
    for offset in range(0, 200, 2):
        sessions.world.run(made.write(state=SENDING, done={0: ((offset, offset),)}))
        sizes.append(len(left.values["x-a"]))

    assert made.ledger.done == plan.partitions
    assert max(sizes) < sizes[0] + 200
    for store in (left, right):
        loaded = sessions.world.run(LedgerReader([store]).load("a"))
        assert loaded is not None
        assert (loaded.done, loaded.planned) == (plan.partitions, plan.partitions)


def test_a_segment_that_could_not_be_written_is_written_with_the_next_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """No head counts a segment that is not there."""
    monkeypatch.setattr(session_module, "SEGMENT", 2)
    sessions = Sessions()
    made = sessions.open("a")
    store = sessions.stores[0]
    kept = store.set
    store.set = lambda *_: (_ for _ in ()).throw(StoreError("full"))
    with pytest.raises(StoreError):
        sessions.world.run(made.write(done={0: ((0, 0), (2, 2), (4, 4))}))
    store.set = kept

    sessions.world.run(made.close(state=ENDED, done={0: ((6, 6),)}))

    (ledger,) = sessions.world.run(sessions.make("b").overlapping())
    assert ledger.done == {0: ((0, 0), (2, 2), (4, 4), (6, 6))}


def test_the_newer_of_two_stores_counts() -> None:
    """A crash came between them."""
    left, right = MemoryStore(), MemoryStore()
    sessions = Sessions(left, right)
    made = sessions.sending("a")
    write = made.write(done={0: ((3, 3),)}, claimed={0: ((4, 9),)})
    process = Process(sessions.world, write)
    process.step()

    for stores in ((left, right), (right, left)):
        (ledger,) = sessions.world.run(sessions.make("b", stores=stores).overlapping())
        assert (ledger.done, ledger.claimed) == ({0: ((0, 3),)}, {0: ((4, 9),)})


def test_an_execution_that_only_one_store_knows_is_found() -> None:
    """A command writes into a folder, a task of Airflow 3.3 into that folder and into an asset's store."""
    folder, asset = MemoryStore(), MemoryStore()
    sessions = Sessions()
    for token, plan, stores in (("a", PLAN, (folder,)), ("b", OVERLAP, (asset, folder))):
        made = sessions.open(token, plan, stores=stores)
        sessions.world.run(made.close(state=COMPLETE, done=plan.partitions))

    found = sessions.world.run(sessions.make("c", stores=(asset,)).preview("skip"))
    call = sessions.world.run(sessions.make("d", OVERLAP, stores=(folder,)).preview("skip"))

    assert found.account.already_sent == {0: ((5, 9),)}
    assert call.account.already_sent == OVERLAP.partitions


def test_executions_that_touch_an_interval_are_found_whoever_they_send_to() -> None:
    """Also while they are sending; but not those that had ended before it."""
    sessions = Sessions()
    first = sessions.sending("a", key="k")
    began_ms = sessions.world.now_ms
    mine = sessions.make("m")

    def touching(after_s: int) -> list[str]:
        start_ms = began_ms + after_s * 1000
        return [one.token for one in sessions.world.run(mine.touching(start_ms, start_ms + 1))]

    assert touching(-30) == []
    assert touching(0) == touching(120) == ["a"]
    sessions.world.now_s += 10
    sessions.world.run(first.close(state=COMPLETE, claimed={}, until_ms=sessions.world.now_ms))
    assert touching(5) == ["a"]
    assert touching(11) == []


def test_whoever_reads_a_ledger_reads_what_others_found_out() -> None:
    """Of several finders none loses what another has found; a message that was sent belongs to who has posted it."""
    sessions = Sessions()
    sessions.world.run(sessions.sending("a").close(state=ENDED))
    finders = [sessions.make(name, Plan("orders", {})) for name in "xyz"]
    found = [
        Finding(sent={0: ((3, 3),)}, copies={0: ((30, 31),)}),
        Finding(unsent={0: ((4, 4),)}, missing={0: ((2, 2),)}),
        Finding(copies={0: ((32, 32),)}, whole=True),
    ]
    writes = [
        Process(sessions.world, finder.write(findings={"a": finding}))
        for finder, finding in zip(finders, found, strict=True)
    ]
    while any(not write.over for write in writes):
        sessions.world.now_s += 0.1
        for write in writes:
            if write.ready:
                write.step()

    (ledger,) = sessions.world.run(sessions.make("b").overlapping())

    assert (ledger.posted, ledger.claimed, ledger.missing) == ({0: ((0, 3),)}, {}, {0: ((2, 2),)})
    assert (ledger.copies, ledger.copies_known) == ({0: ((30, 32),)}, True)
    assert sessions.world.run(sessions.make("a").found_by_others()) == union(found)


def test_what_was_found_out_before_costs_nothing() -> None:
    """It is handed over with each write until the end."""
    sessions = Sessions()
    finder, finding = sessions.make("b"), Finding(sent={0: ((3, 4),)})
    sessions.world.run(finder.write(findings={"a": finding}))
    before = len(sessions.stores[0].values)
    sessions.world.run(finder.close(state=ENDED, findings={"a": finding}))

    assert len(sessions.stores[0].values) == before + 1  # the summary of the index


def test_a_finder_with_much_to_write_stays_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ledger is renewed in between, so that nobody takes it for dead."""
    sessions = Sessions()
    finder = sessions.open("b")
    written: list[float] = []
    store = sessions.stores[0]
    put = store.set

    def slow_set(key: str, value: Any) -> None:
        sessions.world.now_s += 2
        put(key, value)
        if key == "x-b":
            written.append(sessions.world.now_s)

    monkeypatch.setattr(store, "set", slow_set)
    finding = Finding(whole=True)
    sessions.world.run(finder.write(findings={f"a{number}": finding for number in range(20)}))

    assert max(later - earlier for earlier, later in pairwise(written)) < LEASE_MS / 2000


def test_an_execution_that_only_settled_has_no_copies_of_its_own() -> None:
    """What it found to be sent is done, and the copies are those of who has posted it."""
    sessions = Sessions()
    sessions.world.run(sessions.sending("a", run="r").close(state=ENDED))
    retry = sessions.open("b", run="r", number=2)
    sent: Any = {0: ((3, 4),)}
    sessions.world.run(
        retry.close(state=ENDED, done=sent, settled=sent, claimed={}, findings={"a": Finding(sent=sent)})
    )

    first, second = sorted(sessions.world.run(sessions.make("c").overlapping()), key=lambda one: one.token)
    history = sessions.world.run(sessions.make("d", run="r", number=3).preview("skip"))

    assert (first.posted, first.claimed) == ({0: ((0, 4),)}, {})
    assert (second.done, second.posted, second.has_copies) == (sent, {}, False)
    assert (history.account.done, history.account.maybe_sent) == ({0: ((0, 4),)}, {})


def test_copies_have_the_times_of_before_and_after_the_clock_of_the_service_was_set() -> None:
    """The ledger covers both, and so does the index."""
    sessions = Sessions()
    made = sessions.sending("a")
    began_ms = sessions.world.now_ms
    sessions.world.run(made.write(until_ms=made.clock.latest_ms()))
    made.clock.note_answer(Response(200, {"date": formatdate(began_ms / 1000 - 600, usegmt=True)}), 0.0, 0.0)
    sessions.world.run(made.close(state=COMPLETE, claimed={}, until_ms=made.clock.latest_ms()))
    other = sessions.make("b")

    def touching(time_ms: int) -> bool:
        return bool(sessions.world.run(other.touching(time_ms, time_ms + 1)))

    assert [touching(began_ms + after_s * 1000) for after_s in (-700, -600, -300, 0, 300)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_doubt_that_was_refuted_is_none_any_more() -> None:
    """The next execution sends the message like any other."""
    sessions = Sessions()
    sessions.world.run(sessions.sending("a").close(state=ENDED))
    unsent = Finding(unsent={0: ((3, 3),)})
    sessions.world.run(sessions.make("b", Plan("orders", {})).write(findings={"a": unsent}))

    account = sessions.world.run(sessions.make("c").preview("skip")).account

    assert (account.remaining, account.maybe_sent) == ({0: ((3, 3), (5, 9))}, {0: ((4, 4),)})


@pytest.mark.parametrize("fenced", [True, False])
def test_a_process_that_has_ended_posts_no_more(*, fenced: bool) -> None:
    """Of others one knows only that their own lease ends; also if somebody else had fenced it before."""
    sessions = Sessions()
    here = ProcessIdentity("boot/ns/host", 7, 11)
    sessions.sending("a", run="r", process=here)
    sessions.world.now_s += 5
    if fenced:
        sessions.world.run(sessions.make("x").fence(sessions.make("a").ledger))
    retry = sessions.make("b", run="r", number=2, process=here._replace(pid=8))

    history = sessions.world.run(retry.open("skip"))

    assert history.posts_until_ms == {"a": retry.clock.latest_ms()}


def test_messages_that_another_execution_sent_unseen_are_named() -> None:
    """It happens only if a store shows old values: both ledgers name them at the end."""
    sessions = Sessions()
    first, second = sessions.open("a"), sessions.make("b")
    store = sessions.stores[0]
    values, store.values = store.values, {}
    sessions.world.run(second.open("skip"))
    # its entry was in the same slot
    store.values = {key.replace("-0-", "-1-"): value for key, value in store.values.items()} | values
    for made in (first, second):
        sessions.world.run(made.write(state=SENDING, claimed={0: ((0, 4),)}))

    doubles = [sessions.world.run(made.close(state=ENDED, done={0: ((0, 4),)}, claimed={})) for made in (first, second)]

    assert doubles == [{0: ((0, 4),)}] * 2
    assert first.ledger.possible_doubles == {0: ((0, 4),)}
    assert first.ledger.done == {0: ((0, 4),)}


def test_one_that_sends_again_afterwards_is_no_double() -> None:
    """It knew what it did."""
    sessions = Sessions()
    first = sessions.sending("a")
    second = sessions.make("b")
    waiting = sessions.waiting(second, "resend")
    close = Process(sessions.world, first.close(state=ENDED))
    while first.ledger.state != ENDED:
        close.step()
    sessions.go_on(waiting, 5)
    sessions.world.run(second.write(state=SENDING, done={0: ((0, 9),)}))
    while not close.over:
        close.step()

    assert close.result == {}


def test_the_index_learns_when_executions_ended() -> None:
    """Also of those that crashed, an hour later."""
    sessions = Sessions()
    sessions.sending("a", OVERLAP, key="k")
    sessions.world.run(sessions.sending("b").close(state=ENDED, claimed={}))
    sessions.world.now_s += 4_000
    sessions.world.run(sessions.open("c").close(state=ENDED))

    index = sessions.make("d")._indexes[0]
    entries = sessions.world.run(index.read())

    assert [entry.until_ms is None for entry in entries] == [False, False, False]
    assert index.without_end() == []
