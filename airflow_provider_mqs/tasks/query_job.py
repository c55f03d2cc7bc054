"""A query as a task or a command runs it: copies of earlier replays are left out, and the result is checked."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.ledger.known_copies import known_copies_in
from airflow_provider_mqs.core.query.query import Query, QueryArguments, check_result, closed_window, query_offsets
from airflow_provider_mqs.tasks.dag_run import topic_ref_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.core.values.time_window import TimeWindow
    from airflow_provider_mqs.hooks.mqs import MqsHook

_log = logging.getLogger(__name__)


def run_query(hook: MqsHook, arguments: QueryArguments, window: TimeWindow, records: Sequence[Store]) -> Offsets:
    """Return the offsets of a window, without the copies that ``records`` know of if copies are to be left out."""
    if arguments.exclude_copies and not records:
        _log.warning("There is no record of earlier replays, so their copies count as originals.")
    now_ms = time.time_ns() // 1_000_000
    window = closed_window(window, now_ms, clamp_to_now=arguments.clamp_to_now)
    _log.info("Querying topic %r. Window %s from %s.", arguments.topic, window, window.origin)
    copies = known_copies_in(records, window, topic_ref_of(hook, arguments.topic))
    query = Query(arguments.topic, window, arguments.filters, arguments.on_incomplete, copies)
    result = hook.run_concurrently(
        lambda api: query_offsets(api, query, now_ms=now_ms), concurrency=arguments.concurrency
    )
    return check_result(result, arguments)
