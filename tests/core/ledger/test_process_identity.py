"""Which process this is, and whether another one has ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from airflow_provider_mqs.core.ledger.process_identity import ProcessIdentity, started_at, this_process

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")


@linux_only
def test_a_process_is_told_apart_from_a_later_one_with_its_id() -> None:
    """By the time of its start."""
    me = this_process()

    assert (me.pid, me.started) == (os.getpid(), started_at(os.getpid()))
    assert not me.has_ended(me.machine, started_at)
    assert me._replace(started=me.started + 1).has_ended(me.machine, started_at)


@linux_only
def test_a_process_that_ended_is_gone() -> None:
    """Also while its parent has not asked for its result."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert started_at(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert started_at(child.pid) is None
    child.communicate(timeout=30)
    assert started_at(child.pid) is None


def test_another_machine_or_namespace_says_nothing() -> None:
    """Neither does one that is not known."""
    there = ProcessIdentity("boot/ns/host", 5, 7)

    assert there.has_ended("boot/ns/host", lambda _: None)
    for here in ("boot/ns2/host", ""):
        assert not there.has_ended(here, lambda _: None)
    assert not ProcessIdentity("", 5, 7).has_ended("", lambda _: None)


def test_a_process_of_which_nothing_is_known_has_not_ended() -> None:
    """Its start may be hidden from us."""
    assert not ProcessIdentity("boot/ns/host", 5, 7).has_ended("boot/ns/host", lambda _: 0)
