"""
Pytest fixtures for people who test their own DAGs: a local MQS service on a real socket.

Installed as a pytest plugin, so a test only names the fixture::

    def test_my_dag(mqs_emulator, monkeypatch):
        mqs_emulator.seed("orders", 300, start, end, partitions=3)
        monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())
        my_dag.test(logical_date=end)
        assert set(mqs_emulator.resend_counts("orders").values()) == {1}

Tokens and query paths are remembered per process. A test that changes what a connection may do behind the same
endpoint starts afresh with :func:`airflow_provider_mqs.process_state.reset`.

Importing this module imports neither aiohttp nor Airflow: pytest loads it in every run.
"""
# ruff: noqa: PLC0415  # the service is imported where it is used, see above

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from ssl import SSLContext

    from airflow_provider_mqs.emulator.behaviour import Behaviour
    from airflow_provider_mqs.emulator.faults import Faults
    from airflow_provider_mqs.emulator.identity import Identity
    from airflow_provider_mqs.emulator.records import Resend, StoredMessage
    from airflow_provider_mqs.emulator.service import LoggedRequest, Service


@dataclass(slots=True)
class MqsEmulator:
    """
    A running service, seen from a test.

    :param service: the service itself
    :param port: where it listens on 127.0.0.1
    :param scheme: ``http``, or ``https`` for a service that was given a certificate
    """

    service: Service
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """
        Give the endpoint.

        :return: URL without a slash at the end
        """
        return f"{self.scheme}://127.0.0.1:{self.port}{self.behaviour.path_prefix}"

    @property
    def identity(self) -> Identity:
        """
        Give account and ids.

        :return: what the service knows
        """
        return self.service.state.identity

    @property
    def faults(self) -> Faults:
        """
        Give the faults; assign their attributes: ``faults.throttle_429 = Rule(next=3, operations={"resend"})``.

        :return: the switches, effective at once
        """
        return self.service.state.faults

    @property
    def behaviour(self) -> Behaviour:
        """
        Give the behaviour; replace it, or change single fields with :meth:`behave`.

        :return: a frozen value
        """
        return self.service.state.behaviour

    @behaviour.setter
    def behaviour(self, value: Behaviour) -> None:
        self.service.state.behaviour = value

    def behave(self, **changes: Any) -> None:
        """
        Change how the service answers where nobody knows how the real one does.

        :param changes: fields of :class:`~airflow_provider_mqs.emulator.behaviour.Behaviour`
        :raises ValueError: when a name or a value is wrong
        """
        self.service.state.behaviour = self.behaviour.changed(changes)

    def connection(self, auth_type: str = "password", *, temporary: bool = False, **extra: Any) -> dict[str, Any]:
        """
        Describe this service as an Airflow connection.

        :param auth_type: ``password``, ``access_key`` or ``token``
        :param temporary: use the temporary access key, which needs a security token
        :param extra: further extra fields; ``None`` takes one away
        :return: fields of the connection, ``extra`` as a dict
        """
        from airflow_provider_mqs.emulator.connection import connection

        return connection(self.service, self.url, auth_type, temporary=temporary, extra=extra)

    def connection_json(self, auth_type: str = "password", *, temporary: bool = False, **extra: Any) -> str:
        """
        Describe this service for ``AIRFLOW_CONN_MQS_DEFAULT``.

        :param auth_type: ``password``, ``access_key`` or ``token``
        :param temporary: use the temporary access key, which needs a security token
        :param extra: further extra fields; ``None`` takes one away
        :return: JSON text
        """
        return json.dumps(self.connection(auth_type, temporary=temporary, **extra))

    def seed(self, topic: str, count: int, start: datetime | int, end: datetime | int, **shape: Any) -> None:
        """
        Fill a window with messages, round robin over the partitions, behind what they already hold.

        :param topic: topic name; created when new
        :param count: messages in all; 0 only creates the topic
        :param start: first moment, aware datetime or epoch ms
        :param end: end of the window, exclusive
        :param shape: ``partitions``, ``spread`` (even, equal, bursts), ``gap_every``, ``missing_key_every``, ``tags``,
            ``value_bytes``, ``retention_hours`` of :func:`airflow_provider_mqs.emulator.seeds.seed`
        """
        from airflow_provider_mqs.emulator.seeds import seed

        with self.service.lock:
            seed(self.service.state, topic, count, _ms(start), _ms(end), **shape)

    def append(self, topic: str, partition: int = 0, value: str = "", **fields: Any) -> StoredMessage:
        """
        Write one message to the end of a partition, as a producer does.

        :param topic: topic name; created with enough partitions when new
        :param partition: partition number
        :param value: the content
        :param fields: ``timestamp_ms``, ``key``, ``size``, ``message_id``, ``app_id``, ``tag``, ``headers``
        :return: the message as stored
        """
        from airflow_provider_mqs.emulator.records import Topic

        with self.service.lock:
            store = self.service.state.store
            if store.topic(topic) is None:
                store.put_topic(Topic(topic, partition + 1))
            return self.service.state.append(topic, partition, value, **fields)

    def messages(self, topic: str) -> list[StoredMessage]:
        """
        List what a topic holds.

        :param topic: topic name
        :return: all messages, copies and aged ones too, by partition and offset
        """
        with self._settled() as service:
            return service.state.store.messages(topic)

    def offsets(
        self, topic: str, start: datetime | int | None = None, end: datetime | int | None = None
    ) -> set[tuple[int, int]]:
        """
        Say which offsets a window must give.

        :param topic: topic name
        :param start: first moment; default from the beginning
        :param end: end of the window, exclusive; default to the end
        :return: ``(partition, message_offset)`` of every message in the window
        """
        first, last = (-(2**63) if start is None else _ms(start)), (2**63 if end is None else _ms(end))
        found = self.messages(topic)
        return {(one.partition, one.message_offset) for one in found if first <= one.timestamp_ms < last}

    def resends(self, topic: str) -> list[Resend]:
        """
        List the appends that resends made.

        :param topic: topic name
        :return: all of them, in order of time
        """
        with self._settled() as service:
            return service.state.store.resends(topic)

    def resend_counts(self, topic: str) -> dict[tuple[int, int], int]:
        """
        Count how often each message was appended again by a resend.

        :param topic: topic name
        :return: counts by ``(partition, message_offset)`` of the source; a message that was not resent is absent
        """
        from airflow_provider_mqs.emulator.admin import resend_counts

        with self._settled() as service:
            return resend_counts(service, topic)

    def requests(self, operation: str | None = None) -> list[LoggedRequest]:
        """
        List the requests that came.

        :param operation: login, projects, query, content, resend, instance, instances, topics or unknown; default all
        :return: the log, in order of time
        """
        with self._settled() as service:
            return [one for one in service.log if operation in {None, one.operation}]

    def reset(self) -> None:
        """Forget data, logs, locks and faults; the behaviour stays."""
        self.service.reset()

    @contextmanager
    def _settled(self) -> Iterator[Service]:
        with self.service.lock:
            self.service.settle()
            yield self.service


