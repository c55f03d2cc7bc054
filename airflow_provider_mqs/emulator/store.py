"""
Topics, messages and the log of resends in SQLite, and the values that these rows are; no HTTP, no behaviour.

One connection, guarded by the service's lock. The row ids of a window are kept in memory until a message is added, so
that a deep page costs no more than the first one.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic."""

    name: str
    partitions: int = 3
    retention_hours: int = 72  # after these, a message is no longer visible


class StoredMessage(NamedTuple):
    """One message as the broker holds it; a tuple, because pages of them are made all the time."""

    topic: str
    partition: int
    message_offset: int
    timestamp_ms: int  # the producer's
    key: str | None = None
    value: str = ""
    size: int = 0  # in bytes, as the service reports it
    message_id: str = ""  # often empty at the real service, too
    app_id: str = ""
    tag: str = ""
    headers: Mapping[str, str] = MappingProxyType({})  # of Kafka; the query API does not show them
    source_offset: int | None = None  # of a copy that a resend made
    visible_ms: int = 0  # queries show the message from this moment on, if a fault delays it


@dataclass(frozen=True, slots=True)
class Resend:
    """One append that a resend made."""

    time_ms: int
    trace: str  # request id of the resend
    topic: str
    partition: int  # of the source
    message_offset: int  # of the source
    copy_partition: int
    copy_offset: int
    consumer_key: str | None = None  # header of the copy


