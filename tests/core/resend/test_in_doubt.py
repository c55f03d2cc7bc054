"""What is done about messages in doubt, by each value of ``on_unknown``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_mqs.core.resend.in_doubt import Doubting
from airflow_provider_mqs.core.resend.report import Report
from airflow_provider_mqs.core.verify.copy_search import Finding
from airflow_provider_mqs.exceptions import MqsError

if TYPE_CHECKING:
    import pytest

    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

DOUBTS: OffsetsByPartition = {0: ((0, 2),)}
KNOWN: OffsetsByPartition = {0: ((3, 9),)}


class Looking:
    """Gives a verdict, and remembers for what."""

    def __init__(self, sent: OffsetsByPartition, unsent: OffsetsByPartition) -> None:
        self.asked: list[tuple[OffsetsByPartition, OffsetsByPartition]] = []
        self.finding = Finding(sent, unsent, {}, {}, {}, calibrated=True, complete=True)

    async def __call__(self, doubts: OffsetsByPartition, known: OffsetsByPartition) -> Finding:
        self.asked.append((doubts, known))
        return self.finding


async def test_what_was_sent_is_sent_and_what_was_not_goes_out_again() -> None:
    """The rest stays unknown."""
    look = Looking({0: ((0, 0),)}, {0: ((1, 1),)})

    assert await Doubting("verify", Report(10), look).decide(DOUBTS, KNOWN) == ({0: ((0, 0),)}, {0: ((1, 1),)})
    assert look.asked == [(DOUBTS, KNOWN)]


async def test_a_message_goes_out_again_once_after_a_verdict() -> None:
    """A second doubt about it stays one, whatever the verdict; others have their own turn."""
    look = Looking({}, {0: ((1, 1),)})
    doubting = Doubting("verify", Report(10), look)

    assert await doubting.decide(DOUBTS, KNOWN) == ({}, {0: ((1, 1),)})
    look.finding = Finding({}, {0: ((1, 2),)}, {}, {}, {}, calibrated=True, complete=True)
    assert await doubting.decide(DOUBTS, KNOWN) == ({}, {0: ((2, 2),)})
    assert await doubting.decide(DOUBTS, KNOWN) == ({}, {})


async def test_without_a_verdict_everything_stays_in_doubt(caplog: pytest.LogCaptureFixture) -> None:
    """The service does not answer; the log says why."""

    async def refuse(doubts: OffsetsByPartition, known: OffsetsByPartition) -> Finding:
        raise MqsError("no answer")

    assert await Doubting("verify", Report(10), refuse).decide(DOUBTS, KNOWN) == ({}, {})
    assert "could not be found out: no answer" in caplog.text


async def test_fail_looks_for_nothing() -> None:
    """And sends nothing."""
    look = Looking(DOUBTS, {})

    assert await Doubting("fail", Report(10), look).decide(DOUBTS, KNOWN) == ({}, {})
    assert look.asked == []


async def test_resend_sends_blindly_a_few_times_and_names_what_may_be_there_twice() -> None:
    """Five times, then the doubt stands."""
    look, report = Looking(DOUBTS, {}), Report(10)
    doubting = Doubting("resend", report, look)

    assert [await doubting.decide(DOUBTS, KNOWN) for _ in range(6)] == [({}, DOUBTS)] * 5 + [({}, {})]
    assert (report.possible_doubles, look.asked) == (DOUBTS, [])
