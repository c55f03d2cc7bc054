"""What the tests of faults share: tasks with a plain context, workers in processes of their own, and their stores."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from typing_extensions import Self

    from airflow_provider_mqs.testing import MqsEmulator

Ref = tuple[int, int]
RESEND = frozenset({"resend"})
_real_monotonic = time.monotonic


def hours_ago(hours: float) -> datetime:
    """Return a moment of the past, in whole milliseconds, by the clock of the test."""
    now = datetime.fromtimestamp(int(time.time() * 1000) / 1000, timezone.utc)
    return now - timedelta(hours=hours)


def until(holds: Callable[[], object], what: str = "what the test waits for", seconds: float = 20.0) -> None:
    """Wait, in real time, for something that another thread or process does."""
    limit = _real_monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert _real_monotonic() < limit, f"{what} has not come"
        pause.wait(0.002)


class TaskInstance(dict[str, Any]):
    """One try of a task, and the XComs that it pushed."""

    def __init__(self, run: str, try_number: int, map_index: int) -> None:
        super().__init__()
        self.dag_id, self.run_id, self.task_id, self.map_index = "dag", run, "resend", map_index
        self.try_number, self.max_tries = try_number, 3

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = value


class StateStore:
    """An accessor of Airflow 3.3's state stores, as ``task_state_store`` is; with ``delay_s``, a slow one."""

    def __init__(self, values: Mapping[str, str] | None = None, delay_s: Callable[[], float] = lambda: 0.0) -> None:
        self.values = dict(values or {})
        self.written = 0  # characters
        self._delay_s = delay_s

    def get(self, key: str) -> Any:
        self._pause()
        return json.loads(self.values.get(key, "null"))

    def set(self, key: str, value: Any, **_: Any) -> None:
        self._pause()
        text = json.dumps(value)
        self.written += len(text)
        self.values[key] = text

    def _pause(self) -> None:
        if seconds := self._delay_s():
            threading.Event().wait(seconds)


@dataclass
class Airflow33:
    """The stores that a task finds in its context on Airflow 3.3; each task instance has one of its own."""

    record: StateStore = field(default_factory=StateStore)
    tasks: dict[str, StateStore] = field(default_factory=dict)

    def context(self, run: str) -> dict[str, Any]:
        everything = type("Everything", (), {"__getitem__": lambda _, __: self.record})()
        return {"asset_state_store": everything, "task_state_store": self.tasks.setdefault(run, StateStore())}


@dataclass(frozen=True)
class Outcome:
    """How a resend ended."""

    report: dict[str, Any]
    error: str = ""  # empty if it ended well
    kinds: tuple[str, ...] = ()  # classes of the error

    @property
    def doubles(self) -> set[Ref]:
        """The messages that the report says may have been sent twice."""
        return expanded(self.report.get("possible_doubles"))

    @property
    def copies(self) -> set[Ref]:
        return expanded(self.report.get("copies"))

    @property
    def sent(self) -> set[Ref]:
        return expanded(self.report.get("sent_ranges"))

    @property
    def ended_well(self) -> bool:
        return not self.error or "AirflowSkipException" in self.kinds


def expanded(ranges: Mapping[str, Iterable[Iterable[int]]] | None) -> set[Ref]:
    """Return the refs that ranges by partition stand for."""
    return {
        (int(partition), offset)
        for partition, pairs in (ranges or {}).items()
        for first, last in pairs
        for offset in range(first, last + 1)
    }


def messages_of_an_hour(mqs: MqsEmulator, partitions: int, count: int) -> Any:
    """Write messages into the hour before the last one, and return the document of a query for them."""
    start, end = hours_ago(2), hours_ago(1)
    mqs.seed("orders", count, start, end, partitions=partitions)
    return query(start, end)


def query(start: datetime, end: datetime | None = None, **arguments: Any) -> Any:
    """Query ``orders``, by default until now."""
    window = {"start": start, "end": end or hours_ago(0)}
    return QueryMessagesOperator(task_id="query", **{"topic": "orders", **window, **arguments}).execute({})


def found(document: Mapping[str, Any]) -> set[Ref]:
    """Return the refs of a query's document."""
    return expanded({number: part["ranges"] for number, part in document["partitions"].items()})


def attempt(
    messages: Any,
    run: str = "run",
    try_number: int = 1,
    *,
    map_index: int = -1,
    airflow: Airflow33 | None = None,
    operator: Callable[[ResendMessagesOperator], object] | None = None,
    **arguments: Any,
) -> Outcome:
    """Run one try of a resend, and return its report whether it fails or not."""
    ti = TaskInstance(run, try_number, map_index)
    context = {"ti": ti, "dag_run": SimpleNamespace(run_type="manual"), **(airflow.context(run) if airflow else {})}
    task = ResendMessagesOperator(task_id="resend", messages=messages, **arguments)
    if operator:
        operator(task)
    try:
        return Outcome(task.execute(context))
    except (Exception, AirflowTaskTimeout) as error:  # noqa: BLE001 - the test looks at it
        kinds = tuple(kind.__name__ for kind in type(error).__mro__)
        return Outcome(ti.get("return_value", {}), str(error), kinds)


class Worker:
    """
    A process of its own that does one thing, as an Airflow worker does; killed at the end of the block.

    :param work: called in the process; its result must be fit for pickle
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        self.pid = os.fork()
        if not self.pid:
            self._live(work, sender)
        sender.close()
        self._receiver = receiver

    @staticmethod
    def _live(work: Callable[[], Any], sender: Any) -> None:
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            sender.send(work())
            code = 0
        except BaseException:  # noqa: BLE001 - the process ends here
            traceback.print_exc()
        finally:
            os._exit(code)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def result(self, seconds: float = 60.0) -> Any:
        """Wait, in real time, for the result."""
        assert self._receiver.poll(seconds), f"the worker has not ended after {seconds} s"
        return self._receiver.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._receiver.close()


@contextmanager
def side_by_side(*works: Callable[[], Any]) -> Iterator[list[Worker]]:
    """Run several workers at once."""
    workers: list[Worker] = []
    try:
        workers += [Worker(work) for work in works]
        yield workers
    finally:
        for worker in workers:
            worker.__exit__()


def sent_by_key(mqs: MqsEmulator) -> dict[str | None, dict[Ref, int]]:
    """Count the copies of each message by the consumer key that they carry."""
    counts: dict[str | None, dict[Ref, int]] = {}
    for one in mqs.resends("orders"):
        key = counts.setdefault(one.consumer_key, {})
        key[one.partition, one.message_offset] = key.get((one.partition, one.message_offset), 0) + 1
    return counts


def copies(mqs: MqsEmulator) -> set[Ref]:
    """Return where the copies are, as the service itself knows it."""
    return {(one.copy_partition, one.copy_offset) for one in mqs.resends("orders")}


def hidden_doubles(mqs: MqsEmulator, *outcomes: Outcome) -> set[Ref]:
    """Return the messages that were sent more than once, and that no report names."""
    named = set[Ref]().union(*(outcome.doubles for outcome in outcomes))
    return {ref for ref, times in mqs.resend_counts("orders").items() if times > 1} - named
