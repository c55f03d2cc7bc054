"""A resend is asked for in the same words by the operator and by the command, and each word arrives."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.__main__ import main
from airflow_provider_mqs.cli import resend as resend_command
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.operators.mqs import ResendMessagesOperator
from airflow_provider_mqs.tasks import resend_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_mqs.testing import MqsEmulator

OTHER = ResendOptions(
    consumer_key="billing",
    ordering="none",
    concurrency=3,
    max_rate=2.5,
    max_messages=7,
    on_failure="continue",
    max_failures=4,
    on_unknown="resend",
    on_replayed="fail",
    verify=False,
    verify_wait_s=1.5,
    on_unverified="fail",
    canary=5,
)
"""No field has its default."""
EACH_FIELD = pytest.mark.parametrize("name", [field.name for field in fields(ResendOptions)])


class ArrivedError(Exception):
    """Ends the resend where its options have arrived."""


@pytest.fixture
def arriving(mqs: MqsEmulator, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], ResendOptions]:
    """Run something, and return the options that it made a job with."""
    seen: list[ResendOptions] = []

    def stop(*_: Any, options: ResendOptions, **__: Any) -> None:
        seen.append(options)
        raise ArrivedError

    def run(work: Callable[[], object]) -> ResendOptions:
        with pytest.raises(ArrivedError):
            work()
        return seen[-1]

    monkeypatch.setattr(resend_job, "resend_job", stop)
    monkeypatch.setattr(resend_command, "resend_job", stop)
    return run


def argument_of(name: str) -> str:
    """Return what users call a field: the argument takes seconds or a ``timedelta``, the field has seconds."""
    return name.removesuffix("_s")


def expected(name: str) -> ResendOptions:
    return ResendOptions(**{name: asdict(OTHER)[name]})


@EACH_FIELD
def test_the_operator_passes_each_option_on(name: str, arriving: Any) -> None:
    """As a value, and as the text that a template makes of it."""
    value = asdict(OTHER)[name]

    def execute(given: Any) -> Callable[[], object]:
        operator = ResendMessagesOperator(task_id="resend", messages=[], **{argument_of(name): "{{ params.value }}"})
        operator.render_template_fields({"params": {"value": given}})
        return lambda: operator.execute({})

    assert arriving(execute(value)) == arriving(execute(str(value))) == expected(name)


@EACH_FIELD
def test_the_command_passes_each_option_on(name: str, arriving: Any, tmp_path: Path) -> None:
    """A flag that turns something off has the name of what it turns off."""
    file = tmp_path / "messages.json"
    file.write_text("[]")
    word, value = argument_of(name).replace("_", "-"), asdict(OTHER)[name]
    words = [f"--no-{word}"] if value is False else [f"--{word}", str(value)]

    assert arriving(lambda: main(["resend", str(file), *words])) == expected(name)


def test_operator_and_command_have_the_same_defaults(arriving: Any, tmp_path: Path) -> None:
    """Those of the options."""
    file = tmp_path / "messages.json"
    file.write_text("[]")

    by_task = arriving(lambda: ResendMessagesOperator(task_id="resend", messages=[]).execute({}))
    by_hand = arriving(lambda: main(["resend", str(file)]))

    assert by_task == by_hand == ResendOptions()
