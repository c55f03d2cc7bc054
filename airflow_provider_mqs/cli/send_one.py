"""One resend on the user's own topic, and what its copy looks like: the other half of what the documents leave open."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.cli.probe import one_page
from airflow_provider_mqs.core.query.query import find_messages
from airflow_provider_mqs.core.values.time_window import TimeWindow, iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.values.message import Message
    from airflow_provider_mqs.hooks.mqs import MqsHook

_PAGE: Final = 50
_PATIENCE_S: Final = 60
_SKEW_MS: Final = 300_000
_COMPARED: Final = ("key", "size", "message_id", "app_id", "tag", "timestamp")


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
    Resend the first message of a window and compare its copy with it.

    The guard rails of the connection apply. Run twice, it makes two copies.

    :param hook: the connection
    :param topic: topic name
    :param window: where to take the message from
    :param ask: puts the question to the user; ``None`` when it is already answered
    :param say: prints a line
    :param sleep: waits for a number of seconds
    :return: whether a copy was found
    :raises MqsError: the resend was refused, or nobody knows what became of it
    """
    first = one_page(hook.get_conn(), topic, window.start_ms, window.end_ms, limit=_PAGE, offset=0)
    source = next(iter(first.messages), None)
    if source is None:
        say("  No message in the window to resend; choose another with --start and --end.")
        return False
    if not _agreed(topic, source, ask):
        say("  Nothing was sent.")
        return False
    seen = set(_places(hook, topic, source))
    sent_ms = time.time_ns() // 1_000_000
    hook.resend(topic, source.partition, source.message_offset)
    say(f"  sent      {topic}/{source.partition}/{source.message_offset} of {iso(source.timestamp)}")
    for waited_s in range(_PATIENCE_S):
        for place, row in _places(hook, topic, source).items():
            if place not in seen:
                _show(source, row, waited_s, sent_ms, say)
                return True
        sleep(1)
    say(f"  FAILED    no copy could be seen within {_PATIENCE_S} s")
    return False


def _agreed(topic: str, source: Message, ask: Callable[[str], str] | None) -> bool:
    if ask is None:
        return True
    place = f"{topic}/{source.partition}/{source.message_offset}"
    try:
        answer = ask(f"  Resend {place}? Every consumer of the topic will get it again. [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in {"y", "yes"}


def _places(hook: MqsHook, topic: str, source: Message) -> dict[int, Message]:
    """Find what lies behind the source in its partition, around now and around the time of the source."""
    now_ms = time.time_ns() // 1_000_000
    near = (TimeWindow(now_ms - _SKEW_MS, now_ms + _SKEW_MS), TimeWindow(source.timestamp, source.timestamp + 1))
    return {
        row.message_offset: row
        for window in near
        for row in _rows(hook, topic, window)
        if row.partition == source.partition and row.message_offset > source.message_offset
    }


def _rows(hook: MqsHook, topic: str, window: TimeWindow) -> list[Message]:
    now_ms = time.time_ns() // 1_000_000
    # what may be missing does not matter here: an unseen copy is looked for again
    rows, _ = hook.run_concurrently(lambda api: find_messages(api, topic, window, now_ms=now_ms))
    return rows


def _show(source: Message, copy: Message, waited_s: int, sent_ms: int, say: Callable[[str], None]) -> None:
    say(f"  copy      {copy.partition}/{copy.message_offset}, seen after about {waited_s} s")
    for name in _COMPARED:
        before, after = getattr(source, name), getattr(copy, name)
        say(f"  {name:10}  {_compare(before, after)}")
    say(f"  its time is {copy.timestamp - sent_ms:+d} ms from when this machine sent it")


def _compare(before: object, after: object) -> str:
    if before == after:
        return "the same" if before else "empty in both"
    return "differs" if before and after else f"{'set' if after else 'empty'} in the copy only"
