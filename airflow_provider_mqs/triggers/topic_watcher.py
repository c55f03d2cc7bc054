"""
One poll after another of the topic that a ``NewMessagesTrigger`` watches, and where its cursor stands.

``core/watch/cursor`` says what counts as new and what a kill repeats, ``shared_reading`` who reads. The trigger's own
module imports this one late, in a thread, since it brings the client.
"""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.values.text import plural
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow, iso
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.core.watch.cursor import Cursor, EventBatch
from airflow_provider_mqs.core.watch.new_messages import Reading, find_new_messages, read_topic
from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.hooks.client_pool import shared_client
from airflow_provider_mqs.triggers.cursor_store import CursorStore
from airflow_provider_mqs.triggers.shared_reading import CompletedReading, ReadRequest, SharedReadings, readings_of

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.watch.watch_options import WatchOptions

_log = logging.getLogger(__name__)
_MAX_HOLD_S: Final = 900.0
"""Seconds that messages are held back that may be copies of a replay, or that the service may not have shown whole."""
_SAVE_INTERVAL_S: Final = 600.0
"""Seconds between two saves of a cursor while nothing is new: a write for each poll would burden Airflow's database."""


class TopicWatcher:
    """
    Polls a topic for a trigger; ``next_poll_s`` says when to poll again, epoch seconds.

    ``started_s`` is what ``start="now"`` means, ``state_store`` that of the watched asset, if Airflow has one.
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

        A batch with messages is saved before it is returned, so that whoever continues after a kill publishes it again.

        :raises MqsError: the service, the connection or a store failed
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
        """Continue behind a batch that was published; if it had no messages, that is saved now and then only."""
        self._cursor = batch.cursor
        if batch.document is None and now_s - self._saved_s < _SAVE_INTERVAL_S:
            return
        try:
            await self._store.save(self._key, batch.cursor.to_json())
            self._saved_s = now_s
        except MqsError as error:
            self._saved_s = float("-inf")  # with the next poll, whatever that finds
            _log.warning("The cursor could not be saved and will be with the next poll: %s", error)

    async def _load_cursor(self, ref: TopicRef) -> Cursor:
        """Continue where an earlier process was, or start; a start is saved, so that "now" stays what it was."""
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
        """Return what is new; ``None`` if it is held back, since a later poll may know more of copies or show more."""
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
                _log.info("Holding back %s until %s, until more is known of them.", number, iso(until_ms))
                return None
        document = result.offsets.to_xcom() if result.offsets.count else None
        return EventBatch(document, result.new.cursor, result.new.more)
