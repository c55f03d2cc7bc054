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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--port" in done.stdout


@pytest.mark.parametrize("words", [[], ["unknown"], ["doctor", "--unknown"]])
def test_wrong_arguments_end_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
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
    for purpose in ("Check a connection", "local MQS service", "messages of a window", "each once"):
        assert purpose in shown


def test_interrupt_while_importing_is_no_traceback() -> None:
    """Ctrl-C before the command has begun ends with 130 and nothing else."""
    code = (
        "import importlib, os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "importlib.import_module = lambda _: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv[1:] = ['doctor']\n"
        "runpy.run_module('airflow_provider_mqs', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "")
