"""Write what was observed as Markdown. Every cell is made of observations; only the notes below are written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers.notes import NOTES
from benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Observed = Mapping[str, Any]

_AT_ONCE_S = 2.5
_STATES = {"failed": "fails for good", "up_for_retry": "fails, may be retried", "deferred": "waits on"}
# what is wrong with a success
_THOUGH = {
    "empty": "though nothing is there",
    "few": "though 1 is there",
    "past": "though that hour is empty",
}
# where it matters how long it took
_TIMED = ("there", "empty", "few", "late", "past", "again")
_CONDITIONS = ("few", "past")


def page(found: Observed) -> str:
    """Write the generated part of the page."""
    names = list(found["peers"])
    parts = []
    for title, rows in TABLES.items():
        lines = [[name, *(cell(make, found["peers"][peer]) for peer in names)] for name, make in rows.items()]
        parts += [f"### {title}", table(["", *(f"`{name}`" for name in names)], lines)]
    return "\n\n".join([*parts, "### Why", NOTES, "### What was run", versions(found)])


def cell(make: Callable[[Observed], str], peer: Observed) -> str:
    """Write one cell; the reason where the outcome could not be brought about."""
    return make(peer).replace("|", "\\|")


def outcome(key: str) -> Callable[[Observed], str]:
    """Give what writes how a case ended, mode by mode where they differ."""
    case = key.partition(" ")[0]

    def write(peer: Observed) -> str:
        rows = peer["cases"].get(key)
        if rows is None:
            return f"not run: {peer['not_run'][case]}"
        text = by_mode({mode: ended(case, row) for mode, row in rows.items()}, peer["modes"])
        return text if peer["counts"] or case not in _CONDITIONS else f"not possible: {text}"

    return write


def by_mode(phrases: Mapping[str, str], modes: list[str]) -> str:
    """Say a phrase once for all modes that share it; without modes where all do."""
    sharing: dict[str, list[str]] = {}
    for mode, phrase in phrases.items():
        sharing.setdefault(phrase, []).append(mode)
    if len(sharing) == 1 or len(modes) == 1:
        return next(iter(sharing))
    return "; ".join(f"{', '.join(shared)}: {phrase}" for phrase, shared in sharing.items())


def ended(case: str, row: Observed) -> str:
    """Say how a task ended, and when, where that matters."""
    state = _STATES.get(row["state"], row["state"])
    if case in {"there", "late", "restart"} and row["seen"]:
        state = f"{state} with {row['seen']}"
    when = moment(case, row)
    though = _THOUGH.get(case) if row["state"] == "success" else None
    return f"{state}{when}{f', {though}' if though else ''}"


def moment(case: str, row: Observed) -> str:
    """Say when."""
    if is_timeout(row):
        return " at the timeout"
    if case not in _TIMED:
        return ""
    return " at once" if row["seconds"] < _AT_ONCE_S else f" after {row['seconds']:.0f} s"


def is_timeout(row: Observed) -> bool:
    """Tell whether the time was up."""
    known = ("AirflowSensorTimeout", "timed out", "soft_fail", "never_fail")
    return row["state"] != "success" and any(mark in row["error"] for mark in known)


def pushed(peer: Observed) -> str:
    """Say what XCom holds where there were three messages."""
    return by_mode({mode: contents(row["holds"]["xcom"]) for mode, row in peer["cases"]["there"].items()}, [])


def contents(held: Observed) -> str:
    """Say what a document holds."""
    if not held["bytes"]:
        return "nothing"
    what = f"the bodies of {held['bodies']}" if held["bodies"] else "no bodies"
    secret = ", a secret" if held["secrets"] else ""
    return f"{what}{secret} ({held['bytes']:,} bytes)"


def left(peer: Observed) -> str:
    """Say what others can read after three messages were found."""
    counts = next(iter(peer["cases"]["there"].values()))["left"]
    if "same group" in counts:
        return f"{counts['messages']} of 3; {counts['same group']} for the same group"
    return f"{counts['messages']} of 3"


def failing(key: str) -> Callable[[Observed], str]:
    """Give what writes how a case ended, and how often the service was asked."""

    def write(peer: Observed) -> str:
        rows = peer["cases"].get(key)
        text = outcome(key)(peer)
        if not rows:
            return text
        most = max(rows.values(), key=lambda row: row["requests"])
        return f"{text}; {asked(most)}" if most["requests"] else text

    return write


def asked(row: Observed) -> str:
    """Say how often the service was asked."""
    number = f"{row['requests']:,} request{'' if row['requests'] == 1 else 's'}"
    return f"**{number} in {row['seconds']:.0f} s**" if (row["per_second"] or 0) > 10 else number  # noqa: PLR2004 - spins


def login(peer: Observed) -> str:
    """Say how wrong credentials end, and how often they were tried."""
    text = outcome("login")(peer)
    rows = peer["cases"].get("login")
    if not rows:
        return text
    tries = max(row["logins"] or row["requests"] for row in rows.values())
    return f"{text}; {tries} {'try' if tries == 1 else 'tries'}"


def outage(peer: Observed) -> str:
    """Say how an outage ends, also with ``silent_fail`` where that is another way."""
    plain, silent = outcome("outage")(peer), outcome("outage silent_fail")(peer)
    same = states(peer, "outage") == states(peer, "outage silent_fail")
    return plain if same else f"{plain}. `silent_fail`: {silent}"


def states(peer: Observed, key: str) -> list[str]:
    """List the states in all modes."""
    return [row["state"] for row in peer["cases"][key].values()]


def flag(name: str) -> Callable[[Observed], str]:
    """Give what writes the state at the timeout with a setting of Airflow's base sensor."""

    def write(peer: Observed) -> str:
        rows = peer["cases"][f"timeout {name}"]
        return by_mode({mode: _STATES.get(row["state"], row["state"]) for mode, row in rows.items()}, peer["modes"])

    return write


