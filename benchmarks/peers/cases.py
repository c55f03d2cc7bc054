"""What is tried with each sensor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from benchmarks.peers.task import MODES

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY = "body-of-a-message " * 50
SECRET = "secret-of-the-connection"  # noqa: S105 - made up
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Case:
    """
    One outcome that is brought about.

    :param name: which
    :param need: messages that are waited for
    :param before: messages of the interval that are there when the task starts
    :param later: messages that come after ``later_s``
    :param today: messages of now, whatever the interval is
    :param fault: HTTP status that the service answers with, or that stands for it
    :param fault_s: so long; default for ever
    :param settings: of Airflow's base sensor
    :param timeout_s: of the sensor
    :param restart: see ``Task``
    :param twice: whether the task is cleared and run again, which is what is observed
    :param waits: whether an empty window is waited for until the timeout, where that can be said
    :param defers: whether in the triggerer is looked at what happens, not at the first look in the worker
    :param modes: which are run
    :param current: whether the interval ends in two seconds
    :param patient: whether the client below the sensor repeats requests as it does by default, where that can be said;
        without, an outage is longer than it would bear
    :param interval: filled in when the case begins
    """

    name: str
    need: int = 1
    before: int = 0
    later: int = 0
    later_s: float = 1.2
    today: int = 0
    fault: int = 0
    fault_s: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 4.0
    restart: str = ""
    twice: bool = False
    waits: bool = False
    defers: bool = False
    modes: tuple[str, ...] = MODES
    current: bool = False
    patient: bool = True
    interval: tuple[datetime, datetime] = (datetime.min, datetime.min)  # noqa: DTZ901 - replaced

    @property
    def key(self) -> str:
        """Name it with its settings."""
        return " ".join([self.name, *self.settings])

    def now(self, slack_s: float = 0.0) -> Case:
        """Choose the interval: an hour of yesterday, or one that ends in two seconds; and allow for more time."""
        now = datetime.now(timezone.utc)
        end = now + timedelta(seconds=2) if self.current else now - timedelta(days=1)
        return replace(self, interval=(end - _HOUR, end), timeout_s=self.timeout_s + slack_s)


_TRIGGER: Any = {"modes": ("deferred",), "defers": True}
_SILENT = {"silent_fail": True}
CASES = (
    Case("there", before=3),
    Case("empty"),
    Case("few", need=3, before=1),
    Case("late", before=1, later=2, timeout_s=8.0, current=True),
    Case("timeout", waits=True),
    Case("timeout", waits=True, settings={"soft_fail": True}),
    Case("timeout", waits=True, settings={"never_fail": True}),
    Case("hiccup", before=1, fault=500, fault_s=1.0, timeout_s=15.0, defers=True),
    Case("outage", before=1, fault=500, fault_s=3.0, timeout_s=15.0, defers=True, patient=False),
    Case("outage", before=1, fault=500, fault_s=3.0, timeout_s=15.0, defers=True, patient=False, settings=_SILENT),
    Case("down", before=1, fault=500, timeout_s=12.0, defers=True, patient=False),
    Case("down patient", before=1, fault=500, defers=True),
    Case("denied", before=1, fault=403, defers=True),
    Case("login", before=1),
    Case("unknown"),
    Case("past", today=1),
    Case("again", before=1, twice=True),
    Case("restart waiting", restart="waiting", later=1, later_s=2.0, timeout_s=8.0, waits=True, **_TRIGGER),
    Case("restart found", restart="found", before=3, timeout_s=6.0, **_TRIGGER),
)
