"""What a file keeps and what a transaction undoes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs.emulator.http import HttpRequest
from airflow_provider_mqs.emulator.iam import Iam
from airflow_provider_mqs.emulator.state import State
from airflow_provider_mqs.emulator.store import Resend, Store, StoredMessage, Topic, Window

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_survives_a_restart(tmp_path: Path) -> None:
    """It keeps topics, messages and logs; the tokens issued before are still valid."""
    path = str(tmp_path / "mqs.db")
    store = Store(path)
    store.put_topic(Topic("t", 2, 5))
    store.add([StoredMessage("t", 1, 7, 1000, "k", "v", 3, headers={"a": "b"})])
    store.log_resend(Resend(1, "trace", "t", 1, 7, 1, 8))
    store.log_resend_request(1, "trace", "{}", 200, "")
    token = Iam(State(store)).issue("p")[0]
    store.close()
    again = Store(path)
    assert again.topic("t") == Topic("t", 2, 5)
    assert again.messages("t") == [StoredMessage("t", 1, 7, 1000, "k", "v", 3, headers={"a": "b"})]
    assert again.resends("t") == [Resend(1, "trace", "t", 1, 7, 1, 8)]
    assert again.resend_requests()[0]["status"] == 200
    assert Iam(State(again)).authenticate(HttpRequest.parse("GET", "/", {"X-Auth-Token": token})) == "p"
    again.close()


def test_a_failed_write_changes_nothing() -> None:
    """A second message at the same offset is refused, and so are the others of that write."""
    store = Store()
    message = StoredMessage("t", 0, 0, 0)
    with pytest.raises(Exception, match="UNIQUE"):
        store.add([message, message])
    assert store.messages("t") == []
    assert store.next_offset("t", 0) == 0
    store.close()


def test_a_window_is_ordered_by_time_partition_and_offset() -> None:
    """Messages of the same time are ordered by partition and offset."""
    store = Store()
    refs = [(1, 0, 5), (0, 1, 5), (0, 0, 9), (0, 2, 4)]
    store.add([StoredMessage("t", partition, offset, moment) for partition, offset, moment in refs])
    found = store.rows(store.ids(Window("t", 0, 9)))
    assert [(one.partition, one.message_offset) for one in found] == [(0, 2), (0, 1), (1, 0), (0, 0)]
    store.close()


def test_work_is_claimed_once() -> None:
    """The second claim is refused."""
    store = Store()
    assert [store.once("a"), store.once("a"), store.once("b")] == [True, False, True]
    store.close()
