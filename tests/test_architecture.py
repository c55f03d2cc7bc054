"""The rules of the code's layout, as far as a program can check them."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import warnings
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from importlinter.cli import lint_imports

from tests.airflow import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "airflow_provider_mqs"
FOLDERS = (PACKAGE, "benchmarks", "docs", "example_dags", "scripts", "simulation", "tests")
HEAVY = {"airflow", "aiohttp", "requests"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


MODULES = python_files(PACKAGE)
NAMES = {module_name(path) for path in python_files(*FOLDERS)}


def test_arrows_point_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every contract of pyproject.toml holds: the layers, no Airflow in the core, the emulator on its own."""
    monkeypatch.chdir(ROOT)
    # it would switch off the loggers that later tests read
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    assert lint_imports(cache_dir=None, no_cache=True) == 0


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checkers count; those inside functions, which are there to load something late, do not."""
    imports = {module_name(path): NAMES.intersection(imported(path)) - {module_name(path)} for path in MODULES}

    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def imported(path: Path) -> Iterator[str]:
    for node in outside(tree(path), *FUNCTIONS):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in NAMES else str(node.module) for name in names)


def outside(node: ast.AST, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """Walk the tree, but not into nodes of these kinds."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, kinds):
            yield child
            yield from outside(child, *kinds)


def test_no_name_hides_an_imported_module() -> None:
    """A parameter or variable with the name of a module puts that out of reach, and misleads the reader."""
    hidden = [
        f"{shown(path)}:{line} {name}"
        for path in python_files(*FOLDERS)
        for aliases in [set(module_aliases(path))]
        for line, name in bound_names(path)
        if name in aliases
    ]

    assert hidden == []


def module_aliases(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules = (alias for alias in node.names if f"{node.module}.{alias.name}" in NAMES)
            yield from (alias.asname or alias.name for alias in modules)


def bound_names(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def test_whatever_waits_in_tests_and_scripts_has_a_time_limit() -> None:
    """A subprocess or thread that never ends fails its test or command, and does not hang it."""
    endless = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files("tests", "scripts")
        for node in outside(tree(path), ast.AsyncFunctionDef)  # what is awaited is cancelled with its loop
        if isinstance(node, ast.Call) and may_wait_for_ever(node)
    ]

    assert endless == []


def may_wait_for_ever(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or any(keyword.arg == "timeout" for keyword in call.keywords):
        return False
    runs = re.fullmatch(r"subprocess\.(run|call|check_call|check_output)", ast.unparse(call.func))
    return bool(runs) or (call.func.attr in {"wait", "join", "communicate"} and not call.args)


@cache
def repository() -> frozenset[str]:
    """List the files of the repository and their endings, as texts name them: relative to any folder."""
    tracked = [path for folder in (*FOLDERS, ".ci", ".github") for path in (ROOT / folder).rglob("*")]
    paths = [path.relative_to(ROOT) for path in [*tracked, *ROOT.iterdir()] if path.name != "__pycache__"]
    return frozenset("/".join(path.parts[start:]) for path in paths for start in range(len(path.parts)))


def test_every_file_that_a_text_names_is_there() -> None:
    """Pages, commands, docstrings and comments name no file that was moved or deleted."""
    texts = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / ".ci/run"]
    words = [(path, path.read_text()) for path in texts]
    words += [(path, prose(path)) for path in python_files(*FOLDERS)]
    missing = [f"{shown(path)}: {name}" for path, text in words for name in NAMED.findall(text) if not is_there(name)]

    assert missing == []


# a path in one of our folders, or a file of a kind that users of the package do not make themselves
NAMED = re.compile(
    rf"(?<![\w/.:*{{}}$-])((?:{'|'.join(FOLDERS)})/[\w/.-]*\w|(?:[\w.-]+/)*[\w-]*\w\.(?:py|md|toml|txt|svg))\b(?![/*])"
)


def is_there(name: str) -> bool:
    return re.sub(r"^(\.\.?/)+", "", name) in repository()


def prose(path: Path) -> str:
    """Return the docstrings and comments of a module."""
    nodes = [node for node in ast.walk(tree(path)) if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))]
    comments = [line.partition("#")[2] for line in path.read_text().splitlines()]
    return "\n".join([*(ast.get_docstring(node) or "" for node in nodes), *comments])


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_module_is_one_concern(path: Path) -> None:
    """More than 400 lines of code may be two concerns: a warning asks to look, and nothing fails."""
    if (lines := lines_of_code(path)) > 400:
        warnings.warn(f"{path.name} has {lines} lines of code: is it about two things?", stacklevel=1)


def lines_of_code(path: Path) -> int:
    """Count the lines that are neither blank nor comment nor docstring."""
    texts = {
        line
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(number not in texts and not re.match(r"\s*(#|$)", line) for number, line in lines)


def test_functions_are_short() -> None:
    """Half of the functions have 11 lines or fewer, docstrings included."""
    functions = (node for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, FUNCTIONS))
    assert statistics.median((node.end_lineno or 0) - node.lineno + 1 for node in functions) <= 11


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
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert not HEAVY & set(loaded.stdout.split())
