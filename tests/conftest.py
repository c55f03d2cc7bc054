"""
What every test starts from: an Airflow home of its own, and no token or query path of an earlier test.

Airflow reads its environment when it is first imported, so the environment is set here, before that.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

_HOME = Path(tempfile.mkdtemp(prefix="mqs-airflow-"))
(_HOME / "dags").mkdir()
os.environ.update(
    {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(_HOME / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME / 'airflow.db'}",
        "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",  # Airflow 2.11 warns without it
    }
)
if version("apache-airflow").startswith("2."):
    os.environ["AIRFLOW__CORE__EXECUTOR"] = "SequentialExecutor"  # the one that Airflow 2 lets SQLite have
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]

import pytest  # noqa: E402 - the environment comes first
from hypothesis import HealthCheck, settings  # noqa: E402 - same

from airflow_provider_mqs import process_state  # noqa: E402 - same

# a machine under load is slow, not wrong
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure() -> None:
    """On SIGTERM, leave through the fixtures, which stop the programs that they have started."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 128 + signal.SIGTERM))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow tests with a whole Airflow more time; an exception ends them, so that their fixtures stop its programs."""
    for item in items:
        if item.get_closest_marker("airflow"):
            item.add_marker(pytest.mark.timeout(900, method="signal"))


def pytest_sessionfinish() -> None:
    """Delete the Airflow home."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Start each test with empty process-wide caches, as a new worker does."""
    process_state.reset()
    _forget_secrets()


def _forget_secrets() -> None:
    """Empty Airflow's list of values to mask: the tokens of hundreds of tests make masking unbearably slow."""
    for name, module in list(sys.modules.items()):
        if name.endswith("secrets_masker") and hasattr(module, "_secrets_masker"):
            masker = module._secrets_masker()
            masker.patterns, masker.replacer = set(), None


@pytest.fixture
def mqs(mqs_emulator: object, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the local service as the connection ``mqs_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())  # type: ignore[attr-defined]
    return mqs_emulator
