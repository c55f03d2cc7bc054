"""``doctor``: say which step of a connection fails, measure what the documents leave open, and try one resend."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.cli.probe import measure
from airflow_provider_mqs.cli.send_one import send_one
from airflow_provider_mqs.core.values.arguments import topic_name
from airflow_provider_mqs.core.values.time_window import TimeWindow, instant_ms
from airflow_provider_mqs.exceptions import ConfigurationError, MqsError
from airflow_provider_mqs.hooks.connection_check import CheckResult, check_connection
from airflow_provider_mqs.hooks.mqs import MqsHook

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

_MARKS: Final = {True: "ok", None: "-", False: "FAILED"}
_DAY_MS: Final = 24 * 3600 * 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: of this command
    """
    parser.add_argument(
        "--conn-id", default="mqs_default", help="connection; AIRFLOW_CONN_<ID> is enough (default: mqs_default)"
    )
    parser.add_argument("--instance-id", help="instance to check (default: that of the connection)")
    parser.add_argument(
        "--probe-topic", metavar="TOPIC", help="measure on this topic how the service answers; read-only"
    )
    parser.add_argument("--start", help="first moment of the probe: ISO or epoch ms (default: a day before its end)")
    parser.add_argument("--end", help="end of the probe: ISO or epoch ms (default: now)")
    parser.add_argument("--send-one", action="store_true", help="resend one message of the probe and look at its copy")
    parser.add_argument("--yes", action="store_true", help="do not ask before --send-one sends")


def run(args: argparse.Namespace) -> int:
    """
    Check, and measure where asked.

    :param args: see ``add_arguments``
    :return: 0 if all is well, else 1
    """
    # as `airflow connections test` does: with it, Airflow 3 looks into its database too
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        with MqsHook(args.conn_id, args.instance_id) as hook:
            if not _check(hook):
                return 1
            return _probe(hook, args)
    except (MqsError, KeyboardInterrupt) as error:
        _say(f"FAILED: {str(error) or 'interrupted'}")
        return 1


def _check(hook: MqsHook) -> bool:
    _say(f"Connection {hook.mqs_conn_id!r}")
    try:
        settings = hook.settings
    except ConfigurationError as error:
        return _show([CheckResult("connection", str(error).rstrip("."), ok=False)])
    return _show([CheckResult("connection", f"{settings.endpoint}, auth_type {settings.auth_type}")]) and _show(
        check_connection(hook.get_conn())
    )


def _show(found: Iterable[CheckResult]) -> bool:
    """Print each finding as soon as it is known."""
    well = True
    for finding in found:
        well = well and finding.ok is not False
        _say(f"  {_MARKS[finding.ok]:6}  {finding.step:10}  {finding.text}")
    return well


def _probe(hook: MqsHook, args: argparse.Namespace) -> int:
    if args.probe_topic is None:
        if args.send_one or args.start or args.end:
            raise ConfigurationError("--send-one, --start and --end need --probe-topic, the topic to look at.")
        return 0
    topic, window = topic_name(args.probe_topic), _window(args.start, args.end)
    _say(f"Topic {topic!r} in {window}")
    for question, answer, evidence in measure(hook.get_conn(), topic, window):
        _say(f"  {question:26}  {answer:24}  {evidence}")
    return 0 if not args.send_one or send_one(hook, topic, window, ask=None if args.yes else input, say=_say) else 1


def _window(start: str | None, end: str | None) -> TimeWindow:
    end_ms = instant_ms(end, "--end")
    end_ms = time.time_ns() // 1_000_000 if end_ms is None else end_ms
    start_ms = instant_ms(start, "--start")
    return TimeWindow(end_ms - _DAY_MS if start_ms is None else start_ms, end_ms)


def _say(line: str) -> None:
    print(line)
    sys.stdout.flush()
