"""Where a topic is."""

from __future__ import annotations

from typing import NamedTuple


class TopicRef(NamedTuple):
    """Endpoint, instance and name of a topic: what offsets, ledgers and reports are compared by."""

    endpoint: str
    instance_id: str
    topic: str
