"""A window in many batches, sent side by side: every copy is known in the end, at about one request a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts import mapped

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator


def test_batches_side_by_side_share_the_search_for_their_copies(mqs: MqsEmulator, tmp_path: Path) -> None:
    """What the example DAG does, at a tenth of the size that ``python -m scripts.mapped`` has."""
    result = mapped.run(mqs, str(tmp_path), messages=2_100, batches=21, workers=4)

    assert set(mqs.resend_counts("orders").values()) == {1}
    assert result.verified == {"True": 21}
    assert result.proven["replays"] == {"proven": 21, "unproven": 0}
    assert (result.following["count"], result.following["excluded_copies"]) == (2_100, 2_100)
    assert result.following["complete"]
    # what a batch costs once weighs ten times as much as at full size, and a slow machine looks more often
    assert result.requests_a_message < 2.5
