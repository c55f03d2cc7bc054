"""``query``: find the messages of a window, and print the document that ``resend`` takes."""

from __future__ import annotations

import logging
import time
from dataclasses import fields
from typing import TYPE_CHECKING

from airflow_provider_mqs.cli import ledger_path, output
from airflow_provider_mqs.core.query.filters import FUNCTIONS, Filters
from airflow_provider_mqs.core.values.time_window import TimeWindow, duration_s, instant_ms, iso
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.tasks.query_job import run_query

if TYPE_CHECKING:
    import argparse

_log = logging.getLogger(__name__)
_FRESH_MS = 60_000
_CONCURRENCY = 16
_FILTERS = tuple(one for one in fields(Filters) if one.name not in FUNCTIONS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: of this command
    """
    parser.add_argument("--topic", required=True, help="topic name")
    parser.add_argument("--start", help="first moment of the window: ISO or epoch ms")
    parser.add_argument("--end", help="the moment behind the last: ISO or epoch ms (default: now)")
    parser.add_argument("--lookback", metavar="SECONDS", help="length of the window, in place of --start")
    for one in _FILTERS:
        option = f"--{one.name.replace('_', '-')}"
        parser.add_argument(option, metavar=one.metadata.get("metavar"), help=one.metadata["help"])
    parser.add_argument("--max-messages", metavar="N", help="fail where there are more (default: no limit)")
    parser.add_argument(
        "--on-incomplete",
        choices=("fail", "warn"),
        default="fail",
        help="what to do with a window that the service does not show whole (default: fail)",
    )
    parser.add_argument("--include-copies", action="store_true", help="do not leave out the copies of earlier resends")
    ledger_path.add_argument(parser)
    output.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """
    Query the window, and print its offsets (``mqs.offsets/1``). Read-only.

    :param args: see ``add_arguments``
    :return: 0 for a document; 2 where an argument or the connection is wrong, else 1, and nothing is printed then
    """
    return output.run_command(args, _query)


def _query(args: argparse.Namespace, emit: output.Emit) -> int:
    now_ms = time.time_ns() // 1_000_000
    offsets = run_query(
        MqsHook(args.conn_id, args.instance_id),
        {**vars(args), "concurrency": _CONCURRENCY},
        filters=Filters.read(**{one.name: vars(args)[one.name] for one in _FILTERS}),
        window=_window(args, now_ms),
        records=() if args.include_copies else ledger_path.stores_of_command(args.ledger_path).records,
        now_ms=now_ms,
    )
    emit(offsets.to_xcom())
    return output.OK


def _window(args: argparse.Namespace, now_ms: int) -> TimeWindow:
    start_ms, end_ms = instant_ms(args.start, "--start"), instant_ms(args.end, "--end")
    lookback_s = duration_s(args.lookback, "--lookback")
    if (start_ms is None) == (lookback_s is None):
        raise ConfigurationError("Say where the window begins: give either --start or --lookback.")
    end_ms = now_ms if end_ms is None else end_ms
    if end_ms > now_ms:
        raise ConfigurationError(f"--end is in the future ({iso(end_ms)}), where messages still arrive.")
    if now_ms - end_ms < _FRESH_MS:
        _log.warning("The window ended less than 60 s ago; messages with its timestamps may still arrive.")
    if lookback_s is None:
        return TimeWindow(start_ms or 0, end_ms)
    return TimeWindow(end_ms - round(lookback_s * 1000), end_ms, "lookback")
