"""Kill replays at random moments, retry them until they succeed, and compare their reports with the service's log."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.chaos.service import COMMAND, Service
from scripts.demo.airflow import environment
from scripts.demo.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
STORES, ORDERINGS, CARES = ("state_store", "file"), ("partition", "none"), ("verified", "unverified", "blind")
HOUR_MS = 3_600_000
MOST_TRIES = 200


@dataclass
class Line:
    """The results of the replays of one DAG."""

    dag_id: str
    replays: int = 0
    kills: int = 0
    tries: int = 0
    messages: int = 0
    lost: int = 0
    doubles: int = 0
    unreported: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        _, store, ordering, care = self.dag_id.replace("state_store", "state-store").split("_")
        numbers = (self.replays, self.messages, self.kills, self.tries, self.lost, self.doubles, self.unreported)
        return f"| {store} | {ordering} | {care} | " + " | ".join(map(str, numbers)) + " |"


HEADING = """\
| ledger | ordering | care | replays | messages | kills | tries | lost | sent twice | unreported |
|---|---|---|---|---|---|---|---|---|---|"""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=__doc__)
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(10_000),
        help="seed of the random kills; a random one by default",
    )
    parser.add_argument(
        "--kills", type=int, default=108, help="stop after this many kills in total (default %(default)s)"
    )
    parser.add_argument("--messages", type=int, default=2_000, help="messages of each replay (default %(default)s)")
    parser.add_argument("--each", type=int, default=9, help="kill each replay at most this often (default %(default)s)")
    parser.add_argument(
        "--care", choices=CARES, nargs="*", default=CARES, help="which rows of the table to run; all by default"
    )
    parser.add_argument("--output", type=Path, help="Markdown file whose table to replace")
    return parser.parse_args(words)


def replay(service: Service, line: Line, wanted: argparse.Namespace, rng: random.Random, folder: Path) -> None:
    """Run one replay to its end, and kill its process up to ``--each`` times."""
    from scripts.chaos.tasks import Run  # noqa: PLC0415 - Airflow reads its settings when it is imported

    topic, now_ms = f"{line.dag_id}-{line.replays}", time.time_ns() // 1_000_000
    start_ms, end_ms = now_ms - 3 * HOUR_MS, now_ms - 2 * HOUR_MS
    service.begin(topic, wanted.messages, start_ms, end_ms, rng.randrange(1_000_000))
    run = Run(line.dag_id, {"topic": topic, "start": start_ms, "end": end_ms}, folder / "tasks.log")
    states = Counter([run.attempt("query")])
    kills = 0
    while sum(states.values()) < MOST_TRIES and states["success"] < 2:  # noqa: PLR2004 - the query, then the resend
        states[run.attempt("resend", 0.3 + rng.expovariate(1.0) if kills < wanted.each else None)] += 1
        kills = states["killed"]
    line.replays, line.kills, line.tries = line.replays + 1, line.kills + kills, line.tries + sum(states.values()) - 1
    if states["success"] < 2:  # noqa: PLR2004
        line.wrong.append(f"{topic} did not succeed; its tries ended as {dict(states)}")
        return
    count(line, service.sent(topic), run.result("resend"), wanted.messages)


def count(line: Line, sent: dict[tuple[int, int], int], report: dict[str, object], messages: int) -> None:
    """Compare the service's log with the report, and add to the counts of the line."""
    from airflow_provider_mqs.core.offsets.partition_offsets import expand, from_json  # noqa: PLC0415 - see above

    named = set(expand(from_json(report["possible_doubles"], "possible_doubles")))
    twice = {ref for ref, times in sent.items() if times > 1}
    line.messages += messages
    line.lost += messages - len(sent)
    line.doubles += len(twice)
    line.unreported += len(twice - named)
    expected = {"verified": True, "unverified": None, "blind": None if twice else True}
    if report["sent"] != messages or report["verified"] is not expected[line.dag_id.rpartition("_")[2]]:
        line.wrong.append(
            f"the report says that {report['sent']} of {messages} were sent, verified: {report['verified']}"
        )


def main(words: Sequence[str] | None = None) -> int:
    """Run replays of every DAG in turn until there were enough kills; return 0 if the table is as it must be."""
    wanted = arguments(words)
    rng = random.Random(wanted.seed)  # noqa: S311 - repeatable, nothing to guess
    lines = [Line(f"chaos_{'_'.join(kind)}") for kind in product(STORES, ORDERINGS, wanted.care)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Processes(folder / "logs", os.environ) as programs:
            programs.start("service", *COMMAND)
            service = Service(folder / "logs/service.log")
            connection = programs.until("the service is up", service.connection, 30)
            prepare(folder, connection)
            for line in cycle(lines):
                if sum(one.kills for one in lines) >= wanted.kills:
                    break
                replay(service, line, wanted, rng, folder)
                print(line, *line.wrong, flush=True)
    return judge(lines, wanted)


def prepare(folder: Path, connection: str) -> None:
    """Set up a private Airflow, of which this process is a part."""
    dags = shutil.copytree(ROOT / "scripts/chaos/dags", folder / "dags")
    own = environment(folder, dags, 1, folder / "passwords")
    os.environ.update(own, AIRFLOW_CONN_MQS_DEFAULT=connection, CHAOS_LEDGERS=str(folder / "ledgers"))
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    from scripts.chaos import tasks  # noqa: PLC0415 - see above

    tasks.prepare(dags)


def judge(lines: list[Line], wanted: argparse.Namespace) -> int:
    """Write the table; return 1 if a message was lost, or sent twice by a careful replay or without being reported."""
    table = "\n".join([HEADING, *map(str, lines)])
    kills = sum(line.kills for line in lines)
    print(f"\n{kills} kills with seed {wanted.seed}:\n\n{table}")
    if wanted.output:
        text = wanted.output.read_text()
        head = text[: text.index("<!-- table -->")]
        made = f"`make chaos SEED={wanted.seed}`: {kills} kills of replays with {wanted.messages} messages each."
        wanted.output.write_text(f"{head}<!-- table -->\n{made}\n\n{table}\n")
    careful = [line for line in lines if not line.dag_id.endswith("blind")]
    well = not any(line.lost or line.unreported or line.wrong for line in lines)
    return 0 if well and not any(line.doubles for line in careful) else 1


if __name__ == "__main__":
    sys.exit(main())
