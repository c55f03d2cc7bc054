"""``query``: find the messages of a window, and print the offsets that ``resend`` takes."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING

from airflow_provider_mqs.cli import ledger_path, output
from airflow_provider_mqs.core.query.filters import FUNCTIONS, Filters
from airflow_provider_mqs.core.query.query import QueryArguments
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.tasks.query_job import run_query

if TYPE_CHECKING:
    import argparse


_FILTERS = tuple(one for one in fields(Filters) if one.name not in FUNCTIONS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--topic", required=True, help="topic name")
    parser.add_argument("--start", help="first moment of the window: ISO or epoch ms")
    parser.add_argument("--end", help="end of the window (exclusive): ISO or epoch ms (default: now)")
    parser.add_argument("--lookback", metavar="SECONDS", help="length of the window, instead of --start")
    for one in _FILTERS:
        option = f"--{one.name.replace('_', '-')}"
        parser.add_argument(option, metavar=one.metadata.get("metavar"), help=one.metadata["help"])
    parser.add_argument("--max-messages", metavar="N", help="fail if there are more (default: no limit)")
    parser.add_argument(
        "--on-incomplete",
        choices=("fail", "warn"),
        default="fail",
        help="what to do if messages may be missing (default: fail)",
    )
    parser.add_argument("--include-copies", action="store_true", help="keep the copies that earlier resends made")
    ledger_path.add_argument(parser)
    output.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """
    Query the window, and print its offsets (``mqs.offsets/1``). Read-only.

    :param args: see ``add_arguments``
    :return: 0 and a document; 2 if an argument or the connection is wrong, 1 if the query failed, and no document
    """
    return output.run_command(args, _query)


def _query(args: argparse.Namespace, emit: output.Emit) -> int:
    arguments = QueryArguments.read(
        topic=args.topic,
        start=args.start,
        end=args.end,
        lookback=args.lookback,
        filters=Filters.read(**{one.name: vars(args)[one.name] for one in _FILTERS}),
        on_incomplete=args.on_incomplete,
        max_messages=args.max_messages,
        exclude_copies=not args.include_copies,
    )
    asked = arguments.window
    if (asked.start_ms is None) == (asked.lookback_s is None):
        raise ConfigurationError("Say when the window begins: set either --start or --lookback.")
    end_ms = time.time_ns() // 1_000_000 if asked.end_ms is None else asked.end_ms
    window = asked.until(end_ms) if asked.start_ms is None else TimeWindow(asked.start_ms, end_ms)
    records = ledger_path.stores_of_command(args.ledger_path) if arguments.exclude_copies else ()
    with MqsHook(args.conn_id, args.instance_id) as hook:
        offsets = run_query(hook, arguments, window, records)
    emit(offsets.to_xcom())
    return output.OK
