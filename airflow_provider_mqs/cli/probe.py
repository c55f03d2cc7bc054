"""
Measurements on a topic of the user's own: what the API documents leave open, and how this service behaves.

``measure`` is read-only. Each measurement has a question, an answer or ``unknown``, and the evidence. A window with a
few hundred messages in several partitions answers them all. ``send_one`` shows what a copy looks like, and makes one.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_mqs.core.client.paging import Paging, paging_of
from airflow_provider_mqs.core.query.query import find_messages
from airflow_provider_mqs.core.values.time_window import TimeWindow, iso
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.core.client.client import MqsClient
    from airflow_provider_mqs.core.values.message import Message, Page
    from airflow_provider_mqs.hooks.mqs import MqsHook

_PAGE: Final = 50
_CAP: Final = 500
_ATTRIBUTES: Final = ("key", "value", "message_id", "app_id", "tag")
_PAGING_NAMES: Final = {Paging.PAGE_FROM_0: "page0", Paging.PAGE_FROM_1: "page1", Paging.ROW: "row"}
_WAIT_S: Final = 60
_SKEW_MS: Final = 300_000
_COMPARED: Final = ("key", "size", "message_id", "app_id", "tag", "timestamp")
UNKNOWN: Final = "unknown"


class Measurement(NamedTuple):
    """One answer; ``evidence`` is what it rests on or, if it is ``unknown``, what is missing."""

    question: str
    answer: str
    evidence: str


class Sample(NamedTuple):
    """What the measurements share; ``first`` is the first page of the window."""

    client: MqsClient
    topic: str
    window: TimeWindow
    first: Page

    def page(
        self, start_ms: int, end_ms: int, *, limit: int = _PAGE, offset: int = 0, partition: int | None = None
    ) -> Page:
        """Return one page of the topic."""
        flow = self.client.api.query_page(self.topic, start_ms, end_ms, limit=limit, offset=offset, partition=partition)
        return self.client.run(flow)

    def whole_window(self, **paging: Any) -> Page:
        """Return one page of the window."""
        return self.page(self.window.start_ms, self.window.end_ms, **paging)

    def content(self, row: Message, *, download: bool) -> Message | None:
        """Return a message of the topic with its content."""
        api = self.client.api
        return self.client.run(api.get_message(self.topic, row.partition, row.message_offset, download=download))


def _total(page: Page) -> int:
    """Return how many messages the service says there are; without a word of it, those that it showed."""
    return len(page.rows) if page.total is None else page.total


def measure(client: MqsClient, topic: str, window: TimeWindow) -> Iterator[Measurement]:
    """Yield one measurement per question, as soon as it is known; raise ``MqsError`` if nothing can be queried."""
    first = client.run(client.api.query_page(topic, window.start_ms, window.end_ms, limit=_PAGE, offset=0))
    yield Measurement("messages in the window", str(_total(first)), f"{len(first.messages)} in the first page")
    sample = Sample(client, topic, window, first)
    for question, answer in _QUESTIONS.items():
        try:
            measurement = Measurement(question, *answer(sample))
        except MqsError as error:
            measurement = Measurement(question, UNKNOWN, str(error))
        yield measurement


def meaning_of_offset(sample: Sample) -> tuple[str, str]:
    """Compare the pages of offset 0 and 1."""
    limit = 10 if _total(sample.first) > 2 * 10 else 2
    if _total(sample.first) <= limit:
        return UNKNOWN, f"needs more than {limit} messages"
    first, second = (sample.whole_window(limit=limit, offset=offset) for offset in (0, 1))
    if len(first.messages) >= _total(sample.first):
        return UNKNOWN, "the service returned all messages at once"
    return _PAGING_NAMES[paging_of(first, second)], f"compared the pages of offset 0 and 1 with limit {limit}"


def largest_page(sample: Sample) -> tuple[str, str]:
    """Count the rows of a full page."""
    rows = len(sample.first.messages)
    if _total(sample.first) <= rows:
        return UNKNOWN, f"all {rows} messages fit into one page; needs more than {_PAGE}"
    return f"{rows} rows", f"limit {_PAGE} requested, {_total(sample.first)} messages there"


def cap(sample: Sample) -> tuple[str, str]:
    """Find out whether ``total`` or the rows stop at 500."""
    total = _total(sample.first)
    if total < _CAP:
        return UNKNOWN, f"needs {_CAP} messages or more"
    if total > _CAP:
        return cap_of_rows(sample)
    # a total of exactly 500 may be the cap: then the halves of the window add up to more
    start, end = sample.window.start_ms, sample.window.end_ms
    while start < end:
        middle = (start + end) // 2
        left, right = _total(sample.page(start, middle)), _total(sample.page(middle + 1, end))
        if left + right > total:
            return f"total stops at {_CAP}", f"the two halves of the window have {left} and {right}"
        if left and right:
            break
        start, end = (start, middle) if left else (middle + 1, end)
    return UNKNOWN, f"the window has exactly {_CAP} messages; choose a longer one"


def cap_of_rows(sample: Sample) -> tuple[str, str]:
    """Query the first page after 500 rows."""
    meaning, _ = meaning_of_offset(sample)
    paging = next((paging for paging, name in _PAGING_NAMES.items() if name == meaning), None)
    limit = len(sample.first.messages)
    if paging is None or not limit:
        return UNKNOWN, "the meaning of offset must be known first"
    if sample.whole_window(limit=limit, offset=paging.offset_of(-(-_CAP // limit), limit)).messages:
        return "none", f"the service returns rows after the {_CAP}th"
    return f"rows stop at {_CAP}", f"total is {_total(sample.first)}, but the page after {_CAP} rows is empty"


def includes(sample: Sample, parameter: str, before_ms: int, after_ms: int) -> tuple[str, str]:
    """Query a range that has a message at the end that ``parameter`` sets."""
    moment = sample.first.messages[0].timestamp if sample.first.messages else None
    if moment is None:
        return UNKNOWN, "needs a message"
    found = [row for row in sample.page(moment - before_ms, moment + after_ms).messages if row.timestamp == moment]
    return ("yes" if found else "no"), f"{parameter} at the timestamp of a message: {len(found)} rows with it"


def partition_narrows(sample: Sample) -> tuple[str, str]:
    """Query the window with the parameter ``partition``."""
    partitions = sorted({row.partition for row in sample.first.messages})
    if len(partitions) < 2:  # noqa: PLR2004 - with one partition, narrowed and whole look the same
        return UNKNOWN, "needs messages in two partitions"
    page = sample.whole_window(partition=partitions[0])
    others = [row for row in page.messages if row.partition != partitions[0]]
    return ("no" if others else "yes"), f"partition={partitions[0]}: {_total(page)} of {_total(sample.first)} messages"


def attributes_of_rows(sample: Sample) -> tuple[str, str]:
    """List which optional attributes the rows of a window carry."""
    rows = sample.first.messages
    if not rows:
        return UNKNOWN, "needs a message"
    present = [name for name in _ATTRIBUTES if any(asdict(row)[name] for row in rows)]
    return ", ".join(present) or "none", f"of {', '.join(_ATTRIBUTES)}, in {len(rows)} rows"


def content_by_offset(sample: Sample) -> tuple[str, str]:
    """Query one message with its content."""
    if not sample.first.messages:
        return UNKNOWN, "needs a message"
    row = sample.first.messages[0]
    evidence = f"message {row.partition}/{row.message_offset}, whose size is {row.size}"
    return describe(sample.content(row, download=False)), evidence


def content_with_download(sample: Sample) -> tuple[str, str]:
    """Download one message, a huge one if there is one."""
    huge = next((row for row in sample.first.messages if row.huge_message), None)
    row = huge or next(iter(sample.first.messages), None)
    if row is None:
        return UNKNOWN, "needs a message"
    kind = "a huge message" if huge else "no huge message in the first page, so a small one"
    return describe(sample.content(row, download=True)), f"message {row.partition}/{row.message_offset}: {kind}"


def describe(found: Message | None) -> str:
    """Return how much of a message a content query returned."""
    if found is None:
        return "no message"
    if found.value is None:
        return "no value"
    return f"{len(found.value.encode())} bytes"


_QUESTIONS: Final[dict[str, Callable[[Sample], tuple[str, str]]]] = {
    "meaning of offset": meaning_of_offset,
    "largest page": largest_page,
    f"cap of {_CAP}": cap,
    "start_time belongs": partial(includes, parameter="start_time", before_ms=0, after_ms=1),
    "end_time belongs": partial(includes, parameter="end_time", before_ms=1, after_ms=0),
    "partition narrows a window": partition_narrows,
    "rows of a window carry": attributes_of_rows,
    "content by offset": content_by_offset,
    "content with download": content_with_download,
}


def send_one(
    hook: MqsHook,
    topic: str,
    window: TimeWindow,
    *,
    ask: Callable[[str], str] | None,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """
    Resend the first message of a window and compare its copy with it; return whether a copy was found.

    The guard rails of the connection apply. ``ask`` asks the user first, unless it is ``None``. Each call makes a copy.
    """
    client = hook.get_conn()
    first = client.run(client.api.query_page(topic, window.start_ms, window.end_ms, limit=1, offset=0))
    source = next(iter(first.messages), None)
    if source is None:
        say("  No message in the window to resend: choose another one with --start and --end.")
        return False
    ref = f"{topic}/{source.partition}/{source.message_offset}"
    try:
        answer = ask(f"  Resend {ref}? Every consumer of the topic will receive it again. [y/N] ") if ask else "yes"
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        say("  Nothing was sent.")
        return False
    before = set(_later_messages(hook, topic, source))
    sent_ms = time.time_ns() // 1_000_000
    hook.resend(topic, source.partition, source.message_offset)
    say(f"  sent      {ref} of {iso(source.timestamp)}")
    for waited_s in range(_WAIT_S):
        for message_offset, message in _later_messages(hook, topic, source).items():
            if message_offset not in before:
                _compare(source, message, waited_s, sent_ms, say)
                return True
        sleep(1)
    say(f"  FAILED    no copy was found within {_WAIT_S} s")
    return False


def _later_messages(hook: MqsHook, topic: str, source: Message) -> dict[int, Message]:
    """Return by offset what follows the source in its partition, with a time near now or equal to the source's."""
    now_ms = time.time_ns() // 1_000_000
    windows = (TimeWindow(now_ms - _SKEW_MS, now_ms + _SKEW_MS), TimeWindow(source.timestamp, source.timestamp + 1))
    found: dict[int, Message] = {}
    for window in windows:
        # an incomplete window does not matter here: the next call finds a copy that this one has missed
        messages, _ = hook.run_concurrently(
            lambda api, window=window: find_messages(api, topic, window, now_ms=now_ms)  # type: ignore[misc]  # the default binds the window
        )
        found |= {message.message_offset: message for message in messages if message.partition == source.partition}
    return {message_offset: found[message_offset] for message_offset in found if message_offset > source.message_offset}


def _compare(source: Message, copy: Message, waited_s: int, sent_ms: int, say: Callable[[str], None]) -> None:
    say(f"  copy      {copy.partition}/{copy.message_offset}, visible after about {waited_s} s")
    attributes, attributes_of_copy = asdict(source), asdict(copy)
    for name in _COMPARED:
        before, after = attributes[name], attributes_of_copy[name]
        if before == after:
            comparison = "the same" if before else "empty in both"
        elif before and after:
            comparison = "differs"
        else:
            comparison = f"{'set' if after else 'empty'} in the copy only"
        say(f"  {name:10}  {comparison}")
    say(f"  timestamp of the copy minus the time of sending, by this machine's clock: {copy.timestamp - sent_ms:+d} ms")
