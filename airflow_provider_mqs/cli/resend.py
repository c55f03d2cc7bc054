"""``resend``: send the messages of a query again, each once; a dry run unless ``--yes``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.cli import ledger_path, output
from airflow_provider_mqs.core.resend.options import (
    ON_FAILURE,
    ON_REPLAYED,
    ON_UNKNOWN,
    ON_UNVERIFIED,
    ORDERINGS,
    ResendOptions,
)
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.tasks.resend_job import resend_job

if TYPE_CHECKING:
    import argparse

_NO_RUN: Final = dict.fromkeys(("dag_id", "run_id", "task_id", "map_index", "try_number"))
_DEFAULTS: Final = ResendOptions()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: of this command
    """

    def number(name: str, purpose: str, default: int) -> None:
        parser.add_argument(name, metavar="N", default=default, help=f"{purpose} (default: {default})")

    def choice(name: str, purpose: str, words: tuple[str, ...], default: str) -> None:
        parser.add_argument(name, choices=words, default=default, help=f"{purpose} (default: {default})")

    parser.add_argument(
        "file",
        metavar="FILE",
        help="output of the query command, or a JSON list of partition and message_offset; - for standard input",
    )
    parser.add_argument("--yes", action="store_true", help="send; without it, only show what would be sent")
    parser.add_argument("--topic", help="topic name; required for a list of partition and message_offset")
    parser.add_argument("--consumer-key", metavar="KEY", help="application key of the consumer to address; advisory")
    choice("--ordering", "keep the order inside each partition, or none", ORDERINGS, _DEFAULTS.ordering)
    number("--concurrency", "requests in flight", _DEFAULTS.concurrency)
    parser.add_argument("--max-rate", metavar="N", help="messages per second (default: the limit of the connection)")
    number("--max-messages", "refuse to send more", _DEFAULTS.max_messages)
    choice("--on-failure", "what to do if more than --max-failures fail", ON_FAILURE, _DEFAULTS.on_failure)
    number("--max-failures", "messages that may fail", _DEFAULTS.max_failures)
    choice("--on-unknown", "what to do with messages that may have been sent", ON_UNKNOWN, _DEFAULTS.on_unknown)
    choice("--on-replayed", "what to do with messages that were sent already", ON_REPLAYED, _DEFAULTS.on_replayed)
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not look for the copies")
    parser.add_argument(
        "--verify-wait",
        metavar="SECONDS",
        help="seconds to wait for copies (default: read_timeout of the connection plus 30)",
    )
    choice("--on-unverified", "what to do if copies cannot be told apart", ON_UNVERIFIED, _DEFAULTS.on_unverified)
    number("--canary", "messages to send and verify before the others", _DEFAULTS.canary)
    ledger = parser.add_mutually_exclusive_group()
    ledger_path.add_argument(ledger)
    ledger.add_argument("--no-ledger", action="store_true", help="keep no ledger; a second call sends everything again")
    output.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """
    Send, or show what would be sent, and print the report (``mqs.replay/1``). A second call sends what is left.

    :param args: see ``add_arguments``
    :return: 0 if everything is sent or nothing was left; 2 if an argument, the plan or the connection is wrong, so that
        nothing was sent; 130 after Ctrl-C, which stops in order; else 1
    """
    return output.run_command(args, _resend)


def _resend(args: argparse.Namespace, emit: output.Emit) -> int:
    caller = {**_NO_RUN, "conn_id": args.conn_id}
    with MqsHook(args.conn_id, args.instance_id) as hook:
        options = ResendOptions.read(
            hook.settings,
            consumer_key=args.consumer_key,
            ordering=args.ordering,
            concurrency=args.concurrency,
            max_rate=args.max_rate,
            max_messages=args.max_messages,
            on_failure=args.on_failure,
            max_failures=args.max_failures,
            on_unknown=args.on_unknown,
            on_replayed=args.on_replayed,
            verify=args.verify,
            verify_wait=args.verify_wait,
            on_unverified=args.on_unverified,
            canary=args.canary,
        )
        job = resend_job(
            hook,
            messages=_read(args.file),
            topic=args.topic,
            options=options,
            stores=() if args.no_ledger else ledger_path.stores_of_command(args.ledger_path),
            run=caller,
            dry_run=not args.yes,
        )
        # a dry run has nothing to end in order
        error = job.run() if job.dry_run else job.run(signal.SIGINT)
        emit(job.document(caller))
    if error is not None and not job.signals:
        raise error
    if job.dry_run and not job.signals:
        return output.say("This was a dry run: nothing was sent. To send, add --yes.")
    if job.signals or not job.succeeded:
        code = output.SIGNALLED + job.signals[0] if job.signals else output.FAILED
        left = job.counts.not_attempted + job.counts.failed + job.counts.unknown
        remedy = " The same call again sends what is left." if left and job.session.durable else ""
        return output.say(f"{job.summary()}.{remedy}", code)
    if job.nothing_left:
        return output.say(f"All {job.plan.count} messages were sent already. To send them again: --on-replayed resend.")
    return output.OK


def _read(file: str) -> str:
    name = "Standard input" if file == "-" else f"{file[:200]!r}"
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} cannot be read as text ({type(error).__name__}).") from error
    if not text.strip():
        raise ConfigurationError(f"{name} is empty: did the query fail?")
    return text
