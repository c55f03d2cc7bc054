"""The guide to replays is executed, block by block, and every page points only at what the repository has."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator, VerifyReplayOperator

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
GUIDE = (DOCS / "replay.md").read_text()
END = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
CONTEXT = {"data_interval_start": END - timedelta(hours=1), "data_interval_end": END}


class Example(NamedTuple):
    """A block and the comment above it."""

    expected: dict[str, Any]
    language: str
    code: str


EXAMPLES = [
    Example(json.loads(expected), language, code)
    for expected, language, code in re.findall(r"<!-- (\{[^\n]*\}) -->\n```(\w+)\n(.*?)```", GUIDE, re.DOTALL)
]
SETTINGS = {"faults", "latency_s", "runs", "query", "open"}
OPERATORS = {one.__name__: one for one in (QueryMessagesOperator, ResendMessagesOperator, VerifyReplayOperator)}


@pytest.mark.parametrize("example", EXAMPLES, ids=[one.code.strip().splitlines()[-1][:60] for one in EXAMPLES])
def test_an_example_does_what_its_comment_says(
    example: Example, mqs: MqsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report, the error and the number of posts are those that the comment names."""
    mqs.seed("orders", 30, *CONTEXT.values(), partitions=3)
    found = QueryMessagesOperator(task_id="query", topic="orders").execute(CONTEXT)
    mqs.faults.update(example.expected.get("faults", {}))
    mqs.faults.latency_s = example.expected.get("latency_s", 0.0)
    if example.language == "json":
        monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs.connection_json(**json.loads(example.code)))

    # so that no comment has to
    monkeypatch.setenv("AIRFLOW__MQS__LEDGER_PATH", str(tmp_path) if "open" in example.expected else "")
    reports = [replay_without_copies(found, part) for part in range(example.expected.get("open", 0))]

    pushed = Pushed()
    outcome = [run(example, found, reports, tmp_path, pushed) for _ in range(example.expected.get("runs", 1))][-1]

    seen = {**pushed.document, **outcome, "posts": len(mqs.requests("resend"))}
    for name, wanted in example.expected.items():
        if name == "error":
            assert wanted in seen["error"]
        elif name == "sent_below":
            assert 0 < seen["sent"] < wanted
        elif name == "summary_has":
            assert wanted in seen["summary"]
        elif name not in SETTINGS:
            assert valued(seen, name) == wanted, name
    assert ("error" in seen) == ("error" in example.expected)


def test_every_block_of_the_guide_is_an_example() -> None:
    """A comment that cannot be parsed would leave its block out in silence."""
    assert len(EXAMPLES) == GUIDE.count("```") / 2


def test_the_guide_shows_every_argument() -> None:
    """An option that nobody explains is not used, or used wrongly."""
    arguments = {*ResendMessagesOperator.template_fields, *VerifyReplayOperator.template_fields, "brake"}
    arguments -= {"mqs_conn_id", "instance_id"}

    assert {name for name in arguments if f"{name}=" not in GUIDE and f"`{name}`" not in GUIDE} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Relative links point at files of the repository, and at headings that exist."""
    dead = []
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", page.read_text()):
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in headings(path)):
            dead.append(f"{target}#{anchor}")

    assert dead == []


def headings(page: Path) -> set[str]:
    """List the anchors that GitHub gives to the headings of a page."""
    texts = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


class Pushed:
    """The task instance of an example; keeps the report that a failing task pushes."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}

    def xcom_push(self, *, key: str, value: dict[str, Any]) -> None:
        assert key == "return_value"
        self.document = value


def replay_without_copies(messages: Any, partition: int) -> dict[str, Any]:
    """Send a partition, and leave its copies to be found later; return the report."""
    ranges = messages["partitions"][str(partition)]["ranges"]
    items = [
        {"partition": partition, "message_offset": offset}
        for first, last in ranges
        for offset in range(first, last + 1)
    ]
    resend = ResendMessagesOperator(task_id="resend", messages=items, topic="orders", verify=False)
    return dict(resend.execute({}))


def run(example: Example, messages: Any, reports: list[Any], folder: Path, pushed: Pushed) -> dict[str, Any]:
    """Execute a block once, as a task would."""
    code = 'resend = ResendMessagesOperator(task_id="resend", messages=messages)'
    if example.language == "python":
        code = example.code.replace("/srv/mqs-ledgers", str(folder))
    names: dict[str, Any] = {
        "messages": messages,
        "resend": SimpleNamespace(output=reports),
        **OPERATORS,
    }
    exec(compile(code, "replay.md", "exec"), names)  # noqa: S102 - our own text
    operator = names["query" if "query" in example.expected else "verify" if "open" in example.expected else "resend"]
    if "open" in example.expected:
        operator.render_template_fields(CONTEXT)
    try:
        return dict(operator.execute({**CONTEXT, "ti": pushed} if operator.task_id == "resend" else CONTEXT))
    except Exception as error:  # noqa: BLE001 - whatever it is must be what the comment says
        return {"skipped": True} if "Skip" in type(error).__name__ else {"error": str(error)}


def valued(document: dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        document = document[part]
    return document
