"""``doctor``: check a connection step by step, measure what the documents leave open, and try one resend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.cli.output import add_connection_arguments, read_connections_of_the_database
from airflow_provider_mqs.cli.probe import measure, send_one
from airflow_provider_mqs.core.values.arguments import topic_name
from airflow_provider_mqs.core.values.time_window import TimeWindow, instant_ms
from airflow_provider_mqs.exceptions import ConfigurationError, MqsError
from airflow_provider_mqs.hooks.connection_check import CheckResult, check_connection
from airflow_provider_mqs.hooks.mqs import MqsHook

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_MARKS: Final = {True: "ok", None: "-", False: "FAILED"}
_DAY_MS: Final = 24 * 3600 * 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_connection_arguments(parser)
    parser.add_argument(
        "--probe-topic", metavar="TOPIC", help="measure on this topic how the service behaves; read-only"
    )
    parser.add_argument("--start", help="start of the probed window: ISO or epoch ms (default: a day before its end)")
    parser.add_argument("--end", help="end of the probed window: ISO or epoch ms (default: now)")
    parser.add_argument(
        "--send-one", action="store_true", help="resend one message of the window and compare its copy with it"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before --send-one sends")


def run(args: argparse.Namespace) -> int:
    """Check the connection, then probe and resend as requested; return 0 if nothing failed, else 1."""
    read_connections_of_the_database()
    try:
        with MqsHook(args.conn_id, args.instance_id) as hook:
            if not check(hook):
                return 1
            if args.probe_topic is not None:
                return 0 if probe(hook, args) else 1
            if args.send_one or args.start or args.end:
                raise ConfigurationError("--send-one, --start and --end need --probe-topic, the topic to probe.")
            return 0
    except (MqsError, KeyboardInterrupt) as error:
        say(f"FAILED: {str(error) or 'interrupted'}")
        return 1


def check(hook: MqsHook) -> bool:
    """Check the connection; print each step as soon as its result is known."""
    say(f"Connection {hook.mqs_conn_id!r}")
    all_well = True
    for result in _steps(hook):
        say(f"  {_MARKS[result.ok]:6}  {result.step:10}  {result.text}")
        all_well = all_well and result.ok is not False
    return all_well


def _steps(hook: MqsHook) -> Iterator[CheckResult]:
    try:
        settings = hook.settings
    except ConfigurationError as error:
        yield CheckResult("connection", str(error).rstrip("."), ok=False)
        return
    yield CheckResult("connection", f"{settings.endpoint}, auth_type {settings.auth_type}")
    yield from check_connection(hook.get_conn())


def probe(hook: MqsHook, args: argparse.Namespace) -> bool:
    """Measure how the service behaves, and resend one message if the user asked for it."""
    topic = topic_name(args.probe_topic)
    end_ms = instant_ms(args.end, "--end")
    end_ms = time.time_ns() // 1_000_000 if end_ms is None else end_ms
    start_ms = instant_ms(args.start, "--start")
    window = TimeWindow(end_ms - _DAY_MS if start_ms is None else start_ms, end_ms)
    say(f"Topic {topic!r} in {window}")
    for question, answer, evidence in measure(hook.get_conn(), topic, window):
        say(f"  {question:26}  {answer:24}  {evidence}")
    return not args.send_one or send_one(hook, topic, window, ask=None if args.yes else input, say=say)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)
