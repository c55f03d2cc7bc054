"""What a sensor and its service must be able to do to be observed."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks.peers.cases import SECRET
from benchmarks.peers.task import MODES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from benchmarks.peers.cases import Case
    from benchmarks.peers.task import Ending


class Peer(ABC):
    """A sensor and its service."""

    name: str
    package: str
    service: str
    modes: tuple[str, ...] = MODES
    slack_s = 0.0
    """So much longer everything is given, where reading takes a while to begin."""
    counts = False
    """Whether a number of messages and an interval can be a condition."""
    not_run: Mapping[str, str] = {}
    """Cases that cannot be brought about, and why."""
    after: frozenset[str] = frozenset()
    """Arguments that are heeded when the task resumes, so that no trigger needs them."""
    secrets: tuple[str, ...] = (SECRET,)

    @abstractmethod
    def __enter__(self) -> Self:
        """Start the service."""

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Stop it."""

    @abstractmethod
    def begin(self, case: Case) -> None:
        """Begin anew."""

    @abstractmethod
    def put(self, case: Case, count: int, moment: datetime | None = None) -> None:
        """Write messages."""

    @abstractmethod
    def fail(self, status: int) -> None:
        """Let the service fail from now on, or recover with 200."""

    @abstractmethod
    def left(self) -> dict[str, int]:
        """Count what can still be read, and by whom."""

    @abstractmethod
    def times(self) -> list[float]:
        """Give when each request came."""

    @abstractmethod
    def sensor(self, case: Case, mode: str, **arguments: Any) -> Any:
        """Make the sensor."""

    @abstractmethod
    def deferral(self, **arguments: Any) -> Any:
        """Make one that defers, with these arguments instead of the defaults."""

    @abstractmethod
    def changed(self) -> dict[str, Any]:
        """Give another value for each argument."""

    @abstractmethod
    def seen(self, ending: Ending) -> int | None:
        """Say how many messages the task knows of."""

    def logins(self) -> int:
        """Count logins, where there are any."""
        return 0

    def arrive(self, case: Case) -> None:
        """Let the messages come that were waited for."""
        self.put(case, case.later, datetime.now(timezone.utc) if case.current else None)

    @staticmethod
    def set_connection(name: str, document: Mapping[str, Any]) -> None:
        """Set an Airflow connection."""
        os.environ[f"AIRFLOW_CONN_{name}"] = json.dumps(document)

    @staticmethod
    def common(mode: str, case: Case, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Give the arguments of Airflow's base sensor."""
        known = "reschedule" if mode == "reschedule" else "poke"
        times = {"poke_interval": 1.0, "timeout": case.timeout_s}
        return {"task_id": "wait", "mode": known, "retries": 1, **times, **case.settings, **arguments}

    def versions(self) -> dict[str, str]:
        """Name the packages that were run."""
        return {self.package: version(self.package)}
