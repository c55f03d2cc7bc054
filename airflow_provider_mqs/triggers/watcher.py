"""How ``NewMessagesTrigger`` looks at its topic. Loaded by the first look, since it brings the client."""

from __future__ import annotations

import hashlib
import json
import random
from functools import partial
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies
from airflow_provider_mqs.core.values.time_window import SOURCE_EVENT, TimeWindow, iso
from airflow_provider_mqs.core.values.topic_ref import TopicRef
from airflow_provider_mqs.core.watch.cursor import Cursor, EventBatch
from airflow_provider_mqs.core.watch.new_messages import WatchOptions, find_news, read_topic
from airflow_provider_mqs.exceptions import MqsError
from airflow_provider_mqs.hooks.client_pool import shared_client
from airflow_provider_mqs.triggers.cursor_store import CursorStore
from airflow_provider_mqs.triggers.shared_reading import Wish, readings_of

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.client import AsyncMqsClient
    from airflow_provider_mqs.core.watch.new_messages import Reading
    from airflow_provider_mqs.triggers.new_messages import NewMessagesTrigger
    from airflow_provider_mqs.triggers.shared_reading import SharedReadings, Taken

_HOLD_S: Final = 900.0
"""So long messages wait that may be copies of a replay whose copies are not known yet, or that are not all shown."""

_SAVED_LEAST_S: Final = 600.0
"""Of so long at most is read again after a restart what held nothing new; a write for each look would be too many."""


class TopicWatcher:
    """
    Looks at a topic again and again, and remembers how far it is; ``next_s`` says when to look again, epoch seconds.

    :param trigger: whose arguments and stores it uses
    :param began_s: what ``start="now"`` means, epoch seconds
    """

    def __init__(self, trigger: NewMessagesTrigger, began_s: float) -> None:
        self.next_s = 0.0
        self._began_ms = int(began_s * 1000)
        self._trigger = trigger
        self._log = trigger.log
        # Airflow 3.3 gives a trigger its stores after it was made
        self._keeper = CursorStore(getattr(trigger, "asset_state_store", None))
        self._cursor: Cursor | None = None
        self._key = ""
        self._saved_s = began_s
        self._left: EventBatch | None = None
        self._held_since_s: float | None = None
        self._readings: SharedReadings | None = None

    async def look(self, now_s: float, patience_s: float) -> EventBatch | None:
        """
        Look for new messages, or at what another watcher of the topic has just read.

        What is found is saved before it is given: a process that is killed while it hands it over leaves it to the
        next one, which begins with exactly that.

        :param now_s: the time, epoch seconds
        :param patience_s: how long it waited; what was read in the last half of that will do
        :return: what is new; ``None`` where there is nothing to read yet, or it is held back
        :raises MqsError: the service, the connection or a store
        """
        what = self._trigger
        self.next_s = now_s + what.poll_interval_s * random.uniform(0.9, 1.1)  # noqa: S311 - spreads looks
        # the sockets close after each look, and when the triggerer cancels this
        async with shared_client(what.mqs_conn_id, what.instance_id) as shared:
            client = await shared.client()
            ref = TopicRef(client.api.settings.host, client.api.instance_id, what.topic)
            cursor = self._cursor or await self._begin(ref)
            left, self._left = self._left, None
            if left is not None:
                return left
            wish = Wish(cursor, now_s, now_s - patience_s / 2, what.settle_s, what.overlap_s)
            if cursor.window(wish.until_ms) is None:
                return None
            self._readings = self._readings or readings_of(what.mqs_conn_id, *ref, what.exclude_copies)
            taken = await self._readings.take(self, wish, partial(self._read, client, ref, wish))
        self.next_s = taken.began_s + what.poll_interval_s * taken.pace
        batch = self._found(client.api, taken, cursor)
        if batch is not None and batch.document is not None:
            await self._keeper.save(self._key, {**cursor.to_json(), "batch": batch.to_json()})
        return batch

    async def move(self, batch: EventBatch, now_s: float) -> None:
        """
        Go on behind a batch with the next look. Where nothing was told, that is saved now and then only.

        :param batch: what was handed over
        :param now_s: the time, epoch seconds
        """
        self._cursor = batch.cursor
        if batch.document is None and now_s - self._saved_s < _SAVED_LEAST_S:
            return
        try:
            await self._keeper.save(self._key, batch.cursor.to_json())
            self._saved_s = now_s
        except MqsError as error:
            self._saved_s = float("-inf")  # with the next look, whatever that finds
            self._log.warning("The cursor was not saved: %s", error)

    async def _begin(self, ref: TopicRef) -> Cursor:
        """Go on where an earlier process was, or begin; a beginning is saved, so that "now" stays what it was."""
        start = self._trigger.start
        identity = {**ref._asdict(), "start": start, "exclude_copies": self._trigger.exclude_copies}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._key = f"cursor-{digest[:32]}"
        kept = await self._keeper.load(self._key)
        if kept is not None:
            cursor = Cursor.from_json(kept)
            self._left = EventBatch.from_json(kept["batch"]) if kept.get("batch") else None
        else:
            cursor = Cursor.at(self._began_ms if isinstance(start, str) else start)
            await self._keeper.save(self._key, cursor.to_json())
        self._cursor = cursor
        self._log.info("Topic %r is watched from %s on.", ref.topic, iso(cursor.next_ms))
        return cursor

    async def _read(
        self, client: AsyncMqsClient, ref: TopicRef, wish: Wish, start_ms: int
    ) -> tuple[Reading, KnownCopies]:
        window = TimeWindow(start_ms, max(wish.until_ms, wish.cursor.next_ms), SOURCE_EVENT)
        copies = await self._keeper.copies(window, ref) if self._trigger.exclude_copies else KnownCopies()
        most = self._trigger.max_messages
        return await client.run(read_topic(client.api, ref.topic, wish.cursor, window, most=most)), copies

    def _found(self, api: MqsApi, taken: Taken, cursor: Cursor) -> EventBatch | None:
        """Find what is new; ``None`` where that waits, since perhaps copies are known later, or more is shown."""
        what = self._trigger
        watch = WatchOptions(what.topic, int(what.overlap_s * 1000), what.max_messages, taken.copies)
        until_ms, now_ms = taken.until_ms(what.settle_s), int(taken.began_s * 1000)
        look = find_news(api, watch, cursor, taken.reading, until_ms=until_ms, now_ms=now_ms)
        for sentence in look.notes + look.doubts:
            self._log.warning("%s", sentence)
        if look.unsettled and self._waits(taken.began_s):
            self._log.info("%d messages until %s wait until more is known.", look.offsets.count, iso(until_ms))
            return None
        if not look.unsettled:
            self._held_since_s = None
        return EventBatch(look.offsets.to_xcom() if look.offsets.count else None, look.news.cursor, look.news.more)

    def _waits(self, now_s: float) -> bool:
        self._held_since_s = now_s if self._held_since_s is None else self._held_since_s
        return now_s - self._held_since_s < _HOLD_S
