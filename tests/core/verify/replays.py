"""Replays of a topic of the local service, and what each knows of itself; the clock moves only when something waits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.verify.evidence import Evidence
from airflow_provider_mqs.core.verify.executions import Execution
from airflow_provider_mqs.core.verify.last_offsets import find_last_offsets
from airflow_provider_mqs.core.verify.prove import Finding, most_contents, most_pages, prove
from airflow_provider_mqs.core.verify.settle import Doubt, Settled, settle
from airflow_provider_mqs.core.verify.source_messages import SourceMessages
from airflow_provider_mqs.emulator.store import Topic
from tests.support import START_MS, Local, local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef

WAIT_S = 30.0


@dataclass
class Sent:
    """One execution: it posts messages, and remembers what became of them."""

    topic: Orders
    token: str
    execution: Execution
    times: bool = True
    """Whether it knows when each message was posted."""
    continues: Sequence[Sent] = ()
    """The executions whose messages in doubt are its own."""

    def post(self, *refs: MessageRef, known: bool = True, sent: bool = True, took_s: float = 0.004) -> Sent:
        """Post messages one after the other; ``sent`` if the service does it, ``known`` if it says so."""
        client = self.topic.client
        for ref in refs:
            asked_ms = client.now_s[0] * 1000
            client.now_s[0] += took_s / 2
            if sent:
                client.run(client.api.resend("orders", *ref))
            client.now_s[0] += took_s / 2
            one = frozenset([ref])
            now_ms = client.now_s[0] * 1000
            posted = {**self.execution.posted_ms, ref: (asked_ms, now_ms)} if self.times else {}
            old = self.execution.sent if known else self.execution.open
            new = partition_offsets.union(old, partition_offsets.from_refs(one))
            changes: dict[str, Any] = {"sent" if known else "open": new, "posted_ms": posted}
            self.execution = replace(self.execution, last_ms=round(now_ms) + 1, **changes)
        return self

    def finding(self, wait_s: float = WAIT_S) -> Finding:
        """Look for the copies of this one alone, among those of all others."""
        return self.topic.proven(self, wait_s=wait_s)

    def settled(self, *refs: MessageRef, wait_s: float = WAIT_S, evidence: Evidence | None = None) -> Settled:
        """Settle messages in doubt."""
        topic = self.topic
        evidence = evidence or topic.evidence(self)
        doubts = {}
        for ref in refs:
            first_ms, last_ms = self.execution.posted_ms.get(ref, (self.execution.first_ms, self.execution.last_ms))
            first_ms = min([first_ms, *(one.execution.first_ms for one in self.continues)])
            doubts[ref] = Doubt(
                int(first_ms), int(last_ms) + 1, frozenset([self.token, *(one.token for one in self.continues)])
            )
        topic.client.requests.clear()
        wait_ms = round(wait_s * 1000)
        flow = settle(
            evidence,
            lambda: [self.execution, *(one.execution for one in self.continues)],
            topic.touching,
            doubts,
            wait_ms=wait_ms,
            offset_ms=0.0,
            longer_ms=wait_ms,
        )
        return topic.client.run(flow)


@dataclass
class Orders:
    """A topic with messages, and the executions that sent some of them again."""

    client: Local = field(default_factory=local)
    sent: list[Sent] = field(default_factory=list)
    counts: tuple[int, ...] = ()

    def seed(self, *counts: int, key: str = "k", value: str = "value {}") -> Orders:
        """Write so many messages into each partition."""
        self.client.state.store.put_topic(Topic("orders", len(counts), 10_000))
        self.counts = counts
        for partition, count in enumerate(counts):
            for offset in range(count):
                self.produce(
                    partition, value.format(f"{partition}-{offset:04}"), key=key, timestamp_ms=START_MS + offset
                )
        return self

    def produce(self, partition: int, value: str, **more: Any) -> None:
        self.client.state.append("orders", partition, value, **more)

    def begin(self, token: str = "A", *, times: bool = True, **changes: Any) -> Sent:  # noqa: S107
        """Begin to send: note the last offsets and the time."""
        client = self.client
        plan = {partition: ((0, count - 1),) for partition, count in enumerate(self.counts)}
        marks = client.run(find_last_offsets(client.api, "orders", plan))
        now_ms = round(client.now_s[0] * 1000)
        changes = {"span_ms": (START_MS, START_MS + 10_000), **changes}
        execution = Execution(token, {}, now_ms, now_ms, last_offsets=marks, name=f"run {token}", **changes)
        self.sent.append(Sent(self, token, execution, times))
        return self.sent[-1]

    def touching(self, start_ms: int, end_ms: int) -> Flow[list[Execution]]:
        yield from ()
        return [one.execution for one in self.sent if one.execution.touches(start_ms, end_ms)]

    def evidence(self, *targets: Sent) -> Evidence:
        executions = [one.execution for one in targets]
        sources = SourceMessages(self.client.api, Plan("orders", {}))
        return Evidence(self.client.api, "orders", sources, most_pages(executions), most_contents(executions))

    def proven(self, *targets: Sent, wait_s: float = WAIT_S) -> Finding:
        """Prove the copies of some executions, counting the requests of that."""
        self.client.requests.clear()
        executions = [one.execution for one in targets]
        return self.client.run(prove(self.client.api, "orders", executions, self.touching, wait_s=wait_s))

    def copies_of(self, *refs: MessageRef) -> set[MessageRef]:
        """Return the copies that the service has made of some messages."""
        return {
            (one.partition, one.copy_offset)
            for one in self.client.state.store.resends("orders")
            if (one.partition, one.message_offset) in refs
        }

    @property
    def contents_read(self) -> int:
        return sum("download=true" in request.url for request in self.client.requests)

    @property
    def waited_s(self) -> float:
        return sum(sleep.seconds for sleep in self.client.sleeps)


def refs(partition: int, *offsets: int) -> list[MessageRef]:
    return [(partition, offset) for offset in offsets]


def expanded(offsets: Any) -> set[MessageRef]:
    return set(partition_offsets.expand(offsets))
