"""What is read from the log of a triggerer, and its table; the measurement itself takes minutes."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from benchmarks import report
from benchmarks.triggerer import longest_gaps

LOG = """\
2026-11-24T12:00:01.000000Z [info     ] Triggerer's async thread was blocked for 0.35 seconds, exceeding the configured
2026-11-24T12:00:02.000000Z [info     ] Triggerer's async thread was blocked for 0.15 seconds, exceeding the configured
2026-11-24T12:00:09.000000Z [info     ] trigger ID 7 starting
2026-11-24T12:00:11.000000Z [info     ] Triggerer's async thread was blocked for 0.24 seconds, exceeding the configured
"""


def at(second: int) -> float:
    return datetime(2026, 11, 24, 12, 0, second, tzinfo=timezone.utc).timestamp()


def test_gaps_while_it_starts_are_distinguished_from_later_ones() -> None:
    """The watchdog's own tenth of a second is subtracted."""
    assert longest_gaps(LOG, at(10)) == pytest.approx((0.25, 0.14))


def test_without_a_line_the_gap_is_shorter_than_what_is_logged() -> None:
    """Gaps shorter than 10 ms are not logged."""
    assert longest_gaps(LOG, at(30)) == pytest.approx((0.25, 0.01))
    assert longest_gaps("", at(30)) == pytest.approx((0.01, 0.01))


def test_the_table_has_a_row_for_each_triggerer() -> None:
    """Two processor seconds for a thousand polls are two milliseconds each."""
    counts = {"topic_lists": 4, "max_open": 3, "left_open": 0, "logins": 1}
    found = {"sensors": 2000, "watchers": 5, "starting_s": 0.25, "longest_s": 0.14, "memory": 3 << 20}

    (row,) = report.triggerers({"ours": {**found, **counts, "polls": 1000, "cpu_s": 2.0}}).splitlines()[2:]

    assert row == "| ours | 2,000 | 5 | 250 ms | 140 ms | 1,000 | 2000 µs | 3 MiB | 4 | 3 | 0 | 1 |"
