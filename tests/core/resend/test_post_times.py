"""When each message was posted, in little memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from airflow_provider_mqs.core.resend.post_times import PostTimes


def test_each_message_has_its_own_interval() -> None:
    """Whatever the order of the answers; what was not posted has none."""
    times, refs = PostTimes(), [(partition, offset) for partition in range(3) for offset in range(0, 200, 2)]
    random.Random(1).shuffle(refs)  # noqa: S311 - an order

    for partition, offset in refs:
        times.note((partition, offset), offset + partition / 4, offset + 1.0)

    assert {ref: times[ref] for ref in refs} == {(p, o): (o + p / 4, o + 1.0) for p, o in refs}
    assert (len(times), sorted(times)) == (300, sorted(refs))
    assert times.get((0, 1)) is None
    assert times.get((7, 0)) is None
    with pytest.raises(KeyError):
        times[0, 200]


def test_messages_may_be_noted_after_a_look() -> None:
    """Verification looks in the midst of a sending, for the canary."""
    times = PostTimes()
    times.note((0, 5), 1.0, 2.0)
    assert (0, 5) in times

    times.note((0, 3), 2.0, 3.0)
    times.note((0, 9), 3.0, 4.0)

    assert [times[0, offset] for offset in (3, 5, 9)] == [(2.0, 3.0), (1.0, 2.0), (3.0, 4.0)]


def test_a_hundred_thousand_messages_take_little_memory() -> None:
    """Less than 32 bytes each."""
    times = PostTimes()
    tracemalloc.start()
    try:
        for offset in range(100_000):
            times.note((offset % 8, offset), float(offset), float(offset))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held < 32 * 100_000