@dataclass(frozen=True, slots=True)
class Window:
    """Which messages of a topic, in which order."""

    topic: str
    start_ms: int
    end_ms: int  # inclusive
    partition: int | None = None  # None for all
    by_time: bool = True  # otherwise by partition and offset
    search: tuple[tuple[str, str], ...] = ()  # column and text: contained in `key`, equal to `tag` or `message_id`
    visible_at_ms: int | None = None  # None if no message is hidden, which makes the query cheaper


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
  partition INTEGER NOT NULL, message_offset INTEGER NOT NULL, copy_partition INTEGER NOT NULL,
  copy_offset INTEGER NOT NULL, consumer_key TEXT
);
CREATE TABLE IF NOT EXISTS resend_requests (
  id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, trace TEXT NOT NULL, body TEXT NOT NULL,
  status INTEGER NOT NULL, fault TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS seeds (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_TABLES = ("topics", "messages", "resends", "resend_requests", "seeds")
_CACHED_WINDOWS = 16
_NO_HEADERS = "{}"
_HEADERS = StoredMessage._fields.index("headers")
_COLUMNS = ", ".join(StoredMessage._fields)
_RESEND_COLUMNS = "time_ms, trace, topic, partition, message_offset, copy_partition, copy_offset, consumer_key"
_REQUEST_COLUMNS = ("time_ms", "trace", "body", "status", "fault")
_SEARCHES = {"key": "instr(key, ?) > 0", "tag": "tag = ?", "message_id": "message_id = ?"}


class Store:
    """The data of the emulator, in memory or in a file that survives a restart."""

    def __init__(self, path: str = ":memory:") -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._windows: OrderedDict[Window, array[int]] = OrderedDict()

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Group writes, to be undone together by an exception; a nested one belongs to the outer one."""
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
        """Claim a piece of work that must happen once per store; ``False`` if it was claimed before."""
        return self._db.execute("INSERT OR IGNORE INTO seeds VALUES (?)", (name,)).rowcount == 1

    def put_topic(self, topic: Topic) -> None:
        """Create or replace a topic."""
        self._db.execute("INSERT OR REPLACE INTO topics VALUES (?, ?, ?)", astuple(topic))

    def drop_messages(self, topic: str) -> None:
        """Forget the messages of a topic, so that its offsets start again; the log of resends stays."""
        self._db.execute("DELETE FROM messages WHERE topic = ?", (topic,))
        self._windows.clear()

    def topics(self) -> list[Topic]:
        """List the topics by name."""
        return [Topic(*row) for row in self._db.execute("SELECT * FROM topics ORDER BY name")]

    def topic(self, name: str) -> Topic | None:
        """Find a topic by its exact name."""
        row = self._db.execute("SELECT * FROM topics WHERE name = ?", (name,)).fetchone()
        return Topic(*row) if row else None

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """Store messages in one write; an offset that is taken raises, and nothing is stored."""

        def row(message: StoredMessage) -> tuple[Any, ...]:
            headers = json.dumps(dict(message.headers)) if message.headers else _NO_HEADERS
            return (*message[:_HEADERS], headers, *message[_HEADERS + 1 :])

        placeholders = ", ".join("?" * len(StoredMessage._fields))
        with self.transaction():
            self._db.executemany(f"INSERT INTO messages ({_COLUMNS}) VALUES ({placeholders})", map(row, messages))  # noqa: S608  # constants
        self._windows.clear()

    def next_offset(self, topic: str, partition: int) -> int:
        """Return the offset of the next message of a partition."""
        query = "SELECT max(message_offset) FROM messages WHERE topic = ? AND partition = ?"
        last = self._db.execute(query, (topic, partition)).fetchone()[0]
        return 0 if last is None else int(last) + 1

    def message(self, topic: str, partition: int, message_offset: int) -> StoredMessage | None:
        """Find one message."""
        where = "topic = ? AND partition = ? AND message_offset = ?"
        return next(iter(self._select(where, (topic, partition, message_offset))), None)

    def messages(self, topic: str) -> list[StoredMessage]:
        """List all messages of a topic by partition and offset, expired ones included."""
        return self._select("topic = ? ORDER BY partition, message_offset", (topic,))

    def ids(self, window: Window) -> array[int]:
        """Return the row ids of a window in its order, for :meth:`rows`."""
        found = self._windows.pop(window, None)
        if found is None:
            found = array("q", (row[0] for row in self._db.execute(*_window_query(window))))
        self._windows[window] = found
        if len(self._windows) > _CACHED_WINDOWS:
            self._windows.popitem(last=False)
        return found

    def rows(self, ids: Iterable[int]) -> list[StoredMessage]:
        """Read a page of messages by row id, in that order."""
        wanted = tuple(ids)
        placeholders = ", ".join("?" * len(wanted))
        query = f"SELECT id, {_COLUMNS} FROM messages WHERE id IN ({placeholders})"  # noqa: S608  # question marks only
        found = {row[0]: _message(row[1:]) for row in self._db.execute(query, wanted)}
        return [found[row_id] for row_id in wanted]

    def log_resend(self, resend: Resend) -> None:
        """Log an append that a resend made."""
        placeholders = ", ".join("?" * len(astuple(resend)))
        self._db.execute(f"INSERT INTO resends ({_RESEND_COLUMNS}) VALUES ({placeholders})", astuple(resend))  # noqa: S608  # constants

    def resends(self, topic: str) -> list[Resend]:
        """List the appends that resends made in a topic, in order of time."""
        query = f"SELECT {_RESEND_COLUMNS} FROM resends WHERE topic = ? ORDER BY id"  # noqa: S608  # constants
        return [Resend(*row) for row in self._db.execute(query, (topic,))]

    def log_resend_request(self, time_ms: int, trace: str, body: str, status: int, fault: str) -> None:
        """Log what a resend asked for and got: an HTTP status, 0 for a cut connection."""
        query = f"INSERT INTO resend_requests ({', '.join(_REQUEST_COLUMNS)}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608  # constants
        self._db.execute(query, (time_ms, trace, body, status, fault))

    def resend_requests(self) -> list[dict[str, Any]]:
        """List the resend requests by column name, in order of time."""
        query = f"SELECT {', '.join(_REQUEST_COLUMNS)} FROM resend_requests ORDER BY id"  # noqa: S608  # constants
        return [dict(zip(_REQUEST_COLUMNS, row, strict=True)) for row in self._db.execute(query)]

    def _select(self, where: str, values: tuple[Any, ...]) -> list[StoredMessage]:
        query = f"SELECT {_COLUMNS} FROM messages WHERE {where}"  # noqa: S608  # conditions are written in this class
        return [_message(row) for row in self._db.execute(query, values)]


def _message(row: tuple[Any, ...]) -> StoredMessage:
    headers = {} if row[_HEADERS] == _NO_HEADERS else json.loads(row[_HEADERS])
    return StoredMessage._make((*row[:_HEADERS], headers, *row[_HEADERS + 1 :]))


def _window_query(window: Window) -> tuple[str, tuple[Any, ...]]:
    conditions = ["topic = ?", "timestamp_ms BETWEEN ? AND ?"]
    values: list[Any] = [window.topic, window.start_ms, window.end_ms]
    if window.partition is not None:
        conditions.append("partition = ?")
        values.append(window.partition)
    for column, text in window.search:
        conditions.append(_SEARCHES[column])
        values.append(text)
    if window.visible_at_ms is not None:
        conditions.append("visible_ms <= ?")
        values.append(window.visible_at_ms)
    order = "timestamp_ms, partition, message_offset" if window.by_time else "partition, message_offset"
    return f"SELECT id FROM messages WHERE {' AND '.join(conditions)} ORDER BY {order}", tuple(values)  # noqa: S608  # conditions are constants
