"""
The messages of a plan as the service shows them now: whether they still exist, and what they look like. Flows.

None of this travels in XComs: a plan may be hours old when it is sent, and the topic a different one by then.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.query.slices import CAP, Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.core.verify.copy_traits import TraitsByOffset, traits_of
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
"""Up to this many messages are requested one by one rather than with their window."""


class SourceMessages:
    """What is known of the messages of a plan; each is read once."""

    def __init__(self, api: MqsApi, plan: Plan) -> None:
        self.by_offset = True
        """Whether the service returns single messages by offset; not known before ``check_ends``."""
        self._api = api
        self._plan = plan
        self._traits: TraitsByOffset = {}
        self._times_ms: list[int] = []
        self._checked: OffsetsByPartition = {}

    def check_ends(self, offsets: OffsetsByPartition) -> Flow[None]:
        """
        Read the first and last message of each partition, so that a plan is not sent to another topic of that name.

        ``ConfigurationError`` if one no longer exists or has a different time than the query saw. If the service
        returns no message by offset at all, ``by_offset`` becomes false and a warning is logged.
        """
        if offsets == self._checked:
            return
        ends = [
            (partition, offset)
            for partition, ranges in offsets.items()
            for offset in sorted({ranges[0][0], ranges[-1][1]})
        ]
        answers = yield Parallel(self._read_or_refusal(ref) for ref in ends)
        self._checked = offsets
        if ends and all(isinstance(answer, Exception) for answer in answers):
            self.by_offset = False
            _log.warning(
                "The service returns no message by its offset (%s), so the plan cannot be checked.", answers[0]
            )
            return
        for ref, answer in zip(ends, answers, strict=True):
            self._check_end(ref, answer)

    def load(self, offsets: OffsetsByPartition) -> Flow[None]:
        """Find out what messages of the topic look like, with their window if that takes fewer requests."""
        missing = self._not_loaded(offsets)
        if partition_offsets.count(missing) > _FEW and (yield from self._is_dense(partition_offsets.count(missing))):
            windows = [source.window for source in self._plan.sources]
            start_ms = min(self._times_ms or [window.start_ms for window in windows])
            end_ms = max([time_ms + 1 for time_ms in self._times_ms] or [window.end_ms for window in windows])
            only = next(iter(self._plan.partitions)) if len(self._plan.partitions) == 1 else None
            yield from WindowReader(self._api, self._plan.topic, self._note).read(Slice(start_ms, end_ms, only))
            missing = self._not_loaded(offsets)
        if self.by_offset:
            yield Parallel(self._read(ref) for ref in partition_offsets.expand(missing))

    def traits(self, offsets: OffsetsByPartition) -> TraitsByOffset:
        """Return what messages look like, without those that no longer exist or were not loaded."""
        found: TraitsByOffset = {}
        for partition, offset in partition_offsets.expand(offsets):
            if offset in self._traits.get(partition, {}):
                found.setdefault(partition, {})[offset] = self._traits[partition][offset]
        return found

    def _is_dense(self, wanted: int) -> Flow[bool]:
        """Return whether the window takes fewer pages than there are messages wanted from it."""
        whole_window = self._plan.sources and not any(source.filters for source in self._plan.sources)
        if whole_window:
            return True
        if not self._times_ms:
            return False
        window = (min(self._times_ms), max(self._times_ms) + 1)
        try:
            page = yield from self._api.query_page(self._plan.topic, *window, limit=1, offset=0)
        except (WindowTooLargeError, ServerError):
            # a window that the service cannot count is not worth reading for a few messages
            return False
        # a total at the cap may stand for any number
        return page.total is not None and page.total != CAP and page.total < wanted * self._api.settings.page_size

    def _not_loaded(self, offsets: OffsetsByPartition) -> OffsetsByPartition:
        return partition_offsets.from_refs(
            ref for ref in partition_offsets.expand(offsets) if ref[1] not in self._traits.get(ref[0], {})
        )

    def _read(self, ref: MessageRef) -> Flow[Message | None]:
        message = yield from self._api.get_message(self._plan.topic, *ref)
        if message is not None:
            self._note([message])
        return message

    def _read_or_refusal(self, ref: MessageRef) -> Flow[Message | Exception | None]:
        try:
            return (yield from self._read(ref))
        except (BadRequestError, NotFoundError) as error:
            # the documents do not say how the service answers for an offset that no longer exists
            return error

    def _note(self, rows: Rows) -> None:
        for row in rows:
            self._traits.setdefault(row.partition, {})[row.message_offset] = traits_of(row.message)

    def _check_end(self, ref: MessageRef, answer: Message | Exception | None) -> None:
        partition, offset = ref
        subject = (
            f"messages names message_offset {offset} of partition {partition} of topic {self._plan.topic!r}, which"
        )
        if answer is None or isinstance(answer, Exception):
            reason = f" ({answer})" if answer else ""
            raise ConfigurationError(
                f"{subject} no longer exists{reason}: it has aged out, or the topic was recreated. "
                "Query the window again."
            )
        self._times_ms.append(answer.timestamp)
        seen = [source.partitions[partition] for source in self._plan.sources if partition in source.partitions]
        if seen and not any(part.first_timestamp <= answer.timestamp <= part.last_timestamp for part in seen):
            raise ConfigurationError(
                f"{subject} has a different time now ({iso(answer.timestamp)}) than when it was queried: the topic was "
                "recreated. Query the window again."
            )
