"""The program's entry: which command runs, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_mqs.__main__ import main


def test_emulator_needs_no_airflow() -> None:
    """The local service starts where Airflow is not installed, so its command may not import it."""
    code = (
        "import sys\n"
        "sys.modules['airflow'] = None\n"
        "from airflow_provider_mqs.__main__ import main\n"
        "main(['emulator', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--port" in done.stdout


@pytest.mark.parametrize("words", [[], ["unknown"], ["doctor", "--unknown"]])
def test_wrong_words_end_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command or argument shows the usage and exits with 2."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: python -m airflow_provider_mqs" in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists every command with its purpose."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "check a connection" in shown
    assert "local MQS service" in shown
