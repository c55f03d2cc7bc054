"""
One poll after another of the topic that a ``NewMessagesTrigger`` watches, and where its cursor is kept.

``core/watch/cursor`` says what counts as new and what a kill repeats, ``shared_reading`` who reads. The trigger's own
module imports this one late, in a thread, since it brings the client.

The cursor is kept in the state store of the watched asset (Airflow 3.3 and later), else in the folder ``[mqs]
ledger_path``, else nowhere. Earlier replays are read where the resend records them, as ``tasks/stores`` decides.
Airflow answers a trigger through the event loop of the triggerer, so each call to a store is asynchronous or runs in a
thread; the stores of a task are the synchronous counterpart.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies, known_copies_in
from airflow_provider_mqs.core.values.text import plural
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow, iso
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.core.watch.cursor import Cursor, EventBatch
from airflow_provider_mqs.core.watch.new_messages import Reading, find_new_messages, read_topic
from airflow_provider_mqs.exceptions import MqsError, StoreError
from airflow_provider_mqs.hooks.client_pool import shared_client
from airflow_provider_mqs.tasks.stores import HAS_STATE_STORES, choose_stores, configured_store, record_inlets
from airflow_provider_mqs.triggers.shared_reading import CompletedReading, ReadRequest, SharedReadings, readings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.watch.watch_options import WatchOptions

_log = logging.getLogger(__name__)
_MAX_HOLD_S: Final = 900.0
"""Seconds that messages are held back that may be copies of a replay, or among which some may be missing."""
_SAVE_INTERVAL_S: Final = 600.0
"""Seconds between two saves of a cursor while nothing is new: a write for each poll would burden Airflow's database."""
_STORE_TIMEOUT_S: Final = 60.0


class TopicWatcher:
    """
    Polls a topic for a trigger; ``next_poll_s`` says when to poll again, epoch seconds.

    ``started_s`` is what ``start="now"`` means; ``state_store`` is that of the watched asset, if Airflow has one.
    """

    def __init__(
        self,
        options: WatchOptions,
        *,
        mqs_conn_id: str,
        instance_id: str | None,
        state_store: Any,
        started_s: float,
    ) -> None:
        self.next_poll_s = 0.0
        self._options = options
        self._mqs_conn_id = mqs_conn_id
        self._instance_id = instance_id
        self._started_ms = int(started_s * 1000)
        self._store = CursorStore(state_store)
        self._key = ""
        self._cursor: Cursor | None = None
        self._saved_s = started_s
        self._unpublished: EventBatch | None = None
        self._held_since_s: float | None = None
        self._readings: SharedReadings | None = None

    async def poll(self, now_s: float, waited_s: float) -> EventBatch | None:
        """
        Return what is new, from a reading of another watcher or of its own; ``None`` if there is nothing to read yet.

        A batch with messages is saved before it is returned, so that it is published again after a kill.
        """
        options = self._options
        self.next_poll_s = now_s + options.poll_interval_s * random.uniform(0.9, 1.1)  # noqa: S311 - spreads polls
        # the sockets close after each poll, and when the triggerer cancels this
        async with shared_client(self._mqs_conn_id, self._instance_id) as shared:
            client = await shared.client()
            api = client.api
            ref = TopicRef(api.settings.host, api.instance_id, options.topic)
            cursor = self._cursor or await self._load_cursor(ref)
            unpublished, self._unpublished = self._unpublished, None
            if unpublished is not None:
                return unpublished
            request = ReadRequest(cursor, now_s, now_s - waited_s / 2, options.settle_s, options.overlap_s)
            if cursor.window(request.until_ms) is None:
                return None
            if self._readings is None:
                self._readings = readings_of(self._mqs_conn_id, *ref, options.exclude_copies)
            completed = await self._readings.get(self, request, partial(self._read, client, ref, request))
        self.next_poll_s = completed.started_s + options.poll_interval_s * completed.interval_factor
        batch = self._new_batch(api, completed, cursor)
        if batch is not None and batch.document is not None:
            await self._store.save(self._key, {**cursor.to_json(), "batch": batch.to_json()})
        return batch

    async def commit(self, batch: EventBatch, now_s: float) -> None:
        """Continue after a batch that was published; if it had no messages, that is saved only now and then."""
        self._cursor = batch.cursor
        if batch.document is None and now_s - self._saved_s < _SAVE_INTERVAL_S:
            return
        try:
            await self._store.save(self._key, batch.cursor.to_json())
            self._saved_s = now_s
        except MqsError as error:
            self._saved_s = float("-inf")  # with the next poll, whatever that finds
            _log.warning("The cursor could not be saved; the next poll tries again: %s", error)

    async def _load_cursor(self, ref: TopicRef) -> Cursor:
        """Continue from the stored cursor, or start; a start is saved, so that "now" stays what it was."""
        self._key = self._options.cursor_key(ref)
        stored = await self._store.load(self._key)
        if stored is not None:
            cursor = Cursor.from_json(stored)
            self._unpublished = EventBatch.from_json(stored["batch"]) if stored.get("batch") else None
        else:
            start = self._options.start
            cursor = Cursor.at(self._started_ms if isinstance(start, str) else start)
            await self._store.save(self._key, cursor.to_json())
        self._cursor = cursor
        _log.info("Watching topic %r from %s on.", ref.topic, iso(cursor.next_ms))
        return cursor

    async def _read(self, client: AsyncMqsClient, ref: TopicRef, request: ReadRequest, start_ms: int) -> Reading:
        window = TimeWindow(start_ms, max(request.until_ms, request.cursor.next_ms), SOURCE_EVENT)
        copies = await self._store.known_copies(window, ref) if self._options.exclude_copies else KnownCopies()
        return await client.run(read_topic(client.api, self._options, request.cursor, window, copies))

    def _new_batch(self, api: MqsApi, completed: CompletedReading, cursor: Cursor) -> EventBatch | None:
        """Return what is new; ``None`` if it is held back, since a later poll may know more copies or find more."""
        until_ms, now_s = completed.until_ms(self._options.settle_s), completed.started_s
        result = find_new_messages(
            api, self._options, cursor, completed.reading, until_ms=until_ms, now_ms=int(now_s * 1000)
        )
        for sentence in result.notes + result.why_incomplete:
            _log.warning("%s", sentence)
        if not result.provisional:
            self._held_since_s = None
        else:
            if self._held_since_s is None:
                self._held_since_s = now_s
            if now_s - self._held_since_s < _MAX_HOLD_S:
                number = plural(result.offsets.count, "message")
                _log.info("Holding back %s from before %s until more is known of them.", number, iso(until_ms))
                return None
        document = result.offsets.to_xcom() if result.offsets.count else None
        return EventBatch(document, result.new.cursor, result.new.more)


