"""A message whose outcome nobody knows stays in doubt until it is settled; one that was refused is not sent."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import MqsError, TransportError
from airflow_provider_mqs.hooks.mqs import MqsHook
from tests.faults.actors import (
    RESEND,
    Worker,
    attempt,
    copies,
    found,
    hidden_doubles,
    hours_ago,
    messages_of_an_hour,
    query,
    sent_by_key,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator
    from tests.faults.clocks import Clock

COUNT = 12


def messages_of(mqs: MqsEmulator, partitions: int = 2, count: int = COUNT) -> Any:
    return messages_of_an_hour(mqs, partitions, count)


def every(mqs: MqsEmulator, document: Any, times: int = 1) -> bool:
    return mqs.resend_counts("orders") == dict.fromkeys(found(document), times)


@pytest.mark.parametrize("consumer_key", [None, "key-a"])
@pytest.mark.parametrize("between", ["resend", "skip", "fail"])
@pytest.mark.parametrize(("partitions", "ordering"), [(2, "partition"), (3, "none")])
def test_a_message_in_doubt_is_still_in_doubt_after_a_run_that_could_not_settle_it(
    mqs: MqsEmulator, tmp_path: Path, between: str, partitions: int, ordering: str, consumer_key: str | None
) -> None:
    """Its POST was cut off and did nothing, the next run was refused everything, and the third sends it."""
    messages = messages_of(mqs, partitions)
    common = {"ordering": ordering, "consumer_key": consumer_key, "ledger_path": str(tmp_path), "verify_wait": 0.3}
    mqs.faults.drop_before = Rule(next=1, only=frozenset({(1, 0)}), operations=RESEND)
    first = attempt(messages, "first", on_unknown="fail", on_failure="continue", **common)
    assert (first.report["sent"], first.report["unknown"]) == (COUNT - 1, 1)
    mqs.faults.error_400 = Rule(probability=1, operations=RESEND)
    attempt(messages, "second", on_replayed=between, **common)
    mqs.faults.clear()

    third = attempt(messages, "third", **common)

    assert third.ended_well, third.error
    assert (third.report["already_sent"], third.report["sent"]) == (COUNT - 1, 1)
    assert every(mqs, messages)


def test_a_doubt_of_another_run_whose_copy_is_there_is_not_sent_again(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The answer was lost after the append."""
    messages = messages_of(mqs)
    mqs.faults.drop_after = Rule(next=1, only=frozenset({(1, 0)}), operations=RESEND)
    common = {"ledger_path": str(tmp_path), "verify_wait": 0.3}
    attempt(messages, "first", on_unknown="fail", on_failure="continue", **common)

    second = attempt(messages, "second", **common)

    assert second.ended_well, second.error
    assert every(mqs, messages)


@pytest.mark.parametrize("failed_tries", [1, 2])
@pytest.mark.parametrize("store", ["folder", "airflow"])
def test_a_run_goes_on_after_another_run_has_taken_over_and_ended(
    mqs: MqsEmulator, tmp_path: Path, store: str, failed_tries: int
) -> None:
    """Run A fails half-way, run B sends the rest, and A's retry has nothing to do."""
    stores = _stores(store, tmp_path)
    messages = messages_of(mqs)
    for number in range(1, failed_tries + 1):
        mqs.faults.error_400 = Rule(probability=1, only=frozenset({(0, 3)}), operations=RESEND)
        assert attempt(messages, "a", number, **stores).report["failed"] == 1
    mqs.faults.clear()
    assert attempt(messages, "b", **stores).ended_well

    again = attempt(messages, "a", failed_tries + 1, **stores)

    assert again.ended_well, again.error
    assert every(mqs, messages)


@pytest.mark.parametrize("store", ["folder", "airflow"])
def test_two_runs_that_fail_in_turn_come_to_an_end(mqs: MqsEmulator, tmp_path: Path, store: str) -> None:
    """Each takes over from the other, again and again, and none is locked out."""
    stores = _stores(store, tmp_path)
    messages = messages_of(mqs)
    mqs.faults.error_400 = Rule(probability=1, only=frozenset({(0, 1), (1, 2)}), operations=RESEND)
    for number in (1, 2):
        for run in ("a", "b"):
            outcome = attempt(messages, run, number, **stores)
            assert outcome.report["failed"] >= 1, outcome
    mqs.faults.clear()

    ends = [attempt(messages, run, 3, **stores) for run in ("b", "a")]

    assert [end.error for end in ends if not end.ended_well] == []
    assert every(mqs, messages)


def _stores(store: str, folder: Path) -> dict[str, Any]:
    from airflow_provider_mqs.tasks.stores import HAS_STATE_STORES
    from tests.faults.actors import Airflow33

    if store == "folder":
        return {"ledger_path": str(folder)}
    if not HAS_STATE_STORES:
        pytest.skip("Airflow before 3.3 has no state stores")
    return {"airflow": Airflow33()}


