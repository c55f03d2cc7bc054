"""A query as a task or a command runs it: arguments checked, copies of earlier replays left out, the outcome judged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.known_copies import known_copies_in
from airflow_provider_mqs.core.query.query import Query, check_found, query_offsets
from airflow_provider_mqs.core.values.arguments import choice, optional_number, topic_name, whole_number
from airflow_provider_mqs.tasks.events import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.document import Offsets
    from airflow_provider_mqs.core.query.filters import Filters
    from airflow_provider_mqs.core.values.time_window import TimeWindow
    from airflow_provider_mqs.hooks.mqs import MqsHook

_log = logging.getLogger(__name__)


def run_query(
    hook: MqsHook,
    arguments: Mapping[str, Any],
    *,
    filters: Filters,
    window: TimeWindow,
    records: Iterable[Store],
    now_ms: int,
) -> Offsets:
    """
    Find the offsets of a window.

    :param hook: the connection; closed at the end
    :param arguments: ``topic``, ``on_incomplete``, ``max_messages``, ``concurrency``; perhaps others
    :param filters: which messages count
    :param window: the time window
    :param records: where earlier replays are recorded, whose copies are left out
    :param now_ms: the time of asking, epoch ms
    :return: the offsets; none for an empty window
    :raises ConfigurationError: an argument is wrong, or there are more than ``max_messages``
    :raises IncompleteWindowError: messages may be missing, and ``on_incomplete`` is ``fail``
    :raises MqsError: the service refused
    """
    topic = topic_name(arguments["topic"])
    on_incomplete = choice(arguments["on_incomplete"], "on_incomplete", ("fail", "warn"))
    most = optional_number(arguments["max_messages"], "max_messages", minimum=1)
    concurrency = whole_number(arguments["concurrency"], "concurrency", minimum=1, maximum=256)
    _log.info("Querying topic %r in %s, which comes from the %s.", topic, window, window.source)
    with hook:
        place = place_of(hook, topic)
        query = Query(topic, window, filters, on_incomplete, known_copies_in(records, window, **place))
        found = hook.run_concurrently(lambda api: query_offsets(api, query, now_ms=now_ms), concurrency=concurrency)
    check_found(found, query, most)
    return found.offsets