class CursorStore:
    """Keeps plain JSON for one trigger. ``accessor`` is its ``asset_state_store``, ``None`` if Airflow has none."""

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor
        self._in_triggerer = accessor is not None
        self._store = configured_store()
        self._warned: set[str] = set()

    async def load(self, key: str) -> Any | None:
        """Read a value; ``None`` if there is none, or nothing can be kept."""
        if self._accessor is not None:
            try:
                with _store_errors("read"):
                    return await _aget(self._accessor, key)
            except ValueError:
                self._accessor = None
                self._warn_once("Several assets share this watcher, so none of their state stores can keep its cursor.")
        if self._store is not None:
            return await asyncio.to_thread(self._store.get, key)
        self._warn_once(
            "The cursor is not stored: messages that arrive while this trigger is down raise no event, and some may "
            "raise two. Watch an asset on Airflow 3.3 or later, or set [mqs] ledger_path."
        )
        return None

    async def save(self, key: str, value: Any) -> None:
        """Write a value, if there is a store."""
        if self._accessor is not None:
            with _store_errors("write"):
                if hasattr(self._accessor, "aset"):
                    await self._accessor.aset(key, value)
                else:
                    await _in_thread(partial(self._accessor.set, key, value))
        elif self._store is not None:
            await asyncio.to_thread(self._store.set, key, value)

    async def known_copies(self, window: TimeWindow, ref: TopicRef) -> KnownCopies:
        """Find the copies that earlier replays have put into a window; none, with one warning, without any record."""
        reachable = HAS_STATE_STORES and self._in_triggerer
        state = _FromThread(_record_accessor(), asyncio.get_running_loop()) if reachable else None
        records = choose_stores(self._store, record_state=state, variables=not HAS_STATE_STORES)
        if not records:
            self._warn_once("There is no record of earlier replays, so their copies count as new messages.")
            return KnownCopies()
        copies: KnownCopies = await _in_thread(partial(known_copies_in, records, window, ref))
        return copies

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            _log.warning("%s", sentence)


class _FromThread:
    """Lets a thread read a state store that only the event loop can ask."""

    def __init__(self, accessor: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._accessor = accessor
        self._loop = loop

    def get(self, key: str) -> Any:
        return asyncio.run_coroutine_threadsafe(_aget(self._accessor, key), self._loop).result(_STORE_TIMEOUT_S)


def _record_accessor() -> Any:
    """Return the state store of the record's asset; Airflow passes a trigger only those of the assets it watches."""
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors  # noqa: PLC0415 - 3.3 and later

    return AssetStateStoreAccessors(inlets=record_inlets())[record_inlets()[0]]


async def _aget(accessor: Any, key: str) -> Any:
    # Airflow 3.3.0 and 3.3.1 have no asynchronous twins
    return await (accessor.aget(key) if hasattr(accessor, "aget") else _in_thread(partial(accessor.get, key)))


async def _in_thread(call: Callable[[], Any]) -> Any:
    # not asyncio.to_thread: from a thread of asgiref's, Airflow can ask its supervisor through this loop
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - a dependency of every Airflow

    return await sync_to_async(call, thread_sensitive=False)()


@contextmanager
def _store_errors(verb: str) -> Iterator[None]:
    """Raise what goes wrong in Airflow as an error of ours; a ``ValueError`` says that several assets are watched."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise StoreError(
            f"Airflow cannot {verb} the state store of the asset ({type(error).__name__}: {error})."
        ) from error
