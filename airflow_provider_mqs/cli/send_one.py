"""One resend on the user's own topic, and what its copy looks like: the other half of what the documents leave open."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.core.query.query import find_messages
from airflow_provider_mqs.core.values.time_window import TimeWindow, iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.values.message import Message
    from airflow_provider_mqs.hooks.mqs import MqsHook

_WAIT_S: Final = 60
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
