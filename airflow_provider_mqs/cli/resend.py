"""``resend``: send the messages of a query again, each once; a dry run unless ``--yes``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_mqs.cli import ledger_path, output
from airflow_provider_mqs.core.ledger.stores import ReplayStores
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.tasks.resend_job import job_of

if TYPE_CHECKING:
    import argparse

    from airflow_provider_mqs.tasks.resend_job import ReplayJob

_NO_RUN: Final = dict.fromkeys(("dag_id", "run_id", "task_id", "map_index", "try_number"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: of this command
    """
    parser.add_argument(
        "file", metavar="FILE", help="what query printed, or plain partition and message_offset items; - for stdin"
    )
    parser.add_argument("--yes", action="store_true", help="send; without it, only say what would be sent")
    parser.add_argument("--topic", help="topic name, needed for plain items")
    parser.add_argument("--consumer-key", metavar="KEY", help="the one consumer that shall have the copies; advisory")
    _add_word(parser, "--ordering", ("partition", "none"), "which order is kept")
    parser.add_argument("--concurrency", metavar="N", default=16, help="requests in flight (default: 16)")
    parser.add_argument("--max-rate", metavar="N", help="messages a second (default: no limit but the connection's)")
    parser.add_argument("--max-messages", metavar="N", default=100_000, help="refuse to send more (default: 100000)")
    _add_word(parser, "--on-failure", ("stop", "continue"), "what to do when more than --max-failures fail")
    parser.add_argument("--max-failures", metavar="N", default=0, help="messages that may fail (default: 0)")
    _add_word(parser, "--on-unknown", ("verify", "fail", "resend"), "what to do with one that may have been sent")
    _add_word(parser, "--on-replayed", ("skip", "fail", "resend"), "what to do with those that were sent already")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not look for the copies")
    parser.add_argument(
        "--verify-wait", metavar="SECONDS", help="how long copies are waited for (default: read_timeout and 30 s)"
    )
    parser.add_argument("--canary", metavar="N", default=0, help="send and verify so many before the others")
    memory = parser.add_mutually_exclusive_group()
    ledger_path.add_argument(memory)
    memory.add_argument("--no-ledger", action="store_true", help="remember nothing; a second call sends all again")
    output.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """
    Send, or say what would be sent, and print the report (``mqs.replay/1``). A second call sends what is left.

    :param args: see ``add_arguments``
    :return: 0 where all is sent or nothing was left; 2 where an argument, the plan or the connection is wrong, so that
        nothing was sent; 130 after Ctrl-C, which stops in order; else 1
    """
    return output.run_command(args, _resend)


def _add_word(parser: argparse.ArgumentParser, name: str, words: tuple[str, ...], purpose: str) -> None:
    parser.add_argument(name, choices=words, default=words[0], help=f"{purpose} (default: {words[0]})")


def _resend(args: argparse.Namespace, emit: output.Emit) -> int:
    with MqsHook(args.conn_id, args.instance_id) as hook:
        job = _job(hook, args)
        # a dry run has nothing to end in order
        error = job.run() if job.dry_run else job.run(signal.SIGINT)
        emit(job.document({**_NO_RUN, "conn_id": args.conn_id}))
        if error is not None and not job.signals:
            raise error
        return _verdict(job)


def _verdict(job: ReplayJob) -> int:
    if job.signals:
        return output.say(f"{job.why()}.{_remedy(job)}", output.SIGNALLED + job.signals[0])
    if job.dry_run:
        return output.say("This was a dry run: nothing was sent. To send, add --yes.")
    if not job.succeeded:
        return output.say(f"{job.why()}.{_remedy(job)}", output.FAILED)
    if job.nothing_left:
        return output.say(f"All {job.plan.count} messages were sent already. To send them again: --on-replayed resend.")
    return output.OK


def _remedy(job: ReplayJob) -> str:
    report = job.report
    left = report.not_attempted + report.failed + report.unknown
    return " The same call again sends what is left." if left and job.session.durable else ""


def _job(hook: MqsHook, args: argparse.Namespace) -> ReplayJob:
    return job_of(
        hook,
        {**vars(args), "messages": _read(args.file)},
        run={**_NO_RUN, "conn_id": args.conn_id},
        memory=ReplayStores() if args.no_ledger else ledger_path.stores_of_command(args.ledger_path),
        dry_run=not args.yes,
    )


def _read(file: str) -> str:
    name = "Standard input" if file == "-" else f"{file[:200]!r}"
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} cannot be read as text ({type(error).__name__}).") from error
    if not text.strip():
        raise ConfigurationError(f"{name} is empty: has the query failed?")
    return text
