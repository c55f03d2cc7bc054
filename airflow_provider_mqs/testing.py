"""
Pytest fixtures for people who test their own DAGs: a local MQS service on a real socket.

Installed as a pytest plugin, so a test only names the fixture::

    def test_my_dag(mqs_emulator, monkeypatch):
        mqs_emulator.seed("orders", 300, start, end, partitions=3)
        monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())
        my_dag.test(logical_date=end)
        assert set(mqs_emulator.resend_counts("orders").values()) == {1}

Tokens and query paths are remembered for the life of a process. A test that changes what a connection may do at the
same endpoint starts afresh with :func:`airflow_provider_mqs.process_state.reset`.

Importing this module imports neither aiohttp nor Airflow, because pytest loads it in every run.
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
    from airflow_provider_mqs.emulator.service import LoggedRequest, Service
    from airflow_provider_mqs.emulator.store import Resend, StoredMessage


@dataclass(slots=True)
class MqsEmulator:
    """
    A running service, as a test sees it.

    :param service: the service itself
    :param port: port on 127.0.0.1
    :param scheme: ``http``, or ``https`` for a service with a certificate
    """

    service: Service
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """
        The endpoint.

        :return: URL without a slash at the end
        """
        return f"{self.scheme}://127.0.0.1:{self.port}{self.behaviour.path_prefix}"

    @property
    def identity(self) -> Identity:
        """
        The account, the project and the instance that the service knows.

        :return: user, password, access keys and ids
        """
        return self.service.state.identity

    @property
    def faults(self) -> Faults:
        """
        What goes wrong; assign attributes: ``faults.throttle_429 = Rule(next=3, operations={"resend"})``.

        :return: the faults, effective at once
        """
        return self.service.state.faults

    @property
    def behaviour(self) -> Behaviour:
        """
        How the service answers; assign another value, or change single fields with :meth:`behave`.

        :return: a frozen value
        """
        return self.service.state.behaviour

    @behaviour.setter
    def behaviour(self, value: Behaviour) -> None:
        self.service.state.behaviour = value

    def behave(self, **changes: Any) -> None:
        """
        Change how the service answers, if it is not certain what the real one does.

        :param changes: fields of :class:`~airflow_provider_mqs.emulator.behaviour.Behaviour`
        :raises ValueError: if a name or a value is wrong
        """
        self.service.state.behaviour = self.behaviour.changed(changes)

    def connection(self, auth_type: str = "password", *, temporary: bool = False, **extra: Any) -> dict[str, Any]:
        """
        Describe this service as an Airflow connection.

        :param auth_type: ``password``, ``access_key`` or ``token``
        :param temporary: use the temporary access key, which needs a security token
        :param extra: further extra fields; ``None`` removes one
        :return: fields of the connection, with ``extra`` as a dict
        :raises ValueError: for any other ``auth_type``
        """
        token = self.service.iam.issue(self.identity.project_id)[0]
        return self.identity.connection(self.url, auth_type, token=token, temporary=temporary, **extra)

    def connection_json(self, auth_type: str = "password", *, temporary: bool = False, **extra: Any) -> str:
        """
        Describe this service for the environment variable ``AIRFLOW_CONN_MQS_DEFAULT``.

        :param auth_type: ``password``, ``access_key`` or ``token``
        :param temporary: use the temporary access key, which needs a security token
        :param extra: further extra fields; ``None`` removes one
        :return: JSON text
        :raises ValueError: for any other ``auth_type``
        """
        return json.dumps(self.connection(auth_type, temporary=temporary, **extra))

    def seed(self, topic: str, count: int, start: datetime | int, end: datetime | int, **options: Any) -> None:
        """
        Fill a window with messages, round robin over the partitions, after what they already hold.

        :param topic: topic name; created if it is new
        :param count: number of messages; 0 only creates the topic
        :param start: start of the window, aware datetime or epoch ms
        :param end: end of the window (exclusive), aware datetime or epoch ms
        :param options: ``partitions``, ``spread`` (even, equal, bursts), ``gap_every``, ``missing_key_every``,
            ``tags``, ``value_bytes``, ``retention_hours``, as :func:`airflow_provider_mqs.emulator.seeds.seed`
            takes them
        :raises ValueError: for a datetime without a time zone
        """
        from airflow_provider_mqs.emulator.seeds import seed

        with self.service.lock:
            seed(self.service.state, topic, count, _ms(start), _ms(end), **options)

    def append(self, topic: str, partition: int = 0, value: str = "", **fields: Any) -> StoredMessage:
        """
        Write one message to the end of a partition, as a producer does.

        :param topic: topic name; created with enough partitions if it is new
        :param partition: partition number
        :param value: content of the message
        :param fields: ``timestamp_ms`` (default now), ``key``, ``size``, ``message_id``, ``app_id``, ``tag``,
            ``headers``
        :return: the message as stored
        """
        from airflow_provider_mqs.emulator.store import Topic

        with self.service.lock:
            store = self.service.state.store
            if store.topic(topic) is None:
                store.put_topic(Topic(topic, partition + 1))
            return self.service.state.append(topic, partition, value, **fields)

    def messages(self, topic: str) -> list[StoredMessage]:
        """
        List what a topic holds.

        :param topic: topic name
        :return: all messages by partition and offset, copies and expired ones included
        """
        with self._up_to_date() as service:
            return service.state.store.messages(topic)

    def offsets(
        self, topic: str, start: datetime | int | None = None, end: datetime | int | None = None
    ) -> set[tuple[int, int]]:
        """
        Return the offsets that a query of a window must find.

        :param topic: topic name
        :param start: start of the window, aware datetime or epoch ms; default from the beginning
        :param end: end of the window (exclusive), aware datetime or epoch ms; default to the end
        :return: ``(partition, message_offset)`` of every message in the window
        :raises ValueError: for a datetime without a time zone
        """
        start_ms, end_ms = (-(2**63) if start is None else _ms(start)), (2**63 if end is None else _ms(end))
        found = self.messages(topic)
        return {
            (message.partition, message.message_offset)
            for message in found
            if start_ms <= message.timestamp_ms < end_ms
        }

    def resends(self, topic: str) -> list[Resend]:
        """
        List the appends that resends made.

        :param topic: topic name
        :return: all of them, in order of time
        """
        with self._up_to_date() as service:
            return service.state.store.resends(topic)

    def resend_counts(self, topic: str) -> dict[tuple[int, int], int]:
        """
        Count how often each message was resent.

        :param topic: topic name
        :return: counts by the ``(partition, message_offset)`` of the source; a message that was not resent is absent
        """
        from airflow_provider_mqs.emulator.resend import resend_counts

        with self._up_to_date() as service:
            return resend_counts(service.state, topic)

    def requests(self, operation: str | None = None) -> list[LoggedRequest]:
        """
        List the requests that the service received.

        :param operation: login, projects, query, content, resend, instance, instances, topics or unknown; default all
        :return: the log, in order of time
        """
        with self._up_to_date() as service:
            return [line for line in service.log if operation in {None, line.operation}]

    def reset(self) -> None:
        """Forget data, logs, locks and faults; the behaviour stays."""
        self.service.reset()

    @contextmanager
    def _up_to_date(self) -> Iterator[Service]:
        with self.service.lock:
            self.service.run_late_effects()
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
    Run a service while a block runs, in a thread of this process.

    :param path: SQLite file; default in memory
    :param port: port on 127.0.0.1; default any free one
    :param behaviour: how the service answers; default as the real one most likely does
    :param clock: returns the seconds since the epoch, for tests with a time of their own
    :param tls: server-side context, to serve https; default plain HTTP
    :return: the running service
    :raises OSError: if the port is taken
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
    Provide a fresh service in memory for each test, on a free port of 127.0.0.1.

    :return: the running service
    """
    with running_emulator() as emulator:
        yield emulator


def _ms(moment: datetime | int) -> int:
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; use an aware datetime or epoch ms.")
    return round(moment.timestamp() * 1000)
