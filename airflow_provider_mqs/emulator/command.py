"""The command ``python -m airflow_provider_mqs emulator``: it serves until SIGINT or SIGTERM."""

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
    Declare the arguments; the help shows what is known and what is inferred about the real service.

    :param parser: parser of the command
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Run a local MQS and IAM service on 127.0.0.1."
    # everything but the list of modules, which is for readers of the code
    parser.epilog = (emulator.__doc__ or "").partition("\nModules")[0].replace("%", "%%")
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
        help="a switch in the table below, such as paging=row or cap=null; can be repeated",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a fault such as throttle_429=0.1, latency_s=0.02 or 'late_504={\"next\": 1}'; can be repeated. PUT"
        " /admin/faults changes faults while the service runs",
    )


def run(args: argparse.Namespace) -> int:
    """
    Serve until SIGINT or SIGTERM.

    :param args: what :func:`add_arguments` declared
    :return: 0 after a clean stop; 1, with one sentence on standard error, if the service could not start
    """
    try:
        behaviour, faults = Behaviour().changed(_pairs(args.behave)), Faults()
        faults.update(_pairs(args.fault))
        service = Service(State(Store(args.data), behaviour, faults))
        if args.seed == "demo":
            seed_demo(service.state)
    except (ValueError, TypeError) as error:
        return _refuse(str(error))
    except sqlite3.Error as error:
        return _refuse(f"{error} (--data {args.data})")
    with contextlib.closing(service):
        try:
            asyncio.run(_serve(service, args.port))
        except OSError as error:
            return _refuse(
                f"Port {args.port} of 127.0.0.1 cannot be used; try another --port, or 0. ({error.strerror})"
            )
    return 0


def _pairs(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``NAME=JSON``; a value that is not JSON is text, so that ``paging=row`` needs no quotes inside quotes."""
    pairs: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        pairs[name] = value
        with contextlib.suppress(ValueError):
            pairs[name] = json.loads(value)
    return pairs


async def _serve(service: Service, port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(service, port) as chosen:
        url, state = f"http://127.0.0.1:{chosen}", service.state
        # flushed, because a program that starts this command waits for these lines
        print(f"MQS emulator is listening on {url} (admin: {url}{PREFIX}). Ctrl-C stops it.", flush=True)
        fields = json.dumps(state.identity.connection(url + state.behaviour.path_prefix, "password"))
        print(f"AIRFLOW_CONN_MQS_DEFAULT='{fields}'", flush=True)
        await stop.wait()
    print("MQS emulator has stopped.", flush=True)


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1
