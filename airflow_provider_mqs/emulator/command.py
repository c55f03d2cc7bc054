"""The command ``python -m airflow_provider_mqs emulator``: arguments in, a service until SIGINT or SIGTERM out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs import emulator
from airflow_provider_mqs.emulator.admin import PREFIX
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.connection import connection
from airflow_provider_mqs.emulator.faults import Faults
from airflow_provider_mqs.emulator.seeds import seed_demo
from airflow_provider_mqs.emulator.server import serving
from airflow_provider_mqs.emulator.service import Service
from airflow_provider_mqs.emulator.state import State
from airflow_provider_mqs.emulator.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_PORT = 8089


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare what the command takes; the help shows what is known and what is inferred about the real service.

    :param parser: of the command
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Run a local MQS and IAM service on 127.0.0.1."
    parser.epilog = (emulator.__doc__ or "").replace("%", "%%")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port, 0 for any free one (default %(default)s)")
    parser.add_argument("--data", default=":memory:", help="SQLite file that survives a restart (default: in memory)")
    parser.add_argument(
        "--seed", choices=("none", "demo"), default="none", help="demo: topics with yesterday's messages"
    )
    parser.add_argument(
        "--behave",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a switch of the table below: paging=row, cap=null",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="throttle_429=0.1, latency_s=0.02, 'late_504={\"next\": 1}'; also while it runs, by PUT /admin/faults",
    )


def run(args: argparse.Namespace) -> int:
    """
    Serve until SIGINT or SIGTERM.

    :param args: what :func:`add_arguments` declared
    :return: 0 after a clean stop; 1 with one sentence when it could not start
    """
    try:
        service = _service(args)
    except (ValueError, TypeError, sqlite3.Error) as error:
        return _refuse(f"{error} (--data {args.data})" if isinstance(error, sqlite3.Error) else str(error))
    with contextlib.closing(service):
        try:
            asyncio.run(_serve(service, args.port))
        except OSError as error:
            return _refuse(
                f"Port {args.port} of 127.0.0.1 cannot be used; give another --port, or 0. ({error.strerror})"
            )
    return 0


def _service(args: argparse.Namespace) -> Service:
    behaviour, faults = Behaviour().changed(_pairs(args.behave)), Faults()
    faults.update(_pairs(args.fault))
    state = State(Store(args.data), behaviour, faults)
    if args.seed == "demo":
        seed_demo(state)
    return Service(state)


def _pairs(texts: Iterable[str]) -> dict[str, Any]:
    return {name: _value(value) for name, _, value in (text.partition("=") for text in texts)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # so that paging=row needs no quotes inside quotes
        return text


async def _serve(service: Service, port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(service, port) as chosen:
        url = f"http://127.0.0.1:{chosen}"
        _say(f"MQS emulator is listening on {url} (admin: {url}{PREFIX}). Ctrl-C stops it.")
        fields = json.dumps(connection(service, url + service.state.behaviour.path_prefix, "password"))
        _say(f"AIRFLOW_CONN_MQS_DEFAULT='{fields}'")
        await stop.wait()
    _say("MQS emulator has stopped.")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _refuse(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 1
