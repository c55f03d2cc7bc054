"""
Measurements on a topic of the user's own, read-only: what the API documents leave open, and this service does.

Each is one question, an answer or ``unknown``, and the evidence. A window with a few hundred messages in several
partitions answers them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_mqs.core.client.paging import Paging, paging_of
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.core.client.client import MqsClient
    from airflow_provider_mqs.core.values.message import Message, Page
    from airflow_provider_mqs.core.values.time_window import TimeWindow

_PAGE: Final = 50
_CAP: Final = 500
UNKNOWN: Final = "unknown"


class Measurement(NamedTuple):
    """
    One answer.

    :param question: what was measured
    :param answer: what the service does, or ``unknown``
    :param evidence: what it rests on, or what is missing
    """

    question: str
    answer: str
    evidence: str


class Sample(NamedTuple):
    """
    What the measurements share.

    :param client: opened on the connection
    :param topic: topic name
    :param window: where to look
    :param first: the first page of the window
    """

    client: MqsClient
    topic: str
    window: TimeWindow
    first: Page

    def page(
        self, start_ms: int, end_ms: int, *, limit: int = _PAGE, offset: int = 0, partition: int | None = None
    ) -> Page:
        """
        Ask for one page.

        :param start_ms: first millisecond, epoch
        :param end_ms: value of ``end_time``, epoch ms
        :param limit: rows
        :param offset: whatever it means
        :param partition: only this one, where the service heeds it
        :return: the page
        """
        return one_page(self.client, self.topic, start_ms, end_ms, limit=limit, offset=offset, partition=partition)


def one_page(client: MqsClient, topic: str, start_ms: int, end_ms: int, **paging: Any) -> Page:
    """
    Ask for one page of a window.

    :param client: opened on the connection
    :param topic: topic name
    :param start_ms: first millisecond, epoch
    :param end_ms: value of ``end_time``, epoch ms
    :param paging: ``limit``, ``offset`` and ``partition``
    :return: the page
    :raises MqsError: the service refused
    """
    return client.run(client.api.query_page(topic, start_ms, end_ms, **paging))


def measure(client: MqsClient, topic: str, window: TimeWindow) -> Iterator[Measurement]:
    """
    Measure one thing after the other.

    :param client: opened on the connection
    :param topic: topic with messages in the window
    :param window: where to look
    :return: one measurement for each question, as soon as it is known
    :raises MqsError: the window cannot be queried at all
    """
    first = one_page(client, topic, window.start_ms, window.end_ms, limit=_PAGE, offset=0)
    yield Measurement("messages in the window", str(first.total), f"{len(first.messages)} in the first page")
    sample = Sample(client, topic, window, first)
    for question in _QUESTIONS:
        yield _answer(question, sample)


def _answer(question: str, sample: Sample) -> Measurement:
    try:
        return Measurement(question, *_QUESTIONS[question](sample))
    except MqsError as error:
        return Measurement(question, UNKNOWN, str(error))


def _meaning_of_offset(sample: Sample) -> tuple[str, str]:
    limit = 10 if sample.first.total > 2 * 10 else 2
    if sample.first.total <= limit:
        return UNKNOWN, f"needs more than {limit} messages"
    before, after = (sample.page(*_ends(sample), limit=limit, offset=offset) for offset in (0, 1))
    if len(before.messages) >= sample.first.total:
        return UNKNOWN, "the service gave all messages at once"
    return _NAMES[paging_of(before, after)], f"pages of offset 0 and 1 with limit {limit} compared"


def _largest_page(sample: Sample) -> tuple[str, str]:
    rows = len(sample.first.messages)
    if sample.first.total <= rows:
        return UNKNOWN, f"all {rows} messages fit into one page; needs more than {_PAGE}"
    return f"{rows} rows", f"limit {_PAGE} asked, {sample.first.total} messages there"


def _cap(sample: Sample) -> tuple[str, str]:
    total = sample.first.total
    if total < _CAP:
        return UNKNOWN, f"needs {_CAP} messages or more"
    if total > _CAP:
        return _cap_of_rows(sample)
    start, end = _ends(sample)
    while start < end:
        middle = (start + end) // 2
        left, right = sample.page(start, middle).total, sample.page(middle + 1, end).total
        if left + right > total:
            return f"total stops at {_CAP}", f"two halves of the window have {left} and {right}"
        if left and right:
            break
        start, end = (start, middle) if left else (middle + 1, end)
    return UNKNOWN, f"the window has exactly {_CAP} messages; take a longer one"


def _cap_of_rows(sample: Sample) -> tuple[str, str]:
    meaning, _ = _meaning_of_offset(sample)
    paging = next((paging for paging, name in _NAMES.items() if name == meaning), None)
    limit = len(sample.first.messages)
    if paging is None or not limit:
        return UNKNOWN, "the meaning of offset must be known first"
    beyond = sample.page(*_ends(sample), limit=limit, offset=paging.offset_of(-(-_CAP // limit), limit))
    if beyond.messages:
        return "none", f"rows beyond the {_CAP}th are given"
    return f"rows stop at {_CAP}", f"total says {sample.first.total}, but the page behind {_CAP} rows is empty"


def _end_belongs(sample: Sample) -> tuple[str, str]:
    moment = sample.first.messages[0].timestamp if sample.first.messages else None
    if moment is None:
        return UNKNOWN, "needs a message"
    found = [row for row in sample.page(moment - 1, moment).messages if row.timestamp == moment]
    return ("yes" if found else "no"), f"end_time at the timestamp of a message: {len(found)} rows with it"


def _start_belongs(sample: Sample) -> tuple[str, str]:
    moment = sample.first.messages[0].timestamp if sample.first.messages else None
    if moment is None:
        return UNKNOWN, "needs a message"
    found = [row for row in sample.page(moment, moment + 1).messages if row.timestamp == moment]
    return ("yes" if found else "no"), f"start_time at the timestamp of a message: {len(found)} rows with it"


def _partition_narrows(sample: Sample) -> tuple[str, str]:
    seen = sorted({row.partition for row in sample.first.messages})
    if len(seen) < 2:  # noqa: PLR2004 - one partition cannot be told from all
        return UNKNOWN, "needs messages in two partitions"
    page = sample.page(*_ends(sample), partition=seen[0])
    others = [row for row in page.messages if row.partition != seen[0]]
    return ("no" if others else "yes"), f"partition={seen[0]}: {page.total} of {sample.first.total} messages"


def _window_rows(sample: Sample) -> tuple[str, str]:
    rows = sample.first.messages
    if not rows:
        return UNKNOWN, "needs a message"
    counts = {name: sum(bool(getattr(row, name)) for row in rows) for name in _ATTRIBUTES}
    present = [name for name, count in counts.items() if count]
    return ", ".join(present) or "none", f"of {', '.join(_ATTRIBUTES)}, in {len(rows)} rows"


def _content(sample: Sample) -> tuple[str, str]:
    if not sample.first.messages:
        return UNKNOWN, "needs a message"
    row = sample.first.messages[0]
    return describe(
        _read(sample, row, download=False)
    ), f"message {row.partition}/{row.message_offset}, whose size is {row.size}"


def _download(sample: Sample) -> tuple[str, str]:
    huge = next((row for row in sample.first.messages if row.huge_message), None)
    row = huge or next(iter(sample.first.messages), None)
    if row is None:
        return UNKNOWN, "needs a message"
    kind = "a huge message" if huge else "no huge message in the first page, so a small one"
    return describe(_read(sample, row, download=True)), f"message {row.partition}/{row.message_offset}: {kind}"


def _read(sample: Sample, row: Message, *, download: bool) -> Message | None:
    api = sample.client.api
    return sample.client.run(api.get_message(sample.topic, row.partition, row.message_offset, download=download))


def describe(found: Message | None) -> str:
    """
    Say how much of a message came.

    :param found: the answer to a content query
    :return: ``no message``, ``no value``, or the length of the value
    """
    if found is None:
        return "no message"
    if found.value is None:
        return "no value"
    return f"{len(found.value.encode())} bytes"


def _ends(sample: Sample) -> tuple[int, int]:
    return sample.window.start_ms, sample.window.end_ms


_ATTRIBUTES: Final = ("key", "value", "message_id", "app_id", "tag")
_NAMES: Final = {Paging.PAGE_FROM_0: "page0", Paging.PAGE_FROM_1: "page1", Paging.ROW: "row"}
_QUESTIONS: Final[dict[str, Callable[[Sample], tuple[str, str]]]] = {
    "meaning of offset": _meaning_of_offset,
    "largest page": _largest_page,
    f"cap of {_CAP}": _cap,
    "start_time belongs": _start_belongs,
    "end_time belongs": _end_belongs,
    "partition narrows a window": _partition_narrows,
    "rows of a window carry": _window_rows,
    "content by offset": _content,
    "content with download": _download,
}
