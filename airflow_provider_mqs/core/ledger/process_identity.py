"""
Which process this is, so that others can tell whether it still runs; and whether another one surely has ended.

A process id means something only on one machine, in one pid namespace, and only until it is used again. So an identity
also says which of both it belongs to, and when its process started. What cannot be found out is unknown, and of an
unknown process nobody says that it has ended.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_PROC: Final = Path("/proc")
# in /proc/<pid>/stat, after the name of the program, which may contain anything but ends with the last ")"
_STATE, _START_TIME = 0, 19
_ENDED_STATES: Final = ("Z", "X")


class ProcessIdentity(NamedTuple):
    """One process, unlike any other."""

    machine: str = ""
    """Boot and pid namespace; empty if they are not known."""
    pid: int = 0
    started: int = 0
    """Clock ticks from the boot to the start of the process."""

    def has_ended(self, here: str, started_at: Callable[[int], int | None]) -> bool:
        """
        Return whether this process surely has ended, asked on the machine ``here``.

        ``started_at`` returns when the process of an id started, ``None`` if there is none, 0 if it cannot be told.
        """
        return bool(here) and here == self.machine and started_at(self.pid) not in (self.started, 0)


def this_process() -> ProcessIdentity:
    """Return the identity of the running process."""
    pid = os.getpid()
    started = started_at(pid)
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # the host name as well: clones of a machine share the boot
        machine = f"{boot}/{(_PROC / 'self/ns/pid').readlink()}/{os.uname().nodename}" if started else ""
    except OSError:
        machine = ""
    return ProcessIdentity(machine, pid, started or 0)


def started_at(pid: int) -> int | None:
    """Return when a process of this machine started; ``None`` if there is none, 0 if it cannot be told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        # a process of another user
        pass
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[_STATE] in _ENDED_STATES else int(fields[_START_TIME])
    except (OSError, ValueError, IndexError):
        return 0
