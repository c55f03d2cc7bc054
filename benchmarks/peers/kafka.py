"""``AwaitMessageSensor`` of the Apache Kafka provider, on librdkafka's mock cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import ROOT
from benchmarks.peers.cases import BODY
from benchmarks.peers.peer import Peer

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import Self

    from benchmarks.peers.cases import Case
    from benchmarks.peers.task import Ending


class Kafka(Peer):
    """The sensor; each case has a topic and a group of its own."""

    name = "AwaitMessageSensor"
    package = "apache-airflow-providers-apache-kafka"
    service = (
        "librdkafka's mock cluster in a process of its own: Kafka's protocol on 127.0.0.1, no real broker; "
        "for the errors 500 that process is stopped (SIGSTOP), so that nothing answers"
    )
    modes = ("deferred",)
    slack_s = 4.0  # a group waits three seconds for more members before it reads, here as at a real broker
    after = frozenset({"xcom_push_key"})
    not_run = {  # noqa: RUF012 - not changed
        "denied": "the mock cluster has no access control",
        "login": "the mock cluster has no login",
    }

    def __enter__(self) -> Self:
        self._broker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.broker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._broker.stdout is not None
        self._address = self._broker.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.send_signal(signal.SIGCONT)
        self._broker.communicate(timeout=20)

    def begin(self, case: Case) -> None:
        """Name a topic and a group, and make the topic."""
        self._topic, self._group = uuid.uuid4().hex, uuid.uuid4().hex
        extra = {
            "bootstrap.servers": self._address,
            "group.id": self._group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        if case.restart or case.twice:
            # the newer protocol of groups: with the default one, no second consumer gets into a group of this cluster
            extra["group.protocol"] = "consumer"
        self.set_connection("KAFKA_DEFAULT", {"conn_type": "kafka", "extra": extra})
        self.put(case, 0)

    def put(self, case: Case, count: int, moment: datetime | None = None) -> None:
        """Write messages to one partition; their time is theirs to say, but nobody reads it."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self._address})
        producer.list_topics(self._topic, timeout=10)  # which makes it
        known = case.interval[0] if moment is None else moment
        for _ in range(count):
            producer.produce(self._topic, BODY, partition=0, timestamp=int(known.timestamp() * 1000))
        assert producer.flush(10) == 0

    def fail(self, status: int) -> None:
        """Stop the broker's process, or let it go on."""
        self._broker.send_signal(signal.SIGCONT if status == 200 else signal.SIGSTOP)  # noqa: PLR2004 - HTTP's

    def left(self) -> dict[str, int]:
        """Count what this group can still read, and what any other can."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self._address, "group.id": self._group})
        place = TopicPartition(self._topic, 0)
        try:
            first, end = consumer.get_watermark_offsets(place, timeout=10)
            (committed,) = consumer.committed([place], timeout=10)
        finally:
            consumer.close()
        return {"same group": end - max(first, committed.offset), "messages": end - first}

    def times(self) -> list[float]:
        """Give nothing: what a mock cluster is asked cannot be counted."""
        return []

    def seen(self, ending: Ending) -> int | None:
        """Count the message that was pushed."""
        return 1 if ending.xcom.get("return_value") else 0

    def sensor(self, case: Case, mode: str, **arguments: Any) -> Any:
        """Make it."""
        from airflow.providers.apache.kafka.sensors.kafka import AwaitMessageSensor

        topic = "unknown-" + self._topic if case.name == "unknown" else self._topic
        return AwaitMessageSensor(topics=[topic], apply_function=None, **self.common(mode, case, arguments))

    def changed(self) -> dict[str, Any]:
        """Give each argument another value."""
        return {
            "topics": ["other"],
            "apply_function": "builtins.bool",
            "kafka_config_id": "other",
            "apply_function_args": [1],
            "apply_function_kwargs": {"a": 1},
            "poll_timeout": 7.0,
            "poll_interval": 7.0,
            "xcom_push_key": "other",
            "commit_offset": False,
        }

    def deferral(self, **arguments: Any) -> Any:
        """Make one that defers."""
        from airflow.providers.apache.kafka.sensors.kafka import AwaitMessageSensor

        known = {"topics": [self._topic], "apply_function": None, **arguments}
        return AwaitMessageSensor(task_id="wait", **known)

    def versions(self) -> dict[str, str]:
        """Name the client, too."""
        import confluent_kafka

        return {**super().versions(), "confluent-kafka": confluent_kafka.__version__}
