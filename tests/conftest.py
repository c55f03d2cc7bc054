"""
What every test starts from: an Airflow home of its own, no token and no query path known from an earlier test.

Airflow reads its environment when it is first imported, so that is set here, before any test module is.
"""

from __future__ import annotations

import os
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
from xdist.scheduler import LoadScopeScheduling  # noqa: E402 - same

from airflow_provider_mqs import process_state  # noqa: E402 - same

# a machine under load is slow, not wrong
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


_WITH_AN_AIRFLOW = ("/test_real_scheduler.py", "/test_real_triggerer.py", "/test_real_waiting.py", "/test_chaos.py")


class OneAirflow(LoadScopeScheduling):
    """Any worker may have any test, but one at a time runs an Airflow; with pytest 9.2, ``loadgroup`` fails."""

    def _split_scope(self, nodeid: str) -> str:
        return "a whole Airflow" if nodeid.partition("::")[0].endswith(_WITH_AN_AIRFLOW) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneAirflow | None:
    """Distribute the tests over the workers of ``-n``."""
    return OneAirflow(config, log) if config.getvalue("dist") == "load" else None


def pytest_sessionfinish() -> None:
    """Leave nothing in the temporary folder."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Start each test with empty process-wide caches, as a new worker does."""
    process_state.reset()
    _forget_secrets()


def _forget_secrets() -> None:
    """Empty Airflow's list of values to mask: hundreds of tests with tokens of their own make it slow beyond use."""
    for name, module in list(sys.modules.items()):
        if name.endswith("secrets_masker") and hasattr(module, "_secrets_masker"):
            masker = module._secrets_masker()
            masker.patterns, masker.replacer = set(), None


@pytest.fixture
def mqs(mqs_emulator: object, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the local service behind ``mqs_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_MQS_DEFAULT", mqs_emulator.connection_json())  # type: ignore[attr-defined]
    return mqs_emulator
