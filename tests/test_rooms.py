"""Each package says what is inside: one line for each of its modules, complete and true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "airflow_provider_mqs"
ENTRY = re.compile(r"^[-*] (``\w+``(?:, ``\w+``)*)", re.MULTILINE)


def listed(room: Path) -> list[str]:
    """Read the names at the start of the list items in a package's docstring."""
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    return re.findall(r"``(\w+)``", " ".join(ENTRY.findall(docstring)))


ROOMS = [path.parent for path in sorted(PACKAGE.rglob("__init__.py")) if listed(path.parent)]


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_package_lists_its_modules(room: Path) -> None:
    """Neither is one missing, nor is one listed that has moved away."""
    modules = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in room.glob("*/__init__.py")}

    assert sorted(listed(room)) == sorted(modules - {"__init__"})