def overrun(peer: Observed) -> str:
    """Say how long after the timeout a task ended, at most."""
    keys = ("timeout", "down patient")
    over = (row["seconds"] - row["timeout"] for key in keys for row in peer["cases"][key].values())
    most = max(0.0, *over)
    return f"{most:.0f} s" if most >= 1 else "below 1 s"


def settings(peer: Observed) -> str:
    """Name what does not reach the trigger."""
    found = peer["settings"]
    parts = [", ".join(f"`{name}`" for name in found["lost"]) or "none"]
    parts += [f"`{name}` keeps the task in the worker" for name in found["not deferred"]]
    parts += [f"`{name}` is refused" for name in found["refused"]]
    return "; ".join(parts)


def died(peer: Observed) -> str:
    """Say what became of three messages that a triggerer had found when it died."""
    row = peer["cases"]["restart found"]["deferred"]
    still = row["left"].get("same group", row["left"]["messages"])
    lost = 3 - still - (row["seen"] or 0) if still < 3 else 0  # noqa: PLR2004 - there were three
    return f"{ended('restart', row)}; {f'**{lost} lost**' if lost else 'none lost'}"


def event(peer: Observed) -> str:
    """Say what the event holds, the largest of all."""
    held = [row["holds"]["event"] for rows in peer["cases"].values() for row in rows.values()]
    return contents(max(held, key=lambda one: one["bytes"]))


def trigger(peer: Observed) -> str:
    """Say what the arguments of the trigger hold, the largest of all."""
    held = [row["holds"]["trigger"] for rows in peer["cases"].values() for row in rows.values()]
    return contents(max(held, key=lambda one: one["bytes"]))


def versions(found: Observed) -> str:
    """Name everything that was run."""
    common = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [f"- {common}."]
    for name, peer in found["peers"].items():
        known = ", ".join(f"{package} {number}" for package, number in peer["versions"].items())
        lines.append(f"- `{name}`: {known}; modes {', '.join(peer['modes'])}. Service: {peer['service']}.")
    return "\n".join(lines)


TABLES: dict[str, dict[str, Callable[[Observed], str]]] = {
    "What is waited for": {
        "3 messages are there": outcome("there"),
        "… XCom then holds": pushed,
        "… others can read": left,
        "none is there, the interval is over": outcome("empty"),
        "1 is there, 3 are needed": outcome("few"),
        "1 is there, 2 more come before the interval ends": outcome("late"),
        "interval of yesterday without messages; there is one of today": outcome("past"),
        "the task is cleared and runs again": outcome("again"),
    },
    "When something is wrong": {
        "the service fails for 1 s": outcome("hiccup"),
        "it fails for 3 s, and the client itself does not repeat requests": outage,
        "it fails for ever (the same)": failing("down"),
        "403 from some moment on": failing("denied"),
        "wrong password or token": login,
        "unknown topic, queue": failing("unknown"),
        "the timeout passes": outcome("timeout"),
        "… with `soft_fail`": flag("soft_fail"),
        "… with `never_fail`": flag("never_fail"),
        "… so much too late at most, also while the service fails": overrun,
    },
    "In the triggerer": {
        "settings that it does not get": settings,
        "it is restarted while the task waits": outcome("restart waiting"),
        "it dies when it has found 3, before that is stored": died,
        "the event holds": event,
        "the arguments of the trigger hold": trigger,
    },
}
