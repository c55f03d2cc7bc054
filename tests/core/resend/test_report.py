"""The report renders the account."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_mqs.core.ledger.account import MAX_FAILURES_LISTED, Account, Failure
from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.offsets.plan import Plan, replay_id_of
from airflow_provider_mqs.core.resend.report import Meter, Report
from airflow_provider_mqs.core.values.time_window import TimeWindow


def failure(offset: int, *, unknown: bool) -> Failure:
    return Failure(0, offset, "MQS.00500000", "HTTP 500", "r-1", unknown=unknown)


def rendered(report: Report, plan: Plan | None = None) -> dict[str, Any]:
    return report.to_xcom(plan or Plan("orders", report.account.planned), endpoint="e", instance_id="i")


def test_counts_and_failures_are_those_of_the_account() -> None:
    """A reader of the XCom sees which message may be there all the same."""
    account = Account({0: ((0, 9),)}, done={0: ((1, 2),)}, already_sent={0: ((0, 0),)})
    account.claim([(0, 5), (0, 7), (0, 8)])
    account.mark_failed(failure(7, unknown=False))
    account.mark_in_doubt(failure(8, unknown=True))
    account.give_up([(0, 8)])
    account.mark_sent((0, 5))

    written = rendered(Report(account))

    names = ("requested", "sent", "already_sent", "failed", "unknown", "not_attempted", "failures_omitted")
    assert {name: written[name] for name in names} == {
        "requested": 10,
        "sent": 3,
        "already_sent": 1,
        "failed": 1,
        "unknown": 1,
        "not_attempted": 4,
        "failures_omitted": 0,
    }
    common = {"partition": 0, "error_code": "MQS.00500000", "message": "HTTP 500", "request_id": "r-1"}
    assert written["failures"] == [
        {**common, "message_offset": 7, "outcome": "failed"},
        {**common, "message_offset": 8, "outcome": "unknown"},
    ]
    assert written["sent_ranges"] == {"0": [[1, 2], [5, 5]]}


def test_first_hundred_failures_are_listed() -> None:
    """A plan that fails as a whole does not fill the XCom; what is left out is counted."""
    account = Account({0: ((0, 129),)})
    for offset in range(130):
        account.mark_failed(failure(offset, unknown=False))

    written = rendered(Report(account))

    assert [one["message_offset"] for one in written["failures"]] == list(range(MAX_FAILURES_LISTED))
    assert written["failures_omitted"] == 30


def test_document_says_what_was_planned_and_what_became_of_it() -> None:
    """The window is that of the query, and absent if several were sent at once."""
    window, other = TimeWindow(0, 1000), TimeWindow(1000, 2000)
    one, two = (Offsets("e", "i", "orders", each, {}) for each in (window, other))
    report = Report(Account({0: ((4, 4),)}, done={0: ((4, 4),)}), verified=True)

    def document(*sources: Offsets) -> dict[str, Any]:
        return rendered(report, Plan("orders", {0: ((4, 4),)}, sources, digest="sha256:x"))

    assert document(one) == {
        "schema": "mqs.replay/1",
        "endpoint": "e",
        "instance_id": "i",
        "topic": "orders",
        "window": window.to_xcom(),
        "digest": "sha256:x",
        "requested": 1,
        "sent": 1,
        "already_sent": 0,
        "failed": 0,
        "unknown": 0,
        "not_attempted": 0,
        "verified": True,
        "sent_ranges": {"0": [[4, 4]]},
        "copies": {},
        "missing_copies": {},
        "possible_doubles": {},
        "failures": [],
        "failures_omitted": 0,
        "requests": 0,
    }
    assert document(one, one)["window"] == window.to_xcom()
    assert document(one, two)["window"] is None
    assert document()["window"] is None


def test_replay_is_named_after_exactly_what_it_sends() -> None:
    """The same plan has the same name; another endpoint, consumer or offset changes it."""
    plan = Plan("orders", {1: ((0, 9),), 0: ((5, 5),)})
    same = Plan("orders", {0: ((5, 5),), 1: ((0, 9),)})
    others = [
        ("other", "i", plan, None),
        ("e", "other", plan, None),
        ("e", "i", Plan("other", plan.partitions), None),
        ("e", "i", Plan("orders", {0: ((5, 5),), 1: ((0, 8),)}), None),
        ("e", "i", Plan("orders", {0: ((0, 9),), 1: ((5, 5),)}), None),
        ("e", "i", plan, "billing"),
    ]

    name = replay_id_of("e", "i", plan, None)

    assert name == replay_id_of("e", "i", same, None)
    assert len({name, *(replay_id_of(*other) for other in others)}) == 1 + len(others)


def test_progress_is_written_every_five_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """A line says what was done, how fast, and how long it will take."""
    now_s, report = 100.0, Report(Account({0: ((0, 99),)}))
    meter = Meter(report, lambda: now_s)

    with caplog.at_level(logging.INFO):
        for offset in range(20):
            with meter:
                now_s += 0.5
            if offset == 4:
                report.account.mark_failed(Failure(0, offset, "", "No.", "", unknown=False))
            else:
                report.account.mark_sent((0, offset))
            meter.tick(posted=True)

    assert [record.getMessage() for record in caplog.records] == [
        f"{sent} of 100 messages sent, 0 already sent, 1 failed, 0 unknown, {left} not attempted; "
        f"2.0 messages/s, about {left // 2} s to go"
        for sent, left in ((9, 90), (19, 80))
    ]


def test_progress_without_a_message_has_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is divided by zero before the first outcome."""
    now_s = 100.0
    meter = Meter(Report(Account({0: ((0, 4),)})), lambda: now_s)
    assert (meter.rate, meter.elapsed_s) == (0.0, 0.0)

    with caplog.at_level(logging.INFO), meter:
        now_s += 6
        meter.tick(posted=False)

    assert "0.0 messages/s, about 0 s to go" in caplog.text


def test_rate_counts_only_the_time_in_which_messages_are_sent() -> None:
    """A retry that waited 90 s for copies, before and in between, knows how long the rest will take."""
    now_s, report = 100.0, Report(Account({0: ((0, 9999),)}, done={0: ((0, 4999),)}))
    meter = Meter(report, lambda: now_s)

    for _ in range(2):
        now_s += 90  # it waits for copies
        for _ in range(100):
            with meter:
                now_s += 0.1
            meter.tick(posted=True)
    progress = meter.progress()

    assert progress.rate == pytest.approx(10)
    assert progress.elapsed_s == pytest.approx(110)


def test_rate_counts_messages_that_are_sent_side_by_side_once() -> None:
    """Two workers in the same ten seconds; one goes on while the other waits for a copy."""
    now_s = 0.0
    meter = Meter(Report(Account({0: ((0, 99),)})), lambda: now_s)

    with meter:
        with meter:
            now_s += 10
        meter.tick(posted=True)
        now_s += 5
        assert meter.rate == pytest.approx(1 / 15)
    meter.tick(posted=True)
    now_s += 1000

    assert meter.rate == pytest.approx(2 / 15)


def test_messages_that_were_not_posted_make_nothing_faster() -> None:
    """Those that were found to be sent, or that a stop held back, are no measure."""
    now_s = 0.0
    meter = Meter(Report(Account({0: ((0, 99),)}, done={0: ((0, 49),)})), lambda: now_s)

    for posted in (True, False):
        with meter:
            now_s += 1
        meter.tick(posted=posted)

    assert meter.rate == 0.5
