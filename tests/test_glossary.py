"""The glossary and the code speak the same language: its names exist, and retired words do not come back."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_provider_mqs"
PAGE = (ROOT / "docs/glossary.md").read_text()
TERMS = [
    (term.strip(), re.findall(r"`([\w.]+)`", names))
    for term, _, names in re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \|$", PAGE, re.MULTILINE)
    if term not in ("term", "---", "retired")
]
RETIRED = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)


@cache
def names_in(module: Path) -> frozenset[str]:
    """Everything that a module defines: functions, classes, variables, arguments, and attributes as ``Class.name``."""
    found: set[str] = set()
    tree = ast.parse(module.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        if isinstance(node, ast.ClassDef):
            found.update(f"{node.name}.{name}" for name in members(node))
    return frozenset(found)


def members(owner: ast.ClassDef) -> set[str]:
    """Name the methods, fields and attributes of a class."""
    stores = {
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(owner)
        if isinstance(part, ast.Name | ast.Attribute) and isinstance(part.ctx, ast.Store)
    }
    return stores | {part.name for part in owner.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}


def exists(dotted: str) -> bool:
    """Look ``core.offsets.plan.Plan`` up: a module or room of the package, and a name in it."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path, rest = PACKAGE.joinpath(*parts[:length]), ".".join(parts[length:])
        if path.is_dir():
            return not rest
        if path.with_suffix(".py").is_file():
            return not rest or rest in names_in(path.with_suffix(".py"))
    return False


def words(name: str) -> set[str]:
    """Split ``find_offsets`` and ``OffsetsByPartition`` into words, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("dotted", sorted({name for _, names in TERMS for name in names}))
def test_a_name_of_the_glossary_exists(dotted: str) -> None:
    """A reader who looks for it finds it in the module that the glossary names."""
    assert exists(dotted)


def test_terms_are_sorted_and_unique() -> None:
    """Upper and lower case alike."""
    terms = [term.lower() for term, _ in TERMS]

    assert len(terms) > 50
    assert terms == sorted(set(terms))


def test_nearly_every_term_has_a_name_in_the_code() -> None:
    """A term without one is a value of the contract or a word of the field, and few are."""
    without = [term for term, names in TERMS if not names]

    assert len(without) <= len(TERMS) / 10


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_does_not_come_back(word: str) -> None:
    """No module, class, function, argument or variable of the package has it in its name."""
    found = [
        f"{module.relative_to(PACKAGE)}: {name}"
        for module in sorted(PACKAGE.rglob("*.py"))
        for name in sorted({module.stem, *names_in(module)})
        if word in words(name)
    ]

    assert found == []
