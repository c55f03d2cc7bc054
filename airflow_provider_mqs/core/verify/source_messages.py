"""
The messages of a plan as the service shows them now: whether they are still there, and what they look like. Flows.

Nothing of this travels in XComs: a plan may be hours old when it is sent, and the topic another one by then.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.query.slices import CAP, Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.core.verify.copy_traits import Traits, traits_of
from airflow_provider_mqs.exceptions import (
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    ServerError,
    WindowTooLargeError,
)

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.values.message import Message, Rows

_log = logging.getLogger(__name__)
_FEW = 100
"""So many messages are asked for one by one rather than by their window."""


class Sources:
    """
    What is known of the messages of a plan; read once, then remembered.

    :param api: the calls
    :param plan: what is sent
    """

    def __init__(self, api: MqsApi, plan: Plan) -> None:
        self._api = api
        self._plan = plan
        self._traits: dict[int, dict[int, Traits]] = {}
        self._times: list[int] = []
        self._checked: OffsetsByPartition = {}
        self.by_offset = True

    def check_ends(self, places: OffsetsByPartition) -> Flow[None]:
        """
        Read the first and the last message of each partition, so that a plan is not sent to another topic.

        Where the service gives no message by offset at all, ``by_offset`` becomes false and a warning is logged.

        :param places: what will be sent
        :raises ConfigurationError: a message is gone, or has another time than the query saw
        """
        if places == self._checked:
            return
        ends = [
            (partition, offset)
            for partition, ranges in places.items()
            for offset in sorted({ranges[0][0], ranges[-1][1]})
        ]
        found = yield Parallel(self._refusable(place) for place in ends)
        self._checked = places
        if ends and all(isinstance(answer, Exception) for answer in found):
            self.by_offset = False
            _log.warning("The service gives no message by its offset (%s): the plan cannot be checked.", found[0])
            return
        for place, answer in zip(ends, found, strict=True):
            self._check(place, answer)

    def load(self, places: OffsetsByPartition) -> Flow[None]:
        """
        Find out what messages look like, by their window where that takes fewer requests.

        :param places: messages of the plan, or of another one of the same topic
        :raises ApiError: the service refused
        """
        missing = self._missing(places)
        if partition_offsets.count(missing) > _FEW and (yield from self._is_dense(partition_offsets.count(missing))):
            yield from self._read_window()
            missing = self._missing(places)
        if self.by_offset:
            yield Parallel(self._message(place) for place in partition_offsets.expand(missing))

    def traits(self, partition: int, message_offset: int) -> Traits | None:
        """
        Give what a message looks like.

        :param partition: partition of the topic
        :param message_offset: position in the partition
        :return: its traits; ``None`` where it is gone, or was not loaded
        """
        return self._traits.get(partition, {}).get(message_offset)

    @property
    def _picked(self) -> bool:
        """Whether the plan holds only some messages of its window."""
        return not self._plan.sources or any(source.filters for source in self._plan.sources)

    def _is_dense(self, wanted: int) -> Flow[bool]:
        """Tell whether the pages of the window are fewer than the messages that are wanted from it."""
        if not self._picked:
            return True
        if not self._times:
            return False
        window = (min(self._times), max(self._times) + 1)
        try:
            page = yield from self._api.query_page(self._plan.topic, *window, limit=1, offset=0)
        except (WindowTooLargeError, ServerError):
            # a range that is too much for the service is too much for the few messages that are wanted from it
            return False
        # a total at the cap may be any number
        return page.total != CAP and page.total < wanted * self._api.settings.page_size

    def _missing(self, places: OffsetsByPartition) -> OffsetsByPartition:
        return partition_offsets.from_refs(
            place for place in partition_offsets.expand(places) if self.traits(*place) is None
        )

    def _read_window(self) -> Flow[None]:
        windows = [source.window for source in self._plan.sources]
        first_ms = min(self._times or [window.start_ms for window in windows])
        end_ms = max([time + 1 for time in self._times] or [window.end_ms for window in windows])
        partitions = list(self._plan.partitions)
        only = partitions[0] if len(partitions) == 1 else None
        yield from WindowReader(self._api, self._plan.topic, self._note).read(Slice(first_ms, end_ms, only))

    def _message(self, place: MessageRef) -> Flow[Message | None]:
        message = yield from self._api.get_message(self._plan.topic, *place)
        if message is not None:
            self._note([message])
        return message

    def _refusable(self, place: MessageRef) -> Flow[Message | Exception | None]:
        try:
            return (yield from self._message(place))
        except (BadRequestError, NotFoundError) as error:
            # the documents do not say what an offset that is gone answers
            return error

    def _note(self, rows: Rows) -> None:
        for row in rows:
            self._traits.setdefault(row.partition, {})[row.message_offset] = traits_of(row.message)

    def _check(self, place: MessageRef, answer: Message | Exception | None) -> None:
        partition, offset = place
        name = f"messages names message {offset} of partition {partition} of topic {self._plan.topic!r}, which"
        if answer is None or isinstance(answer, Exception):
            reason = f" ({answer})" if answer else ""
            raise ConfigurationError(
                f"{name} is not there any more{reason}: it has aged out, or the topic was made anew. "
                "Query the window again."
            )
        self._times.append(answer.timestamp)
        seen = [source.partitions[partition] for source in self._plan.sources if partition in source.partitions]
        if seen and not any(part.first_timestamp <= answer.timestamp <= part.last_timestamp for part in seen):
            raise ConfigurationError(
                f"{name} has another time now ({iso(answer.timestamp)}) than the query saw: the topic was made anew. "
                "Query the window again."
            )
