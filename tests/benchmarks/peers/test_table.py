"""What is made of observations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import report
from benchmarks.peers import __main__ as program
from benchmarks.peers import table
from benchmarks.peers.cases import CASES

NOTHING = {"bytes": 0, "bodies": 0, "secrets": 0}


def row(state: str = "success", seconds: float = 0.1, **more: Any) -> dict[str, Any]:
    holds = {"xcom": NOTHING, "event": NOTHING, "trigger": NOTHING}
    known: dict[str, Any] = {
        "error": "",
        "timeout": 4.0,
        "seen": None,
        "left": {"messages": 3},
        "requests": 1,
        "per_second": None,
    }
    return {"state": state, "seconds": seconds, **known, "logins": 0, "holds": holds, **more}


def peer(cases: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"counts": True, "cases": cases, "modes": ["poke", "reschedule", "deferred"], "not_run": {}, **more}


def test_the_page_is_made_of_the_observations() -> None:
    """Whoever changes either by hand finds the other against him."""
    found = json.loads(program.RAW.read_text())

    assert program.PAGE.read_text().partition(report.MARK)[2].strip() == table.page(found).strip()


def test_the_observations_are_written_a_line_each() -> None:
    """So that a difference can be read."""
    text = program.RAW.read_text()
    found = json.loads(text)

    assert text == program.lines(found) + "\n"
    assert sum('"holds"' in line for line in text.splitlines()) == text.count('"holds"')


def test_every_case_was_observed_with_every_sensor() -> None:
    """In all modes that the sensor has, or there is a reason."""
    found = json.loads(program.RAW.read_text())["peers"]

    for name, seen in found.items():
        for case in CASES:
            modes = [mode for mode in case.modes if mode in seen["modes"]]
            if case.name not in seen["not_run"]:
                assert list(seen["cases"][case.key]) == modes, (name, case.key)


def test_the_page_is_written_again_without_running_anything(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is behind the mark."""
    page = tmp_path / "waiting.md"
    page.write_text(f"text\n\n{report.MARK}\nold\n")
    monkeypatch.setattr(program, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["peers", "--again"])

    program.main()

    assert page.read_text().startswith(f"text\n\n{report.MARK}\n### What is waited for\n")


def test_modes_that_agree_are_not_named() -> None:
    """One phrase for all, else one for each that differs."""
    modes = ["poke", "reschedule", "deferred"]

    assert table.by_mode({"poke": "a", "reschedule": "a", "deferred": "a"}, modes) == "a"
    assert table.by_mode({"poke": "a", "reschedule": "a", "deferred": "b"}, modes) == "poke, reschedule: a; deferred: b"


@pytest.mark.parametrize(
    ("case", "observed", "text"),
    [
        ("there", row(seen=3), "success with 3 at once"),
        ("there", row(), "success at once"),
        ("few", row(seen=1), "success at once, though 1 is there"),
        ("empty", row("skipped"), "skipped at once"),
        ("empty", row("failed", 4.2, error="AirflowSensorTimeout: x"), "fails for good at the timeout"),
        ("timeout", row("skipped", 4.2, error="AirflowSkipException: Sensor has timed out"), "skipped at the timeout"),
        ("outage", row("up_for_retry", error="ClientError: x"), "fails, may be retried"),
        ("late", row(seconds=4.2), "success after 4 s"),
        ("down", row("deferred", 40.0), "waits on"),
    ],
)
def test_an_ending_is_said_in_words(case: str, observed: dict[str, Any], text: str) -> None:
    """The state, what is wrong with a success, and when, where that matters."""
    assert table.ended(case, observed) == text


def test_a_case_that_was_not_run_says_why() -> None:
    """Instead of a guess."""
    assert table.outcome("login")(peer({}, not_run={"login": "there is none"})) == "not run: there is none"
    assert table.login(peer({}, not_run={"login": "there is none"})) == "not run: there is none"


def test_what_cannot_be_said_is_not_possible() -> None:
    """Whatever the sensor does instead."""
    queue = peer({"few": {"poke": row(seen=1)}, "there": {"poke": row(seen=3)}}, counts=False)

    assert table.outcome("few")(queue) == "not possible: success at once, though 1 is there"
    assert table.outcome("there")(queue) == "success with 3 at once"


def test_silent_fail_is_named_where_it_makes_a_difference() -> None:
    """An outage that is borne is borne without it."""
    failed, borne = {"poke": row("up_for_retry")}, {"poke": row()}

    assert table.outage(peer({"outage": borne, "outage silent_fail": borne})) == "success"
    assert (
        table.outage(peer({"outage": failed, "outage silent_fail": borne}))
        == "fails, may be retried. `silent_fail`: success"
    )


def test_only_who_asks_without_a_pause_is_set_in_bold() -> None:
    """Ten a second are more than anybody was told to ask."""
    spinning = peer({"denied": {"poke": row(), "deferred": row(seconds=4.0, requests=1886, per_second=471.0)}})

    assert table.failing("denied")(spinning).endswith("**1,886 requests in 4 s**")
    assert table.failing("denied")(peer({"denied": {"poke": row()}})) == "success; 1 request"


@pytest.mark.parametrize(
    ("seen", "left", "text"),
    [
        (3, {"messages": 3}, "none lost"),
        (None, {"messages": 3}, "none lost"),
        (0, {"messages": 0}, "**3 lost**"),
        (1, {"messages": 3, "same group": 1}, "**1 lost**"),
    ],
)
def test_a_message_is_lost_that_neither_the_task_nor_anybody_else_gets(
    seen: int | None, left: dict[str, int], text: str
) -> None:
    """Three were there when the triggerer died."""
    observed = peer({"restart found": {"deferred": row(seen=seen, left=left)}})

    assert table.died(observed).rpartition("; ")[2] == text


def test_the_longest_time_beyond_the_timeout_counts() -> None:
    """Whether the service was up or down, in any mode."""
    observed = {"timeout": {"poke": row(seconds=4.3)}, "down patient": {"poke": row(seconds=9.1), "deferred": row()}}

    assert table.overrun(peer(observed)) == "5 s"
    assert table.overrun(peer({**observed, "down patient": {"poke": row()}})) == "below 1 s"


def test_what_a_document_holds_is_said_without_showing_it() -> None:
    """Bodies and secrets are counted."""
    assert table.contents(NOTHING) == "nothing"
    assert table.contents({"bytes": 3680, "bodies": 3, "secrets": 1}) == "the bodies of 3, a secret (3,680 bytes)"


def test_settings_are_named_by_what_becomes_of_them() -> None:
    """Those that arrive are not worth a word."""
    found = {"kept": ["a"], "lost": ["b", "c"], "refused": ["d"], "not deferred": ["e"]}

    assert table.settings({"settings": found}) == "`b`, `c`; `e` keeps the task in the worker; `d` is refused"
    assert table.settings({"settings": {**found, "lost": [], "refused": [], "not deferred": []}}) == "none"