@pytest.mark.parametrize("ordering", ["partition", "none"])
@pytest.mark.parametrize("first", [0, 2])
def test_a_partition_that_is_read_late_does_not_make_a_message_unsent(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], ordering: str, first: int
) -> None:
    """Its copy is there, only not to be seen for longer than the wait; what is seen elsewhere proves nothing."""
    hurry(20)
    messages = messages_of(mqs)
    mqs.faults.update({"visible_after_s": 6, "visible_after_partitions": [1]})
    mqs.faults.drop_after = Rule(next=1, only=frozenset({(1, first)}), operations=RESEND)

    outcome = attempt(messages, ordering=ordering, verify_wait=3, ledger_path=str(tmp_path))

    assert hidden_doubles(mqs, outcome) == set()
    assert not outcome.ended_well or every(mqs, messages)


def test_a_retry_without_a_ledger_sends_nothing_or_names_what_it_may_send_twice(mqs: MqsEmulator) -> None:
    """The first try was killed after its last POST."""
    messages = messages_of(mqs)
    mqs.faults.visible_after_s = 60
    with Worker(lambda: attempt(messages, try_number=1, durable=False)) as worker:
        until(lambda: len(mqs.resends("orders")) == COUNT)
        worker.signal(signal.SIGKILL)
        os.waitpid(worker.pid, 0)
    mqs.faults.visible_after_s = 0

    retry = attempt(messages, try_number=2, durable=False, verify_wait=0.3)

    assert hidden_doubles(mqs, retry) == set()
    assert retry.doubles or "durable" in retry.error


@pytest.mark.parametrize("form", ["error_code", "errorCode", "nested"])
@pytest.mark.parametrize("code", ["MQS.00400062", "MQS.00500000", "XYZ.9", 500], ids=str)
def test_an_error_with_status_200_is_no_success(mqs: MqsEmulator, tmp_path: Path, code: str | int, form: str) -> None:
    """Nothing was appended, although the status says that all is well; nothing is looked for at the end."""
    messages = messages_of(mqs)
    mqs.behave(error_form=form)
    mqs.faults.update({"error_200": {"next": 1, "operations": ["resend"]}, "error_200_code": code})
    arguments = {"verify": False, "on_unknown": "fail", "on_failure": "continue", "ledger_path": str(tmp_path)}

    report = attempt(messages, **arguments).report

    assert (report["sent"], report["failed"] + report["unknown"]) == (COUNT - 1, 1)
    assert report["failed"] == 0 or code == "MQS.00400062", "nobody can know that nothing was done"


@pytest.mark.parametrize("name", ["error_200", "error_200_after"])
def test_a_message_whose_answer_was_an_error_with_status_200_is_sent_once(
    mqs: MqsEmulator, tmp_path: Path, name: str
) -> None:
    """Its copy is looked for, and it is sent again only if there is none."""
    messages = messages_of(mqs)
    mqs.faults.update({name: {"next": 1, "skip": 4, "operations": ["resend"]}})

    outcome = attempt(messages, ordering="none", concurrency=2, verify_wait=0.3, ledger_path=str(tmp_path))

    assert outcome.ended_well, outcome.error
    assert every(mqs, messages)


def test_the_hook_raises_for_an_error_with_status_200(mqs: MqsEmulator) -> None:
    """A single call has no ledger, so its caller must know."""
    messages_of(mqs)
    mqs.faults.error_200 = Rule(next=1, operations=RESEND)

    with MqsHook() as hook, pytest.raises(MqsError):
        hook.resend("orders", 0, 0)


@pytest.mark.parametrize("numbers", ["text", "float"])
def test_an_answer_with_numbers_in_another_form_says_that_the_message_was_sent(
    mqs: MqsEmulator, tmp_path: Path, numbers: str
) -> None:
    """It names the message that was asked for."""
    messages = messages_of(mqs)
    mqs.behave(echo_numbers=numbers)

    outcome = attempt(messages, verify=False, on_unknown="fail", ledger_path=str(tmp_path))

    assert (outcome.error, outcome.report["sent"]) == ("", COUNT)
    with MqsHook() as hook:
        hook.resend("orders", 0, 0)


def test_an_answer_that_names_another_message_proves_nothing(mqs: MqsEmulator, tmp_path: Path) -> None:
    """The message is in doubt."""
    messages = messages_of(mqs)
    mqs.faults.other_echo = Rule(next=1)

    report = attempt(messages, verify=False, on_unknown="fail", on_failure="continue", ledger_path=str(tmp_path)).report

    assert (report["sent"], report["unknown"]) == (COUNT - 1, 1)
    mqs.faults.other_echo = Rule(next=1)
    with MqsHook() as hook, pytest.raises((MqsError, TransportError)):
        hook.resend("orders", 0, 0)