@contextmanager
def running_emulator(
    path: Path | str = ":memory:",
    *,
    port: int = 0,
    behaviour: Behaviour | None = None,
    clock: Callable[[], float] = time.time,
    tls: SSLContext | None = None,
) -> Iterator[MqsEmulator]:
    """
    Run a service for the time of a block, in a thread of this process.

    :param path: SQLite file; default in memory
    :param port: default any free one
    :param behaviour: how the service answers; default as the real one most likely does
    :param clock: seconds since the epoch, for tests with a time of their own
    :param tls: server side context, to serve https; default plain HTTP
    :return: the running service
    :raises OSError: when the port is taken
    """
    from airflow_provider_mqs.emulator.behaviour import Behaviour
    from airflow_provider_mqs.emulator.server import serving_in_thread
    from airflow_provider_mqs.emulator.service import Service
    from airflow_provider_mqs.emulator.state import State
    from airflow_provider_mqs.emulator.store import Store

    service = Service(State(Store(str(path)), behaviour or Behaviour(), clock=clock))
    try:
        with serving_in_thread(service, port, tls) as chosen:
            yield MqsEmulator(service, chosen, "https" if tls else "http")
    finally:
        service.close()


@pytest.fixture
def mqs_emulator() -> Iterator[MqsEmulator]:
    """
    Give each test a fresh service on a free port of 127.0.0.1, in memory.

    :return: the running service
    """
    with running_emulator() as emulator:
        yield emulator


def _ms(moment: datetime | int) -> int:
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; give an aware datetime or epoch ms.")
    return round(moment.timestamp() * 1000)
