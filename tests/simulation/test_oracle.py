"""The oracle notices each kind of broken promise, in facts that are made up for it."""

from __future__ import annotations

from typing import Any

from simulation.facts import Facts, Queried, Resent
from simulation.oracle import Oracle
from simulation.schedule import Run
from simulation.service import LostAppend, Row, SimulatedService
from simulation.virtual_time import EPOCH_S

RUN = Run("A", 0.0, -10_800.0, -7_200.0)
SOURCE = (0, 0)


def row(offset: int, at_s: float, source: tuple[int, int] | None = None, by: str = "", value: str = "a") -> Row:
    return Row((0, offset), int((EPOCH_S + at_s) * 1000), value, at_s, at_s, source, None, by, at_s)


def report(**changes: Any) -> dict[str, Any]:
    return {
        "requested": 1,
        "sent": 1,
        "already_sent": 0,
        "failed": 0,
        "unknown": 0,
        "not_attempted": 0,
        "verified": True,
        "sent_ranges": {"0": [[0, 0]]},
        "copies": {},
        "missing_copies": {},
        "possible_doubles": {},
        "failures": [],
        **changes,
    }


def resent(name: str = "A-resend0-1", run: Run = RUN, **changes: Any) -> Resent:
    values = {"report": report(), "ended_s": 50.0, **changes}
    return Resent(name, "A-resend0", 0, run, {}, frozenset({SOURCE}), 1.0, **values)


def found(rows: list[Row], *told: Resent, queried: Queried | None = None, lost: LostAppend | None = None) -> set[str]:
    service = SimulatedService()
    service.rows = {one.ref: one for one in rows}
    service.lost = [lost] if lost else []
    service.posted = [(one.posted_s, one.by, one.source) for one in rows if one.source is not None]
    facts = Facts(resent=list(told), queried=[queried] if queried else [])
    return {violation.check for violation in Oracle(service, facts, [], most_claimed=5).judge()}


ORIGINAL = row(0, -10_000.0)
COPY = row(1, 2.0, SOURCE, "A-resend0-1")


def test_a_copy_for_each_message_is_right() -> None:
    """Nothing is said about a resend that did what it says."""
    assert found([ORIGINAL, COPY], resent()) == set()


def test_called_sent_without_a_copy_is_lost() -> None:
    """A report may not claim what the service never had."""
    assert {"lost", "falsely verified", "silent loss"} <= found([ORIGINAL], resent())


def test_what_the_service_acknowledged_may_be_called_sent_but_not_verified() -> None:
    """The sender cannot know that it is lost, but the verification must not find it."""
    lost = LostAppend(SOURCE, None, "A-resend0-1", 2.0)
    assert found([ORIGINAL], resent(), lost=lost) == {"falsely verified"}
    assert found([ORIGINAL], resent(report=report(verified=None)), lost=lost) == set()


def test_two_copies_must_be_named() -> None:
    """Two tries of one task may send a message twice only if one of them says so."""
    rows = [ORIGINAL, COPY, row(2, 9.0, SOURCE, "A-resend0-2")]
    doubles = {"0": [[0, 0]]}
    assert found(rows, resent(), resent("A-resend0-2")) == {"sent twice"}
    assert found(rows, resent(), resent("A-resend0-2", report=report(possible_doubles=doubles))) == set()


def test_another_wish_may_send_again() -> None:
    """Another task with ``on_replayed="resend"`` wants one more copy."""
    again = Resent(
        "B-resend0-1",
        "B-resend0",
        0,
        Run("B", 5.0, 0.0, 1.0, on_replayed="resend"),
        {},
        frozenset({SOURCE}),
        5.0,
        ended_s=50.0,
        report=report(),
    )
    assert found([ORIGINAL, COPY, row(2, 9.0, SOURCE, "B-resend0-1")], resent(), again) == set()


def test_a_complete_query_has_every_original_and_no_copy() -> None:
    """Neither may a message of a producer be left out, nor a copy be let in."""
    span = int((EPOCH_S - 20_000) * 1000), int((EPOCH_S + 20) * 1000)
    whole = Queried("Q", *span, 30.0, 31.0, frozenset({SOURCE}), complete=True)
    lacking = Queried("Q", *span, 30.0, 31.0, frozenset(), complete=True)
    loop = Queried("Q", *span, 30.0, 31.0, frozenset({SOURCE, COPY.ref}), complete=True)
    honest = Queried("Q", *span, 30.0, 31.0, frozenset(), complete=False)

    assert found([ORIGINAL, COPY], resent(), queried=whole) == set()
    assert found([ORIGINAL, COPY], resent(), queried=lacking) == {"original left out"}
    assert found([ORIGINAL, COPY], resent(), queried=loop) == {"copy let in"}
    assert found([ORIGINAL, COPY], resent(), queried=honest) == set()


def test_an_original_is_no_copy() -> None:
    """A report may not name a producer's message as a copy."""
    rows = [ORIGINAL, COPY, row(2, 3.0, value="b")]
    assert found(rows, resent(report=report(copies={"0": [[2, 2]]}))) == {"original recorded"}


def test_counts_add_up() -> None:
    """A report accounts for each message once."""
    assert found([ORIGINAL, COPY], resent(report=report(failed=1))) == {"counts"}
