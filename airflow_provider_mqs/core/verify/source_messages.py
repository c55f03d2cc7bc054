"""
The messages of a plan as the service shows them now: whether they still exist, and what they look like. Flows.

None of this travels in XComs: a plan may be hours old when it is sent, and the topic a different one by then.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.client.flow import Flow, Parallel
from airflow_provider_mqs.core.offsets import partition_offsets
from airflow_provider_mqs.core.query.slices import CAP, Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from airflow_provider_mqs.core.values.time_window import iso
from airflow_provider_mqs.core.verify.copy_traits import Shown, shown
from airflow_provider_mqs.exceptions import (
    BadRequestError,
    ConfigurationError,
    MqsError,
    NotFoundError,
    ServerError,
    WindowTooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.offsets.partition_offsets import MessageRef, OffsetsByPartition
    from airflow_provider_mqs.core.offsets.plan import Plan
    from airflow_provider_mqs.core.values.message import Message, Rows

_log = logging.getLogger(__name__)
_FEW = 100
"""Up to this many messages are requested one by one rather than with their window."""


class _AllShownError(MqsError):
    """Everything that is wanted of a window was shown."""


class SourceMessages:
    """What is known of the messages of a topic; each is read once."""

    def __init__(self, api: MqsApi, plan: Plan) -> None:
        self.by_offset = True
        """Whether the service returns single messages by offset; not known before ``check_ends``."""
        self.shown: dict[MessageRef, Shown] = {}
        """The messages that were read and still exist."""
        self._api = api
        self._plan = plan
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

    def load(
        self, offsets: OffsetsByPartition, spans: Iterable[tuple[tuple[int, int], OffsetsByPartition]] = ()
    ) -> Flow[None]:
        """
        Find out what messages look like, with their windows if that takes fewer requests.

        ``spans`` are windows, and which messages of other plans lie in them; this one's window is known.
        """
        own = [(*window, offsets, True) for window in self._own_window()]
        others = [(*span, held, False) for span, held in spans]
        for start_ms, end_ms, held, is_own in _joined([*own, *others]):
            missing = self._not_loaded(held)
            wanted = partition_offsets.count(missing)
            if wanted <= _FEW:
                continue
            if (is_own and self._whole_window) or (yield from self._is_dense(start_ms, end_ms, wanted)):
                yield from self._read_window(start_ms, end_ms, missing)
        if self.by_offset:
            yield Parallel(self._read(ref) for ref in partition_offsets.expand(self._not_loaded(offsets)))

    def _read_window(self, start_ms: int, end_ms: int, missing: OffsetsByPartition) -> Flow[None]:
        """Read a window until what is missing was shown; whether it was shown whole does not matter."""
        left = set(partition_offsets.expand(missing))

        def note(rows: Rows) -> None:
            self._note(rows)
            left.difference_update((row.partition, row.message_offset) for row in rows)
            if not left:
                raise _AllShownError

        only = next(iter(missing)) if len(missing) == 1 else None
        with suppress(_AllShownError):
            yield from WindowReader(self._api, self._plan.topic, note, missing).read(Slice(start_ms, end_ms, only))

    @property
    def _whole_window(self) -> bool:
        """Whether the plan holds everything in its window, as far as its documents go."""
        return bool(self._plan.sources) and not any(source.filters for source in self._plan.sources)

    def _own_window(self) -> list[tuple[int, int]]:
        if self._times_ms:
            return [(min(self._times_ms), max(self._times_ms) + 1)]
        windows = [source.window for source in self._plan.sources]
        return [(min(one.start_ms for one in windows), max(one.end_ms for one in windows))] if windows else []

    def _is_dense(self, start_ms: int, end_ms: int, wanted: int) -> Flow[bool]:
        """Return whether a window takes fewer pages than there are messages wanted from it."""
        try:
            page = yield from self._api.query_page(self._plan.topic, start_ms, end_ms, limit=1, offset=0)
        except (WindowTooLargeError, ServerError):
            # a window that the service cannot count is not worth reading for a few messages
            return False
        if page.total is None or page.total == CAP:
            # it may stand for any number, but for no fewer messages than that
            return wanted > CAP
        return page.total < wanted * self._api.settings.page_size

    def _not_loaded(self, offsets: OffsetsByPartition) -> OffsetsByPartition:
        return partition_offsets.from_refs(ref for ref in partition_offsets.expand(offsets) if ref not in self.shown)

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
            self.shown[row.partition, row.message_offset] = shown(row.message)

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


def _joined(
    windows: Iterable[tuple[int, int, OffsetsByPartition, bool]],
) -> list[tuple[int, int, OffsetsByPartition, bool]]:
    """Join windows that overlap, so that what lies in both is read once; small ones take fewer requests."""
    joined: list[tuple[int, int, OffsetsByPartition, bool]] = []
    for start_ms, end_ms, held, is_own in sorted(windows, key=itemgetter(0, 1)):
        if joined and start_ms < joined[-1][1]:
            before_ms, last_ms, held_before, was_own = joined[-1]
            both = partition_offsets.union(held_before, held)
            joined[-1] = (before_ms, max(last_ms, end_ms), both, was_own and is_own)
        else:
            joined.append((start_ms, end_ms, held, is_own))
    return joined
