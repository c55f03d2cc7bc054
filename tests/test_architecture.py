"""The rules of the code's layout, as far as a program can check them."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests.airflow import AIRFLOW

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "airflow_provider_mqs").rglob("*.py"))
HEAVY = {"airflow", "aiohttp", "requests"}


def function_lengths(module: Path) -> list[int]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, functions))
    return [(node.end_lineno or 0) - node.lineno + 1 for node in nodes]


def test_arrows_point_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every contract of pyproject.toml holds: the layers, no Airflow below the hook, the emulator on its own."""
    monkeypatch.chdir(ROOT)
    assert lint_imports(cache_dir=None, no_cache=True) == 0


def lines_of_code(module: Path) -> int:
    """Count what is neither blank, nor comment, nor docstring."""
    source = module.read_text()
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if number not in texts and line.strip() and line.strip()[0] != "#")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_one_concern(module: Path) -> None:
    """A module of more than 400 lines of code may hold two concerns: a warning to look at it, not a failure."""
    if (lines := lines_of_code(module)) > 400:
        warnings.warn(f"{module.name} has {lines} lines of code: does it hold two concerns?", stacklevel=1)


def test_functions_are_short() -> None:
    """Half of the functions have ten lines or fewer, documentation included."""
    assert statistics.median(length for module in MODULES for length in function_lengths(module)) <= 10


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 itself loads its triggers with every operator")
def test_parsing_a_dag_file_loads_nothing_heavy() -> None:
    """What a task needs when it runs is loaded then: a DAG file is parsed far more often."""
    code = (
        "import sys; import airflow.sdk; before = set(sys.modules);"
        "from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator;"
        "from airflow_provider_mqs.sensors.mqs import MessagesInWindowSensor;"
        "dag = airflow.sdk.DAG('orders', schedule=None);"
        "sensor = MessagesInWindowSensor(task_id='wait', topic='orders', dag=dag);"
        "query = QueryMessagesOperator(task_id='query', topic='orders', dag=dag);"
        "ResendMessagesOperator(task_id='resend', messages=query.output, dag=dag);"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    news = set(loaded.stdout.split())

    assert "airflow_provider_mqs.operators.resend" in news
    for heavy in (
        *("requests", "aiohttp", "airflow.triggers", "matplotlib", "asyncio"),
        *("airflow_provider_mqs.core.client", "airflow_provider_mqs.core.offsets.document"),
    ):
        assert not any(name == heavy or name.startswith(f"{heavy}.") for name in news)


def test_provider_discovery_is_cheap() -> None:
    """Airflow reads the metadata in each of its processes, so it imports neither Airflow nor an HTTP library."""
    code = (
        "import sys; from airflow_provider_mqs.get_provider_info import get_provider_info; get_provider_info();"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)  # ours
    assert not HEAVY & set(loaded.stdout.split())
