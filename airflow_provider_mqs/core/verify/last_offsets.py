"""
The last offset of each partition before anything is sent: whatever comes after it may be a copy. A flow.

Any offset that was seen before the first POST is a valid bound, so this costs a few requests and never a reading of the
whole topic: the plan's own last offsets, and the first and the last page of the rows of the last seconds. If it is too
low, there are more rows to compare, and no answer is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_mqs.core.query.slices import Slice, query_page
from airflow_provider_mqs.exceptions import ServerError, WindowTooLargeError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.client.api import MqsApi
    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

_RECENT_MS, _AHEAD_MS = 10_000, 2_000


def find_last_offsets(api: MqsApi, topic: str, partitions: OffsetsByPartition) -> Flow[dict[int, int]]:
    """Return a lower bound of the last offset of each partition of a plan."""
    last_offsets = {partition: ranges[-1][1] for partition, ranges in partitions.items()}
    recent = Slice(api.earliest_ms() - _RECENT_MS, api.latest_ms() + _AHEAD_MS)
    limit = api.settings.page_size
    offset: int | None = 0
    try:
        while offset is not None:
            page, limit = yield from query_page(api, topic, recent, limit=limit, offset=offset)
            for row in page.rows:
                if row.partition in last_offsets:
                    last_offsets[row.partition] = max(last_offsets[row.partition], row.message_offset)
            # whether it counts rows or pages: this is the last page, or one that is empty
            total = page.total or 0
            offset = (total - 1) // limit if not offset and total > limit else None
    except (WindowTooLargeError, ServerError):
        # a bound that is too low does no harm
        pass
    return last_offsets
