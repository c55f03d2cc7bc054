"""
Topics, messages and the log of resends in SQLite; knows nothing about HTTP or about how the service answers.

One connection, guarded by the service's lock. Positions of a window are kept in memory until the topic changes, so that
a deep page costs no more than the first one.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.records import Resend, StoredMessage, Topic, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS topics (
  name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention_hours INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, message_offset INTEGER NOT NULL,
  timestamp_ms INTEGER NOT NULL, key TEXT, value TEXT NOT NULL, size INTEGER NOT NULL, message_id TEXT NOT NULL,
  app_id TEXT NOT NULL, tag TEXT NOT NULL, headers TEXT NOT NULL, source_offset INTEGER,
  visible_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS messages_by_offset ON messages (topic, partition, message_offset);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (topic, timestamp_ms, partition, message_offset);
CREATE TABLE IF NOT EXISTS resends (
  id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, trace TEXT NOT NULL, topic TEXT NOT NULL,
  partition INTEGER NOT NULL, message_offset INTEGER NOT NULL, copy_offset INTEGER NOT NULL, consumer_key TEXT
);
CREATE TABLE IF NOT EXISTS resend_requests (
  id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, trace TEXT NOT NULL, body TEXT NOT NULL,
  status INTEGER NOT NULL, fault TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS seeds (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_TABLES = ("topics", "messages", "resends", "resend_requests", "seeds")
_WINDOWS_KEPT = 16


_NO_HEADERS = "{}"
_COLUMNS = ", ".join(StoredMessage._fields)
_SEARCHES = {"key": "instr(key, ?) > 0", "tag": "tag = ?", "message_id": "message_id = ?"}


def _message(row: tuple[Any, ...]) -> StoredMessage:
    headers = {} if row[10] == _NO_HEADERS else json.loads(row[10])
    return StoredMessage._make((*row[:10], headers, *row[11:]))


def _row(message: StoredMessage) -> tuple[Any, ...]:
    headers = json.dumps(dict(message.headers)) if message.headers else _NO_HEADERS
    return (*message[:10], headers, *message[11:])


class Store:
    """
    The data of the emulator.

    :param path: file, or ``:memory:``; a file keeps everything over a restart
    """

    def __init__(self, path: str = ":memory:") -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._windows: OrderedDict[Window, array[int]] = OrderedDict()

    def close(self) -> None:
        """Close the file; nothing more can be asked afterwards."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        Make several writes one; inside another transaction, part of that one.

        :return: a context; an exception in it undoes the writes
        """
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything."""
        self._windows.clear()
        for table in _TABLES:
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the constant above

    def once(self, name: str) -> bool:
        """
        Claim a piece of work that must happen once per store.

        :param name: of the work
        :return: ``False`` when it was claimed before
        """
        return self._db.execute("INSERT OR IGNORE INTO seeds VALUES (?)", (name,)).rowcount == 1

    def put_topic(self, topic: Topic) -> None:
        """
        Create a topic, or change one.

        :param topic: its new state
        """
        self._db.execute("INSERT OR REPLACE INTO topics VALUES (?, ?, ?)", astuple(topic))

    def topics(self) -> list[Topic]:
        """
        List the topics.

        :return: all of them, by name
        """
        return [Topic(*row) for row in self._db.execute("SELECT * FROM topics ORDER BY name")]

    def topic(self, name: str) -> Topic | None:
        """
        Find a topic.

        :param name: exact name
        :return: the topic, or ``None``
        """
        row = self._db.execute("SELECT * FROM topics WHERE name = ?", (name,)).fetchone()
        return Topic(*row) if row else None

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """
        Store many messages in one write.

        :param messages: with offsets that are still free
        """
        marks = ", ".join("?" * len(StoredMessage._fields))
        with self.transaction():
            self._db.executemany(f"INSERT INTO messages ({_COLUMNS}) VALUES ({marks})", map(_row, messages))  # noqa: S608  # constants
        self._windows.clear()

    def next_offset(self, topic: str, partition: int) -> int:
        """
        Find the end of a partition.

        :param topic: topic name
        :param partition: partition number
        :return: the offset of the next message
        """
        query = "SELECT max(message_offset) FROM messages WHERE topic = ? AND partition = ?"
        last = self._db.execute(query, (topic, partition)).fetchone()[0]
        return 0 if last is None else int(last) + 1

    def message(self, topic: str, partition: int, message_offset: int) -> StoredMessage | None:
        """
        Find one message.

        :param topic: topic name
        :param partition: partition number
        :param message_offset: its offset
        :return: the message, or ``None``
        """
        where = "topic = ? AND partition = ? AND message_offset = ?"
        return next(iter(self._select(where, (topic, partition, message_offset))), None)

    def messages(self, topic: str) -> list[StoredMessage]:
        """
        List a topic.

        :param topic: topic name
        :return: all messages, aged ones too, by partition and offset
        """
        return self._select("topic = ? ORDER BY partition, message_offset", (topic,))

    def ids(self, window: Window) -> array[int]:
        """
        Find what a window holds.

        :param window: which messages, in which order
        :return: the ids for :meth:`rows`
        """
        found = self._windows.pop(window, None)
        if found is None:
            found = array("q", (row[0] for row in self._db.execute(*_window_query(window))))
        self._windows[window] = found
        if len(self._windows) > _WINDOWS_KEPT:
            self._windows.popitem(last=False)
        return found

    def rows(self, ids: Iterable[int]) -> list[StoredMessage]:
        """
        Read messages by id.

        :param ids: some of :meth:`ids`, no more than a page of them
        :return: the messages in that order
        """
        wanted = tuple(ids)
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT id, {_COLUMNS} FROM messages WHERE id IN ({marks})"  # noqa: S608  # question marks only
        found = {row[0]: _message(row[1:]) for row in self._db.execute(query, wanted)}
        return [found[one] for one in wanted]

    def log_resend(self, resend: Resend) -> None:
        """
        Write down an append made by a resend.

        :param resend: what was appended
        """
        self._db.execute(
            "INSERT INTO resends (time_ms, trace, topic, partition, message_offset, copy_offset, consumer_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            astuple(resend),
        )

    def resends(self, topic: str) -> list[Resend]:
        """
        List the appends made by resends.

        :param topic: topic name
        :return: all of them, in order of time
        """
        query = (
            "SELECT time_ms, trace, topic, partition, message_offset, copy_offset, consumer_key"
            " FROM resends WHERE topic = ? ORDER BY id"
        )
        return [Resend(*row) for row in self._db.execute(query, (topic,))]

    def log_resend_request(self, time_ms: int, trace: str, body: str, status: int, fault: str) -> None:
        """
        Write down what was asked for and what was answered.

        :param time_ms: when it came
        :param trace: request id
        :param body: what was asked for
        :param status: HTTP status, 0 for a cut connection
        :param fault: the fault that struck, or empty
        """
        query = "INSERT INTO resend_requests (time_ms, trace, body, status, fault) VALUES (?, ?, ?, ?, ?)"
        self._db.execute(query, (time_ms, trace, body, status, fault))

    def resend_requests(self) -> list[dict[str, Any]]:
        """
        List the resend requests.

        :return: time_ms, trace, body, status and fault of each, in order of time
        """
        names = ("time_ms", "trace", "body", "status", "fault")
        query = "SELECT time_ms, trace, body, status, fault FROM resend_requests ORDER BY id"
        return [dict(zip(names, row, strict=True)) for row in self._db.execute(query)]

    def _select(self, where: str, values: tuple[Any, ...]) -> list[StoredMessage]:
        query = f"SELECT {_COLUMNS} FROM messages WHERE {where}"  # noqa: S608  # conditions are written in this class
        return [_message(row) for row in self._db.execute(query, values)]


def _window_query(window: Window) -> tuple[str, tuple[Any, ...]]:
    conditions = ["topic = ?", "timestamp_ms BETWEEN ? AND ?"]
    values: list[Any] = [window.topic, window.start_ms, window.end_ms]
    if window.partition is not None:
        conditions.append("partition = ?")
        values.append(window.partition)
    for name, text in window.search:
        conditions.append(_SEARCHES[name])
        values.append(text)
    if window.seen_at_ms is not None:
        conditions.append("visible_ms <= ?")
        values.append(window.seen_at_ms)
    order = "timestamp_ms, partition, message_offset" if window.by_time else "partition, message_offset"
    return f"SELECT id FROM messages WHERE {' AND '.join(conditions)} ORDER BY {order}", tuple(values)  # noqa: S608  # conditions are constants
