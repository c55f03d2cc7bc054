"""The record of a resend: its sum is right at any moment."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.offsets.document import Offsets
from airflow_provider_mqs.core.offsets.plan import Plan, replay_id_of
from airflow_provider_mqs.core.resend.report import MAX_FAILURES_LISTED, Failure, Report, report_document
from airflow_provider_mqs.core.values.time_window import TimeWindow


def failure(offset: int, *, unknown: bool) -> Failure:
    return Failure(0, offset, "MQS.00500000", "HTTP 500", "r-1", unknown=unknown)


@given(st.lists(st.sampled_from(["sent", "failed", "unknown"]), max_size=300), st.integers(0, 50))
def test_sum_is_right_after_every_outcome(outcomes: list[str], left: int) -> None:
    """Requested is the sum of the other counts at any moment, not only at the end."""
    report = Report(requested=len(outcomes) + left)

    for offset, outcome in enumerate(outcomes):
        if outcome == "sent":
            report.add_sent(offset % 3, offset)
        else:
            report.add_failure(failure(offset, unknown=outcome == "unknown"))

        written = report.to_xcom()
        parts = ("sent", "already_sent", "failed", "unknown", "not_attempted")
        assert written["requested"] == sum(written[part] for part in parts)
        assert report.attempted == offset + 1
        assert written["failures_omitted"] + len(written["failures"]) == written["failed"] + written["unknown"]
        assert len(written["failures"]) <= MAX_FAILURES_LISTED

    assert {name: report.to_xcom()[name] for name in ("sent", "failed", "unknown")} == {
        name: outcomes.count(name) for name in ("sent", "failed", "unknown")
    }


def test_first_hundred_failures_are_listed() -> None:
    """A plan that fails as a whole does not fill the XCom; what is left out is counted."""
    report = Report(requested=130)

    for offset in range(130):
        report.add_failure(failure(offset, unknown=False))

    written = report.to_xcom()
    assert [one["message_offset"] for one in written["failures"]] == list(range(100))
    assert written["failures_omitted"] == 30


def test_failure_tells_failed_from_unknown() -> None:
    """A reader of the XCom sees which message may be there all the same."""
    fields: dict[str, Any] = {
        "partition": 0,
        "message_offset": 7,
        "error_code": "MQS.00500000",
        "message": "HTTP 500",
        "request_id": "r-1",
    }

    assert failure(7, unknown=True).to_xcom() == {**fields, "outcome": "unknown"}
    assert failure(7, unknown=False).to_xcom() == {**fields, "outcome": "failed"}


def test_sent_ranges_hold_exactly_what_was_sent() -> None:
    """Offsets come back by partition, as runs, whatever the order of sending was."""
    report = Report(requested=5)

    for partition, offset in ((1, 9), (0, 2), (0, 1), (1, 11), (0, 3)):
        report.add_sent(partition, offset)

    assert report.sent_ranges() == {0: ((1, 3),), 1: ((9, 9), (11, 11))}
    assert report.to_xcom()["sent_ranges"] == {"0": [[1, 3]], "1": [[9, 9], [11, 11]]}


def test_document_says_what_was_planned_and_what_became_of_it() -> None:
    """The window is that of the query, and absent where several were sent at once."""
    window, other = TimeWindow(0, 1000), TimeWindow(1000, 2000)
    one, two = (Offsets("e", "i", "orders", each, {}) for each in (window, other))
    report = Report(requested=1)
    report.add_sent(0, 4)

    def document(*sources: Offsets) -> dict[str, Any]:
        plan = Plan("orders", {0: ((4, 4),)}, sources, digest="sha256:x")
        return report_document(report, plan, endpoint="e", instance_id="i")

    assert document(one) == {
        "schema": "mqs.replay/1",
        "endpoint": "e",
        "instance_id": "i",
        "topic": "orders",
        "window": window.to_xcom(),
        "digest": "sha256:x",
        **report.to_xcom(),
    }
    assert document(one, one)["window"] == window.to_xcom()
    assert document(one, two)["window"] is None
    assert document()["window"] is None


def test_replay_is_named_after_exactly_what_it_sends() -> None:
    """The same plan has the same name; another place, consumer or offset gives another one."""
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