@pytest.mark.parametrize("kind", ["throttle_429", "throttle_404"])
@pytest.mark.parametrize("rule", [Rule(probability=0.3, operations=RESEND), Rule(next=40, skip=3, operations=RESEND)])
def test_throttling_never_uses_up_the_tries_of_a_message(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], kind: str, rule: Rule
) -> None:
    """What is throttled was not executed, so it waits as long as the task may."""
    hurry(50)
    messages = messages_of(mqs, count=30)
    mqs.faults.update({kind: rule, "retry_after_s": None})

    outcome = attempt(messages, ledger_path=str(tmp_path))

    assert outcome.ended_well, outcome.error
    assert (outcome.report["failed"], outcome.report["unknown"]) == (0, 0)
    assert every(mqs, messages)


@pytest.mark.parametrize("ordering", ["partition", "none"])
@pytest.mark.parametrize("crash_after", [3, 8])
def test_a_resend_that_was_killed_goes_on_with_its_next_try(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], crash_after: int, ordering: str
) -> None:
    """All its messages were claimed, so each that has no copy is in doubt until the lease of the killed try is over."""
    hurry(20)
    messages = messages_of(mqs)
    common = {"ledger_path": str(tmp_path), "verify_wait": 5, "ordering": ordering}
    mqs.faults.update({"latency_s": 1, "latency_operations": ["resend"]})
    with Worker(lambda: attempt(messages, try_number=1, concurrency=2, **common)) as worker:
        until(lambda: len(mqs.resends("orders")) >= crash_after)
        worker.signal(signal.SIGKILL)
        os.waitpid(worker.pid, 0)
    mqs.faults.clear()

    retry = attempt(messages, try_number=2, **common)

    assert retry.ended_well, retry.error
    assert every(mqs, messages)


@pytest.mark.parametrize("crash_after", [4, COUNT])
def test_a_resend_that_was_killed_knows_all_copies_after_its_retry(
    mqs: MqsEmulator, tmp_path: Path, hurry: Callable[[float], Clock], crash_after: int
) -> None:
    """Everything had been sent before, and was to be sent again; a later query leaves out both copies of each."""
    hurry(8)
    start = hours_ago(0)
    messages = messages_of(mqs)
    common = {"ledger_path": str(tmp_path), "verify_wait": 20, "ordering": "none"}
    assert attempt(messages, "first", **common).ended_well
    mqs.faults.update({"latency_s": 1, "latency_operations": ["resend"], "visible_after_s": 10})
    with Worker(lambda: attempt(messages, "second", 1, on_replayed="resend", concurrency=2, **common)) as worker:
        until(lambda: len(mqs.resends("orders")) >= COUNT + crash_after)
        worker.signal(signal.SIGKILL)
        os.waitpid(worker.pid, 0)
    mqs.faults.clear()

    retry = attempt(messages, "second", 2, on_replayed="resend", **common)
    later = query(start, ledger_path=str(tmp_path))

    assert retry.ended_well, retry.error
    assert hidden_doubles(mqs, retry) <= found(messages)
    assert every(mqs, messages, 2)
    assert (later["complete"], found(later) & copies(mqs)) == (True, set())


def test_a_file_of_the_ledger_survives_a_power_cut(
    mqs: MqsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is synced after the file was renamed in it, since the name is stored there."""
    folder = tmp_path / "ledger"
    flushed, renamed, sync, replace = set[str](), set[str](), os.fsync, os.replace

    def fsync(handle: int) -> None:
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        if path == str(folder):
            renamed.clear()
        flushed.add(path)
        sync(handle)

    def rename(old: str, new: str) -> None:
        replace(old, new)
        renamed.add(str(new))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)

    assert attempt(messages_of(mqs), ledger_path=str(folder)).ended_well
    assert str(folder) in flushed
    assert renamed == set()


@pytest.mark.parametrize("ordering", ["partition", "none"])
def test_both_consumers_get_each_message_once_although_one_was_cut_off(
    mqs: MqsEmulator, tmp_path: Path, ordering: str
) -> None:
    """Two resends of one plan side by side: the copy that went to one consumer is no proof for the other."""
    messages = messages_of(mqs)
    mqs.faults.drop_before = Rule(next=1, only=frozenset({(0, 3)}), operations=RESEND)
    common = {"ledger_path": str(tmp_path), "verify_wait": 1, "ordering": ordering}
    slow = {"consumer_key": "b", "concurrency": 1, "max_rate": 20, **common}
    with Worker(lambda: attempt(messages, "b", **slow)) as worker:
        until(lambda: any(line.fault == "drop_before" for line in mqs.requests("resend")))
        a = attempt(messages, "a", consumer_key="a", **common)
        b = worker.result()

    assert (a.error, b.error) == ("", "")
    once = dict.fromkeys(found(messages), 1)
    assert sent_by_key(mqs) == {"a": once, "b": once}
