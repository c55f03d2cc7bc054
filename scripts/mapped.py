"""
Do what the example DAG ``mqs_mapped_replay`` does, at any size, and count requests: ``python -m scripts.mapped``.

One query in batches, the batches resent side by side, one task that proves what is left, and a query of a window that
holds the copies, too. The local service runs in this process, and each worker is a thread that executes operators with
a plain dict as context; ledgers are in a folder.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.testing import running_emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_mqs.testing import MqsEmulator

TOPIC: Final = "orders"
HOUR: Final = timedelta(hours=1)


@dataclass
class Result:
    """What came of it."""

    messages: int
    reports: list[dict[str, Any]]
    proven: dict[str, Any]
    following: dict[str, Any]
    """The offsets of the window and of the time of sending."""
    requests: Counter[str]
    """Of the resends and the proof, by operation."""
    seconds: float

    @property
    def requests_a_message(self) -> float:
        """How many requests each message took, its own POST included."""
        return self.requests.total() / self.messages

    @property
    def verified(self) -> Counter[str]:
        """How many reports say what about their copies."""
        return Counter(str(report["verified"]) for report in self.reports)

    def __str__(self) -> str:
        following = self.following
        whole = "whole" if following["complete"] else "not complete"
        return "\n".join(
            [
                f"{self.messages} messages in {len(self.reports)} batches: {self.seconds:.1f} s",
                f"requests a message: {self.requests_a_message:.3f} ({dict(self.requests)})",
                f"reports by what they say of their copies: {dict(self.verified)}",
                f"{self.proven['summary']}",
                f"following query: {whole}, {following['count']} messages, {following['excluded_copies']} copies",
            ]
        )


def run(mqs: MqsEmulator, folder: str, *, messages: int, batches: int, workers: int) -> Result:
    """Fill the topic, resend it in batches, prove them, and query once more; the connection must be in place."""
    from airflow_provider_mqs.operators.mqs import (  # noqa: PLC0415 - Airflow reads its settings when it is imported
        QueryMessagesOperator,
        ResendMessagesOperator,
        VerifyReplayOperator,
    )

    end = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR
    mqs.seed(TOPIC, messages, end - HOUR, end, partitions=3, gap_every=40)
    ask: Any = partial(QueryMessagesOperator, task_id="query", topic=TOPIC, start=end - HOUR, ledger_path=folder)
    batched = ask(end=end, batch_size=-(-messages // batches)).execute({})
    before = Counter(line.operation for line in mqs.requests())
    began_s = time.monotonic()

    # Airflow 2 wraps it in a check that fails in any thread but the main one
    execute: Any = inspect.unwrap(ResendMessagesOperator.execute)

    def resend(number: int) -> dict[str, Any]:
        ti = SimpleNamespace(dag_id="mapped", run_id="1", task_id="resend", map_index=number, try_number=1, max_tries=0)
        operator: Any = ResendMessagesOperator(task_id="resend", messages=batched[number], ledger_path=folder)
        return dict(execute(operator, {"ti": ti}))

    with ThreadPoolExecutor(workers) as pool:
        reports = list(pool.map(resend, range(len(batched))))
    proven = VerifyReplayOperator(task_id="prove", replays=reports, ledger_path=folder).execute({})
    seconds = time.monotonic() - began_s
    requests = Counter(line.operation for line in mqs.requests()) - before
    time.sleep(1)  # a window must have ended
    following = ask(end=datetime.now(timezone.utc), on_incomplete="warn").execute({})
    return Result(messages, reports, proven, following, requests, seconds)


def main(words: Sequence[str] | None = None) -> int:
    """Run at the size that the command line says; return 1 if a copy is not proven or the next query is not whole."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mapped", description=__doc__)
    parser.add_argument("--messages", type=int, default=21_000, help="default %(default)s")
    parser.add_argument("--batches", type=int, default=21, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=4, help="batches at a time (default %(default)s)")
    wanted = parser.parse_args(words)
    with running_emulator() as mqs, tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_CONN_MQS_DEFAULT"] = mqs.connection_json()
        result = run(mqs, folder, messages=wanted.messages, batches=wanted.batches, workers=wanted.workers)
    print(result)
    return 0 if result.verified == {"True": len(result.reports)} and result.following["complete"] else 1


if __name__ == "__main__":
    sys.exit(main())
